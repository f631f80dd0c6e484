// Socket: what all sockets share. It owns the fd through its Source, closes it, and sets options by number.

import { invalidType } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import { inspectable } from "../base/inspect.ts";
import type { Source } from "../io/source.ts";
import { check } from "../sys/errno.ts";
import { checkBuffer } from "../sys/socket.ts";
import { openSys } from "./socket.ts";

/** A socket of any family. It owns its fd; close it with `using` or `close`. */
export abstract class Socket implements Disposable {
  static {
    inspectable(Socket, textOf);
  }

  /** @internal */
  readonly source: Source;

  /** @internal */
  constructor(source: Source) {
    this.source = source;
    source.setSocket(this);
  }

  /** The fd number, for other calls. Do not close it: this object owns it. Throws ClosedError once it is closed. */
  get fd(): number {
    openSys(this.source);
    return this.source.fd;
  }

  /**
   * Sets an option that has no method of its own. `level` and `option` are numbers of the kernel's headers. `value` is an
   * int, a boolean, or the bytes of a struct. Throws SysError (`ENOPROTOOPT`, `EPERM`, ...), ClosedError, and TypeError
   * for invalid arguments. See setsockopt(2).
   *
   * @example
   * stream.setOption(1, 11, 1); // SOL_SOCKET, SO_NO_CHECK
   * console.log(stream.getOption(1, 11)[0]); // 1
   */
  setOption(level: number, option: number, value: number | boolean | Uint8Array): void {
    checkInt(level, "level");
    checkInt(option, "option");
    const sys = openSys(this.source);
    const { fd } = this.source;
    if (value instanceof Uint8Array) {
      check(sys.setsockoptBytes(fd, level, option, value), "setsockopt");
    } else {
      const int = typeof value === "boolean" ? Number(value) : value;
      checkInt(int, "value");
      check(sys.setsockopt(fd, level, option, int), "setsockopt");
    }
  }

  /**
   * Returns the bytes of an option, at most `maxBytes` of them (256 by default). An int is 4 bytes, the lowest first.
   * Throws SysError (`ENOPROTOOPT`, ...), ClosedError, and TypeError for invalid arguments. See getsockopt(2).
   */
  getOption(level: number, option: number, maxBytes = 256): Uint8Array {
    checkInt(level, "level");
    checkInt(option, "option");
    checkInt(maxBytes, "maxBytes");
    const value = new Uint8Array(maxBytes);
    checkBuffer(value, "getOption: maxBytes");
    const sys = openSys(this.source);
    const length = check(sys.getsockoptBytes(this.source.fd, level, option, value), "getsockopt");
    return value.subarray(0, length);
  }

  /**
   * Releases the fd without closing it, and returns it. The caller owns it; it stays non-blocking, and `fromFd` makes a
   * socket of it. The file of a unix socket stays, and the datagrams in `buffered` of a UDP socket are lost. Pending
   * operations throw ClosedError; a later `close` does nothing. Throws ClosedError once the socket is closed or released.
   */
  release(): number {
    const { fd } = this;
    this.source.release();
    return fd;
  }

  /** Closes the socket. Pending operations throw ClosedError. Idempotent. See close(2). */
  close(): void {
    this.source.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** `TcpStream { 127.0.0.1:53122 -> 127.0.0.1:7000, fd 9 }` */
function textOf(socket: Socket): string {
  const { isClosed, addresses, fd } = socket.source;
  const { name } = socket.constructor;
  if (isClosed) return `${name} { closed }`;
  const { local, remote } = addresses;
  const known = [local, remote].filter((address) => address !== null).join(" -> ");
  return `${name} { ${known === "" ? "" : `${known}, `}fd ${fd} }`;
}

/** Throws TypeError unless `value` is a 32-bit integer. `name` names the argument. */
export function checkInt(value: unknown, name: string): asserts value is number {
  if (typeof value === "number" && Number.isInteger(value) && (value | 0) === value) return;
  throw invalidType(`${name} must be a 32-bit integer; got ${describe(value)}`);
}
