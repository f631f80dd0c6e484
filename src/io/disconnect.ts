// isDisconnect: which errors mean that the peer went away, rather than that something is wrong here.

import { SysError } from "../sys/errno.ts";
import { formatAddress } from "../sys/sockaddr.ts";
import { addressOf, ClosedError } from "./source.ts";

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
    case "ERR_UNEXPECTED_EOF": // inside a message
      return true;
    default:
      return false;
  }
}

/**
 * Returns true if `error` only means that a peer went away: a SysError such as `ECONNRESET` or `EPIPE`, an error of
 * Bun's or Node's sockets with such a code, a ClosedError, a TlsTruncatedError, an UnexpectedEofError, or an
 * AggregateError or SuppressedError of only such errors. A server ignores those, and reports the rest. With `connection`,
 * returns false for an error that names another peer, such as the database that the handler of the connection asks.
 * `serve` does that by default.
 *
 * @example
 * try {
 *   yield* stream.writeAll("hello\n");
 * } catch (error) {
 *   if (!isDisconnect(error)) throw error;
 * }
 */
export function isDisconnect(error: unknown, connection: object | null = null): boolean {
  if (error instanceof AggregateError) {
    const { errors } = error;
    return errors.length > 0 && errors.every((one) => isDisconnect(one, connection));
  }
  if (error instanceof SuppressedError) {
    return isDisconnect(error.error, connection) && isDisconnect(error.suppressed, connection);
  }
  if (error instanceof ClosedError) return true;
  if (!(error instanceof Error && isDisconnectCode((error as { code?: unknown }).code)))
    return false;
  // A CopyError has the code of its cause.
  return !namesAnotherPeer(error.cause instanceof SysError ? error.cause : error, connection);
}

function namesAnotherPeer(error: object, connection: object | null): boolean {
  const { address, port } = error as { readonly address?: string; readonly port?: number };
  const peer = addressOf(connection, "remoteAddress");
  if (address === undefined || peer === null) return false;
  const named = port === undefined ? address : formatAddress({ hostname: address, port });
  return named !== (typeof peer === "string" ? peer : formatAddress(peer));
}
