// The options of TLS connections, checked, and what node:tls makes of them. The keys and certificates are parsed once.

import type { TlsOptions as NodeTlsOptions, SecureContext } from "node:tls";
import { checkMilliseconds, checkObject, invalidType } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import { TlsError, tlsErrorOf } from "./tls-error.ts";

/** Keys and certificates in PEM: text or bytes, or several of them. */
export type Pem = string | Uint8Array | readonly (string | Uint8Array)[];

/** The options that clients and servers share. */
export interface TlsOptions {
  /** Our certificate, followed by those of its issuers. A server needs one; a client only if the server asks for it. */
  readonly cert?: Pem;
  /** The private key of `cert`. */
  readonly key?: Pem;
  /** The authorities that we trust, instead of the ones that Bun includes. */
  readonly ca?: Pem;
  /** The protocols that we speak, the preferred one first, such as `["h2", "http/1.1"]`. See RFC 7301. */
  readonly alpnProtocols?: readonly string[];
  /** Fails the handshake if the certificate of the peer is not valid. Default true. */
  readonly rejectUnauthorized?: boolean;
  /** How long the handshake may take, in milliseconds. Default 30,000; Infinity for no limit. */
  readonly handshakeTimeoutMs?: number;
  /** The oldest version of TLS to accept: `"TLSv1.2"` (the default) or `"TLSv1.3"`. */
  readonly minVersion?: "TLSv1.2" | "TLSv1.3";
}

/** Options of `TlsStream.connect` and `TlsStream.upgrade`. */
export interface TlsConnectOptions extends TlsOptions {
  /**
   * The name that the certificate of the server must have. It is sent to the server, which may have several
   * certificates (SNI). Default: the hostname of the address. An IP address is only checked, not sent.
   */
  readonly servername?: string;
}

/** Options of `TlsStream.accept` and `TlsListener.bind`. */
export interface TlsServerOptions extends TlsOptions {
  /**
   * More certificates, by the server name for which the client asks: `"example.com"`, or `"*.example.com"` for all
   * names one level below. `cert` and `key` are for clients that ask for another name, or none.
   */
  readonly contexts?: Readonly<Record<string, { readonly cert: Pem; readonly key: Pem }>>;
  /** Asks the client for a certificate. With `rejectUnauthorized`, a client without a valid one fails. Default false. */
  readonly requestCert?: boolean;
}

/** Checked options. */
export interface TlsSettings {
  readonly isServer: boolean;
  /** The name that the certificate of the server must have; null on a server. */
  readonly expectedName: string | null;
  readonly alpnProtocols: readonly string[];
  readonly rejectUnauthorized: boolean;
  readonly requestCert: boolean;
  readonly handshakeTimeoutMs: number;
  /** Chooses the certificate for the name that a client asks for. */
  readonly contextFor: (servername: string | null) => SecureContext;
  /** True if the choice needs the name: the server must read the ClientHello first. */
  readonly needsName: boolean;
}

/** Checks the options of a client. Throws TypeError, RangeError, and TlsError for a bad key or certificate. */
export function clientSettings(
  options: TlsConnectOptions,
  hostname: string | null,
  what: string,
): TlsSettings {
  checkObject(options, `${what}: options`);
  const name: unknown = options.servername ?? hostname ?? undefined;
  if (typeof name !== "string" || name === "") {
    throw invalidType(
      `${what}: options.servername must be the name that the server's certificate must have; got ${describe(name)}`,
    );
  }
  const context = contextOf(options, options, what);
  return {
    ...sharedSettings(options, what),
    isServer: false,
    expectedName: name,
    requestCert: true,
    contextFor: () => context,
    needsName: false,
  };
}

/** Checks the options of a server. Throws TypeError, RangeError, and TlsError for a bad key or certificate. */
export function serverSettings(options: TlsServerOptions, what: string): TlsSettings {
  checkObject(options, `${what}: options`);
  const { cert, key, contexts = {}, requestCert = false } = options;
  checkObject(contexts, `${what}: options.contexts`);
  if ((cert === undefined || key === undefined) && Object.keys(contexts).length === 0) {
    throw invalidType(
      `${what}: options must have cert and key, or contexts; got ${describe(cert === undefined ? cert : key)}`,
    );
  }
  const fallback = cert === undefined ? null : contextOf(options, options, what);
  const byName = new Map(
    Object.entries(contexts).map(([name, context]) => {
      checkObject(context, `${what}: options.contexts[${JSON.stringify(name)}]`);
      return [name.toLowerCase(), contextOf(context, options, what)];
    }),
  );
  return {
    ...sharedSettings(options, what),
    isServer: true,
    expectedName: null,
    requestCert,
    contextFor(name) {
      const wildcard = `*${name?.slice(name.indexOf(".")) ?? ""}`;
      const context = byName.get(name ?? "") ?? byName.get(wildcard) ?? fallback;
      if (context !== null) return context;
      throw new TlsError(
        "ERR_TLS_NO_CONTEXT",
        `the client asks for ${describe(name)}, for which options.contexts has no certificate`,
      );
    },
    needsName: byName.size > 0,
  };
}

function sharedSettings(
  options: TlsOptions,
  what: string,
): Pick<TlsSettings, "alpnProtocols" | "rejectUnauthorized" | "handshakeTimeoutMs"> {
  const { alpnProtocols = [], rejectUnauthorized = true, handshakeTimeoutMs = 30_000 } = options;
  checkMilliseconds(handshakeTimeoutMs, `${what}: options.handshakeTimeoutMs`);
  const isProtocol = (name: unknown): boolean =>
    typeof name === "string" && name.length > 0 && name.length < 256;
  if (!Array.isArray(alpnProtocols) || !alpnProtocols.every(isProtocol)) {
    throw invalidType(
      `${what}: options.alpnProtocols must be an array of names of 1 to 255 bytes; got ${describe(alpnProtocols)}`,
    );
  }
  return { alpnProtocols, rejectUnauthorized, handshakeTimeoutMs };
}

/** Parses the key and the certificates. Throws TlsError if they are not valid, or do not belong together. */
function contextOf(
  { cert, key }: Pick<TlsOptions, "cert" | "key">,
  { ca, minVersion = "TLSv1.2" }: TlsOptions,
  what: string,
): SecureContext {
  const options = { cert, key, ca, minVersion } as NodeTlsOptions;
  try {
    return process.getBuiltinModule("node:tls").createSecureContext(options);
  } catch (error) {
    if (error instanceof TypeError || error instanceof RangeError) throw error;
    const { code, message } = tlsErrorOf(error, null);
    throw new TlsError(code, `${what}: options.cert, key or ca is not valid: ${message}`, {
      cause: error,
    });
  }
}
