// Kernel error numbers by name, and the error they become above the seam.

/** Made by the first error: an import does not wait for node:os. */
let names: ReadonlyMap<number, string> | null = null;

function readNames(): ReadonlyMap<number, string> {
  const { errno } = process.getBuiltinModule("node:os").constants;
  const read = new Map<number, string>();
  for (const [name, number] of Object.entries(errno)) if (!read.has(number)) read.set(number, name);
  return read;
}

export const EINTR = 4;
export const EAGAIN = 11;
export const ENOMEM = 12;
export const ENFILE = 23;
export const EMFILE = 24;
export const EPROTO = 71;
export const EOPNOTSUPP = 95;
export const ENOPROTOOPT = 92;
export const ENETDOWN = 100;
export const ENETUNREACH = 101;
export const ECONNABORTED = 103;
export const ENOBUFS = 105;
export const EHOSTDOWN = 112;
export const EHOSTUNREACH = 113;
export const EALREADY = 114;
export const EINPROGRESS = 115;
export const ENONET = 64;

/** A failed kernel operation, with Node's field names. `errno` is negative, as in Node. */
export class SysError extends Error {
  override readonly name = "SysError";
  /** `"ECONNRESET"` */
  readonly code: string;
  /** The negative error number, as the kernel returned it. */
  readonly errno: number;
  /** `"recv"` */
  readonly syscall: string;
  declare readonly address?: string;
  declare readonly port?: number;

  constructor(errno: number, syscall: string, at?: { hostname: string; port: number }) {
    names ??= readNames();
    const code = names.get(-errno) ?? `errno ${-errno}`;
    super(`${syscall} ${code}${at === undefined ? "" : ` ${at.hostname}:${at.port}`}`);
    this.code = code;
    this.errno = errno;
    this.syscall = syscall;
    if (at !== undefined) {
      this.address = at.hostname;
      this.port = at.port;
    }
  }
}

/** `result` if it is one, else throws the SysError it stands for. */
export function check(
  result: number,
  syscall: string,
  at?: { hostname: string; port: number },
): number {
  if (result < 0) throw new SysError(result, syscall, at);
  return result;
}
