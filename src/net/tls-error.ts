// The errors of TLS, and their messages. Bun's own messages name the rule that failed; ours also say what was expected.

/**
 * Thrown when a handshake or an established TLS connection fails. `code` is the code of OpenSSL or of Node
 * (`CERT_HAS_EXPIRED`, `ERR_TLS_CERT_ALTNAME_INVALID`, `ERR_SSL_WRONG_VERSION_NUMBER`, ...), or
 * `ERR_TLS_HANDSHAKE_TIMEOUT`, `ERR_TLS_HANDSHAKE_ENDED`, `ERR_TLS_NO_CONTEXT`, `ERR_TLS_PEER_CLOSED` or
 * `ERR_TLS_NEEDS_EVENT_LOOP`. `cause` is the original error, if there is one.
 */
export class TlsError extends Error {
  override readonly name: string = "TlsError";
  readonly code: string;

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/**
 * Thrown by a read when the connection below ended without the `close_notify` of the peer: what was received may be
 * incomplete, because the peer failed, or because somebody cut the connection. `code` is `ERR_TLS_TRUNCATED`. See
 * RFC 8446, section 6.1.
 */
export class TlsTruncatedError extends TlsError {
  override readonly name = "TlsTruncatedError";

  constructor() {
    super(
      "ERR_TLS_TRUNCATED",
      "the connection ended without a close_notify of the peer: the data may be incomplete",
    );
  }
}

/** What each failed check of a certificate expects. */
const EXPECTED: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: "must not have expired",
  CERT_NOT_YET_VALID: "must be valid already",
  DEPTH_ZERO_SELF_SIGNED_CERT: "must be issued by an authority that we trust, but is self-signed",
  SELF_SIGNED_CERT_IN_CHAIN:
    "must be issued by an authority that we trust, but its root is unknown",
  UNABLE_TO_GET_ISSUER_CERT:
    "must be issued by an authority that we trust, but the issuer is unknown",
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    "must be issued by an authority that we trust, but the issuer is unknown",
  UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    "must be issued by an authority that we trust, but the issuer is unknown",
  CERT_REVOKED: "must not be revoked",
};

/** Returns the error for one of node:tls. `expectedName` is the name that the certificate of a server must have. */
export function tlsErrorOf(error: unknown, expectedName: string | null): TlsError {
  const { code = "ERR_TLS", message = String(error) } = error as {
    code?: string;
    message?: string;
  };
  return new TlsError(code, messageOf(code, message, expectedName), { cause: error });
}

function messageOf(code: string, message: string, expectedName: string | null): string {
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID") {
    return `the certificate of the server must be valid for ${JSON.stringify(expectedName)} (options.servername): ${message}`;
  }
  const expected = EXPECTED[code];
  if (expected === undefined) return `TLS failed: ${message}`;
  const whose = expectedName === null ? "client" : "server";
  return `the certificate of the ${whose} ${expected} (options.ca lists the authorities): ${message}`;
}

/** The error of a TLS operation while `blockOn` holds the thread. */
export function needsEventLoop(): TlsError {
  return new TlsError(
    "ERR_TLS_NEEDS_EVENT_LOOP",
    "TLS makes no progress while blockOn holds the thread, because node:tls needs Bun's own loop: use `await runtime.run(...)`, guest mode",
  );
}
