// The server name in a ClientHello, read before the handshake begins. (Bun 1.4.5 never calls the SNICallback of a TLS
// socket over a Duplex, so the certificate for the name must be chosen before the socket exists.) See RFC 8446,
// section 4.1.2, and RFC 6066, section 3.

/**
 * A ClientHello is shorter: BoringSSL accepts no longer one. The limit also bounds the work for a peer that sends it byte
 * by byte, because each chunk is parsed from the start.
 */
const MAX_HELLO_BYTES = 16_384;

const HANDSHAKE_RECORD = 22;
const CLIENT_HELLO = 1;
const SERVER_NAME = 0;

/**
 * Returns the server name of the ClientHello at the start of `bytes`; null if it names none, or if it is not a
 * ClientHello, which the handshake then reports; undefined if more bytes are needed.
 */
export function serverNameOf(bytes: Uint8Array): string | null | undefined {
  const message = handshakeBytes(bytes);
  if (message === null) return null;
  if (message.length < 4) return undefined;
  if (message[0] !== CLIENT_HELLO) return null;
  const length = numberAt(message, 1, 3);
  if (message.length < 4 + length) return bytes.length < MAX_HELLO_BYTES ? undefined : null;
  return nameIn(message.subarray(4, 4 + length));
}

/** Returns the handshake bytes of the complete and incomplete records; null if there is another record. */
function handshakeBytes(bytes: Uint8Array): Uint8Array | null {
  const parts: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; ) {
    if (bytes[at] !== HANDSHAKE_RECORD) return at === 0 ? null : Buffer.concat(parts);
    if (bytes.length < at + 5) break;
    const length = numberAt(bytes, at + 3, 2);
    if (length === 0) return null;
    parts.push(bytes.subarray(at + 5, at + 5 + length));
    at += 5 + length;
  }
  return Buffer.concat(parts);
}

/** Returns the server name of the body of a ClientHello. Reading past its end yields zeros, hence no name. */
function nameIn(hello: Uint8Array): string | null {
  let at = 2 + 32; // version, random
  at += 1 + numberAt(hello, at, 1); // session id
  at += 2 + numberAt(hello, at, 2); // cipher suites
  at += 1 + numberAt(hello, at, 1); // compression methods
  const end = Math.min(hello.length, at + 2 + numberAt(hello, at, 2));
  at += 2;
  while (at + 4 <= end) {
    const type = numberAt(hello, at, 2);
    const length = numberAt(hello, at + 2, 2);
    // The list holds one entry: its length, the type 0 of a host name, the length of the name.
    if (type === SERVER_NAME && hello[at + 6] === 0) {
      const nameLength = numberAt(hello, at + 7, 2);
      if (nameLength + 5 > length) return null;
      const name = Buffer.from(hello.subarray(at + 9, at + 9 + nameLength)).toString("latin1");
      return name === "" ? null : name.toLowerCase();
    }
    at += 4 + length;
  }
  return null;
}

/** Returns the big-endian number of `size` bytes at `at`. */
function numberAt(bytes: Uint8Array, at: number, size: number): number {
  let value = 0;
  for (let index = at; index < at + size; index++) value = value * 256 + (bytes[index] ?? 0);
  return value;
}
