// What travels between the network stacks of hosts.

/** A TCP segment. Sequence numbers start at 0 with the SYN and do not wrap. */
export interface Segment {
  readonly kind: "tcp";
  readonly seq: number;
  /** The next sequence number that the sender expects; -1 without ACK. */
  readonly ack: number;
  readonly isSyn: boolean;
  readonly isFin: boolean;
  readonly isReset: boolean;
  readonly data: Uint8Array | null;
  /** How many bytes the sender accepts after `ack`. */
  readonly window: number;
}

/** A UDP datagram. */
export interface Datagram {
  readonly kind: "udp";
  readonly data: Uint8Array;
}

/** ICMP: no socket receives at the port of a datagram. */
export interface PortUnreachable {
  readonly kind: "icmp";
}

export interface Packet {
  readonly from: string;
  readonly fromPort: number;
  readonly to: string;
  readonly toPort: number;
  /** Of a multicast: the interface by which it leaves, and arrives. */
  readonly device?: number;
  readonly body: Segment | Datagram | PortUnreachable;
}

/** The size of IP and TCP headers, for the bandwidth of links. */
const HEADER_BYTES = 40;

export function sizeOf({ body }: Packet): number {
  return HEADER_BYTES + (body.kind === "icmp" ? 0 : (body.data?.length ?? 0));
}

/** Formats a packet for the log. */
export function describePacket({ from, fromPort, to, toPort, body }: Packet): string {
  const route = `${from}:${fromPort} > ${to}:${toPort}`;
  if (body.kind === "icmp") return `icmp ${route} port unreachable`;
  if (body.kind === "udp") return `udp ${route} ${body.data.length} bytes`;
  const flags = [
    body.isSyn ? "SYN" : "",
    body.isFin ? "FIN" : "",
    body.isReset ? "RST" : "",
    body.ack >= 0 ? `ack ${body.ack}` : "",
    body.data === null ? "" : `${body.data.length} bytes`,
  ];
  return `tcp ${route} seq ${body.seq} ${flags.filter((flag) => flag !== "").join(" ")}`;
}
