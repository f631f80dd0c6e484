// Binding and connecting unix sockets, and the file of a bound one. See unix(7).
//
// Invariant: a socket removes only the file that it created. If another server has replaced the file meanwhile, the file
// has another inode.

import { checkObject, outOfRange } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import type { Context } from "../core/context.ts";
import { Leaf } from "../core/leaf.ts";
import { type Again, Pending, type Poll } from "../core/poll.ts";
import { FdPause } from "../io/fd-shortage.ts";
import { Source } from "../io/source.ts";
import { currentSys, reactorOf } from "../reactor/reactor.ts";
import {
  check,
  EACCES,
  EADDRINUSE,
  EAGAIN,
  ECONNREFUSED,
  EINTR,
  ENOENT,
  SysError,
} from "../sys/errno.ts";
import { AF_UNIX, checkUnixAddress, type UnixAddress } from "../sys/sockaddr.ts";
import { SOCK_DGRAM } from "../sys/socket.ts";
import type { Sys } from "../sys/sys.ts";
import { incoming, openFd, openSys, outgoing } from "./socket.ts";

/** Where to bind a unix socket, and how. */
export interface UnixBindOptions {
  /** A path; `"\0name"` for an abstract name; `""` lets the kernel choose an abstract name (autobind). */
  readonly path: UnixAddress;
  /** The permissions of the file, such as 0o660. A client needs permission to write. Default: 0o777 without the umask. */
  readonly mode?: number;
  /** Replaces the file of a socket that refuses connections, such as one that a crashed process left. Default false. */
  readonly replaceStale?: boolean;
}

/** Returns the options of a `bind`. Throws TypeError. */
export function bindOptions<O extends UnixBindOptions>(
  address: O | UnixAddress,
): O | UnixBindOptions {
  if (typeof address === "string") return { path: address };
  checkObject(address, "bind: address");
  return address;
}

/** The file of a bound socket. */
export class UnixFile {
  private readonly sys: Sys;
  /** Where the file may be: a relative path leads elsewhere after a chdir(2). */
  private readonly paths: readonly string[];
  private readonly id: string;

  constructor(sys: Sys, path: string, id: string) {
    this.sys = sys;
    this.paths = path.startsWith("/") ? [path] : [path, `${process.cwd()}/${path}`];
    this.id = id;
  }

  /** Removes the file, unless another one is in its place. */
  remove(): void {
    const path = this.paths.find((candidate) => idAt(this.sys, candidate) === this.id);
    if (path !== undefined) this.sys.unlink(path);
  }
}

function idAt(sys: Sys, path: string): string | null {
  const found = sys.lstat(path);
  return typeof found === "number" ? null : found.id;
}

/** Opens a unix socket. Throws SysError. */
export function openUnix(sys: Sys, type: number): Source {
  return new Source(sys, check(openFd(sys, AF_UNIX, type), "socket"), type === SOCK_DGRAM);
}

/** Opens and binds a unix socket. Returns its file, if it has one. Throws SysError, and TypeError and RangeError. */
export function bindUnix(
  type: number,
  { path, mode, replaceStale = false }: UnixBindOptions,
): { source: Source; file: UnixFile | null } {
  checkUnixAddress(path, "bind: path");
  if (mode !== undefined && (!Number.isInteger(mode) || mode < 0 || mode > 0o777)) {
    throw outOfRange(`bind: mode must be an integer from 0 to 0o777; got ${describe(mode)}`);
  }
  const sys = currentSys();
  const source = openUnix(sys, type);
  try {
    const isFile = path !== "" && !path.startsWith("\0");
    // The file begins with these permissions, less the umask, so that nobody else connects too early.
    if (isFile && mode !== undefined) check(sys.fchmod(source.fd, mode), "fchmod");
    let result = sys.bind(source.fd, outgoing().encodeUnix(path));
    if (result === -EADDRINUSE && isFile && replaceStale && removeStale(sys, type, path)) {
      result = sys.bind(source.fd, outgoing().encodeUnix(path));
    }
    if (result < 0) throw bindError(sys, result, path);
    if (!isFile) return { source, file: null };
    const id = idAt(sys, path);
    const file = id === null ? null : new UnixFile(sys, path, id);
    const changed = mode === undefined ? 0 : sys.chmod(path, mode);
    if (changed < 0) file?.remove();
    check(changed, "chmod", path);
    return { source, file };
  } catch (error) {
    source.close();
    throw error;
  }
}

/** Removes the socket at `path` if it refuses connections. Returns true if it did. */
function removeStale(sys: Sys, type: number, path: string): boolean {
  const found = sys.lstat(path);
  if (typeof found === "number" || !found.isSocket) return false; // a connect to another file is refused, too
  const probe = openUnix(sys, type);
  const result = sys.connect(probe.fd, outgoing().encodeUnix(path));
  probe.close();
  // Only what refused: another server may have replaced it just now.
  return result === -ECONNREFUSED && idAt(sys, path) === found.id && sys.unlink(path) >= 0;
}

function bindError(sys: Sys, errno: number, path: string): SysError {
  const found = sys.lstat(path);
  const isSocket = typeof found !== "number" && found.isSocket;
  const hints: Record<number, string> = {
    [-EADDRINUSE]: isSocket
      ? "a socket is there; if no process uses it, pass { replaceStale: true }"
      : "the name or the path is in use",
    [-ENOENT]: "its directory does not exist",
    [-EACCES]: "this process may not write to its directory",
  };
  return new SysError(errno, "bind", path, hints[errno]);
}

/** Returns the address that a unix socket is bound to. Throws SysError, ClosedError. */
export function unixAddressOf(source: Source): UnixAddress {
  check(openSys(source).getsockname(source.fd, incoming()), "getsockname");
  return incoming().decodeUnix();
}

/** Returns the address of the peer of a unix socket. Throws SysError, ClosedError. */
export function unixPeerOf(source: Source): UnixAddress {
  check(openSys(source).getpeername(source.fd, incoming()), "getpeername");
  return incoming().decodeUnix();
}

/**
 * Connects a unix socket. Owns it until it returns the stream. (A connect completes at once. Only if the backlog of the
 * listener is full it would block, and no event says when there is room: so it tries again after a pause.)
 */
export class ConnectUnix<S extends Disposable> extends Leaf<S> {
  readonly #type: number;
  readonly #path: UnixAddress;
  readonly #wrap: (source: Source) => S;
  #source: Source | null = null;
  readonly #pause = new FdPause();

  constructor(type: number, path: UnixAddress, wrap: (source: Source) => S) {
    super();
    checkUnixAddress(path, "connect: path");
    this.#type = type;
    this.#path = path;
    this.#wrap = wrap;
  }

  protected override attempt(cx: Context): Poll<S> | Again {
    if (this.#pause.hasBegun) {
      if (this.#pause.isWaiting(cx)) return Pending;
      this.#pause.end();
    }
    this.#source ??= openUnix(reactorOf(cx).sys, this.#type);
    const source = this.#source;
    let result: number;
    do result = source.sys.connect(source.fd, outgoing().encodeUnix(this.#path));
    while (result === -EINTR);
    if (result === -EAGAIN) {
      this.#pause.begin(cx);
      return Pending;
    }
    if (result < 0) throw new SysError(result, "connect", this.#path);
    this.#source = null;
    return this.#wrap(source);
  }

  override reclaim(stream: S): void {
    stream[Symbol.dispose]();
  }

  protected override release(): void {
    this.#pause.end();
    this.#source?.close();
    this.#source = null;
  }

  override describe(): string {
    return `connect ${this.#path.replace(/^\0/, "@")}`;
  }
}

/** Opens two connected unix sockets. Throws SysError. */
export function unixPair(type: number): [Source, Source] {
  const sys = currentSys();
  const ends = new Int32Array(2);
  check(sys.socketpair(AF_UNIX, type, ends), "socketpair");
  const isDatagram = type === SOCK_DGRAM;
  return [new Source(sys, ends[0]!, isDatagram), new Source(sys, ends[1]!, isDatagram)];
}
