// TimeWait: what is left of a connection that this host has ended first. It holds the port and the addresses for a
// minute, so that a late segment does not reach a new connection. It outlives the socket, and the socket may be used
// again before it ends. See TIME-WAIT in RFC 9293.

import type { Packet, Segment } from "./packet.ts";
import type { NetStack, TcpEndpoint } from "./stack.ts";

const DURATION_MS = 60_000;

export class TimeWait implements TcpEndpoint {
  readonly domain: number;
  readonly ip: string;
  readonly port: number;
  readonly isReusingAddress: boolean;
  readonly isReusingPort: boolean;
  readonly isIPv6Only: boolean;
  readonly isListening = false;
  private readonly stack: NetStack;
  private readonly key: string;
  /** The sequence numbers after our FIN and after the peer's. */
  private readonly sent: number;
  private readonly expected: number;

  constructor(socket: TcpEndpoint, stack: NetStack, key: string, sent: number, expected: number) {
    ({
      domain: this.domain,
      ip: this.ip,
      port: this.port,
      isReusingAddress: this.isReusingAddress,
      isReusingPort: this.isReusingPort,
      isIPv6Only: this.isIPv6Only,
    } = socket);
    this.stack = stack;
    this.key = key;
    this.sent = sent;
    this.expected = expected;
    stack.bind(this);
    stack.addConnection(key, this);
    stack.agenda.after(DURATION_MS, () => this.end());
  }

  receive(packet: Packet, segment: Segment): void {
    if (segment.isSyn && segment.ack < 0) {
      this.end(); // the peer reuses its port for a new connection
      this.stack.deliver(packet);
      return;
    }
    if (!segment.isFin) return;
    const { from, fromPort, to, toPort } = packet;
    const { sent: seq, expected: ack } = this;
    const flags = { isSyn: false, isFin: false, isReset: false };
    const body: Segment = { kind: "tcp", seq, ack, ...flags, data: null, window: 0 };
    this.stack.send({ from: to, fromPort: toPort, to: from, toPort: fromPort, body });
  }

  private end(): void {
    this.stack.removeConnection(this.key, this);
    this.stack.unbind(this);
  }
}
