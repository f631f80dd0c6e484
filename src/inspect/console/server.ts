// The HTTP server of the console's Worker: the page, and the data for it.
//
// It owns the token, and knows nothing of tasks. `consoleServer` reaches the Worker as source text: see worker.ts.
//
// Invariant: it serves nothing without the token, and nothing changes what is inspected: GET and HEAD alone.

import type { Setup } from "./protocol.ts";
import type { View } from "./views.ts";

export interface ConsoleServer {
  readonly port: number;
  readonly token: string;
  close(): void;
}

/** Throws the error of Bun if it cannot listen. `page` has `NONCE` where the nonce belongs. */
export function consoleServer(
  page: string,
  { host, port, token: wanted }: Setup,
  dataFor: (query: URLSearchParams) => Promise<View>,
): ConsoleServer {
  const HEADERS = {
    "content-type": "text/plain; charset=utf-8",
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
  };

  const { createHash, randomBytes, timingSafeEqual } = process.getBuiltinModule("node:crypto");
  const token = wanted ?? randomBytes(16).toString("hex");
  const secret = hash(token);

  function reply(status: number, body: string, headers: Record<string, string> = {}): Response {
    return new Response(body, { status, headers: { ...HEADERS, ...headers } });
  }

  function hash(text: string): Buffer {
    return createHash("sha256").update(text).digest();
  }

  /** A page of another site may have its name point here (DNS rebinding): then it is not among these. */
  function isOwnHost(header: string | null): boolean {
    if (header === null) return false;
    const name = header.replace(/:\d*$/, "").toLowerCase();
    const isAddress = /^\[[\da-f:.%]+\]$|^\d+\.\d+\.\d+\.\d+$/.test(name);
    return isAddress || name === "localhost" || name === host.toLowerCase();
  }

  async function serve(incoming: Request): Promise<Response> {
    if (incoming.method !== "GET" && incoming.method !== "HEAD") {
      return reply(405, "405: this page only reads", { allow: "GET, HEAD" });
    }
    if (!isOwnHost(incoming.headers.get("host"))) {
      return reply(403, "403: open this page by its address, as the program printed it");
    }
    const url = URL.parse(incoming.url);
    if (url === null) return reply(400, "400: the Host header is not a valid address");
    const { pathname, searchParams } = url;
    if (!timingSafeEqual(hash(searchParams.get("token") ?? ""), secret)) {
      return reply(
        403,
        "403: the token is missing or wrong; open the URL that the program printed",
      );
    }
    if (pathname === "/data") {
      const data = JSON.stringify(await dataFor(searchParams));
      return reply(200, data, { "content-type": "application/json" });
    }
    if (pathname !== "/") return reply(404, "404: there is no such page");
    const nonce = randomBytes(16).toString("base64url");
    const policy = `default-src 'none'; script-src 'nonce-${nonce}'; style-src 'nonce-${nonce}'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`;
    return reply(200, page.replaceAll("NONCE", nonce), {
      "content-type": "text/html; charset=utf-8",
      "content-security-policy": policy,
    });
  }

  const server = Bun.serve({
    hostname: host,
    port,
    maxRequestBodySize: 1024,
    development: false,
    reusePort: false, // true by default with the option above
    fetch: serve,
  });
  return { port: server.port ?? 0, token, close: () => void server.stop(true) };
}
