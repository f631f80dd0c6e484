// Error numbers by name. Above the seam, a negative errno becomes a SysError. See errno(3).

/** Error names by number. Filled by the first error, so that importing this file does not load node:os. */
let names: ReadonlyMap<number, string> | null = null;

function readNames(): ReadonlyMap<number, string> {
  const { errno } = process.getBuiltinModule("node:os").constants;
  const read = new Map<number, string>();
  for (const [name, number] of Object.entries(errno)) if (!read.has(number)) read.set(number, name);
  return read;
}

export const EPERM = 1;
export const ENOENT = 2;
export const EINTR = 4;
export const EBADF = 9;
export const EAGAIN = 11;
export const ENOMEM = 12;
export const EACCES = 13;
export const EINVAL = 22;
export const ENFILE = 23;
export const EMFILE = 24;
export const EPIPE = 32;
export const ENODATA = 61;
export const ENONET = 64;
export const EPROTO = 71;
export const ENOTSOCK = 88;
export const ENOPROTOOPT = 92;
export const EPROTONOSUPPORT = 93;
export const EOPNOTSUPP = 95;
export const EAFNOSUPPORT = 97;
export const EADDRINUSE = 98;
export const ENETDOWN = 100;
export const ENETUNREACH = 101;
export const ECONNABORTED = 103;
export const ECONNRESET = 104;
export const ENOBUFS = 105;
export const ENOTCONN = 107;
export const ETIMEDOUT = 110;
export const ECONNREFUSED = 111;
export const EHOSTDOWN = 112;
export const EHOSTUNREACH = 113;
export const EALREADY = 114;
export const EINPROGRESS = 115;

/** The address that a failed call was about: an IP address, or the address of a unix socket. */
export type ErrorAddress = { readonly hostname: string; readonly port: number } | string;

/** Thrown when a system call fails. Has the fields of Node's system errors; `errno` is negative, as in Node. */
export class SysError extends Error {
  override readonly name = "SysError";
  /** The name of the error: `"ECONNRESET"`. */
  readonly code: string;
  /** The negative error number, as a `Sys` returns it. */
  readonly errno: number;
  /** The call that failed: `"recv"`. */
  readonly syscall: string;
  /** The IP address, the path of the unix socket, or `vsock:2:5000`, that the call was about, if any. */
  declare readonly address?: string;
  /** The port of the IP address that the call was about, if any. */
  declare readonly port?: number;

  /** `hint` ends the message: what the error means here. */
  constructor(errno: number, syscall: string, at?: ErrorAddress, hint?: string) {
    names ??= readNames();
    const code = names.get(-errno) ?? `errno ${-errno}`;
    const place = typeof at === "object" ? `${at.hostname}:${at.port}` : at?.replace(/^\0/, "@");
    super(
      `${syscall} ${code}${place === undefined ? "" : ` ${place}`}${hint === undefined ? "" : `: ${hint}`}`,
    );
    this.code = code;
    this.errno = errno;
    this.syscall = syscall;
    if (typeof at === "string") {
      this.address = at;
    } else if (at !== undefined) {
      this.address = at.hostname;
      this.port = at.port;
    }
  }
}

/** Returns `result` if it is >= 0. Throws a SysError for a negative errno. */
export function check(result: number, syscall: string, at?: ErrorAddress): number {
  if (result < 0) throw new SysError(result, syscall, at);
  return result;
}
