// isDisconnect: which errors mean that the peer went away, rather than that something is wrong here.

import { ClosedError } from "./source.ts";

/** Per tcp(7) and ip(7). A function, because creating the set takes time that an import would spend in vain. */
function isDisconnectCode(code: unknown): boolean {
  switch (code) {
    case "ECONNRESET": // the peer closed with data unread, or has no such connection
    case "EPIPE": // we wrote after the peer had closed
    case "ECONNABORTED":
    case "ENOTCONN":
    case "ETIMEDOUT": // keepalive or retransmission gave up
    case "EHOSTUNREACH":
    case "EHOSTDOWN":
    case "ENETUNREACH":
    case "ENETDOWN":
    case "ENETRESET":
    case "ERR_TLS_TRUNCATED": // the peer of a TLS connection is gone, and so is its close_notify
    case "ERR_TLS_HANDSHAKE_ENDED":
    case "ERR_TLS_PEER_CLOSED":
      return true;
    default:
      return false;
  }
}

/**
 * Returns true if `error` only means that a peer went away: a SysError such as `ECONNRESET` or `EPIPE`, an error of
 * Bun's or Node's sockets with such a code, a ClosedError, a TlsTruncatedError, or an AggregateError or SuppressedError
 * of only such errors. A server ignores those, and reports the rest. `serve` does that by default.
 *
 * @example
 * try {
 *   yield* stream.writeAll("hello\n");
 * } catch (error) {
 *   if (!isDisconnect(error)) throw error;
 * }
 */
export function isDisconnect(error: unknown): boolean {
  if (error instanceof AggregateError) {
    return error.errors.length > 0 && error.errors.every(isDisconnect);
  }
  if (error instanceof SuppressedError) {
    return isDisconnect(error.error) && isDisconnect(error.suppressed);
  }
  if (error instanceof ClosedError) return true;
  return error instanceof Error && isDisconnectCode((error as { code?: unknown }).code);
}
