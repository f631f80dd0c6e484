// libc through Bun's FFI. Opened on first use. No other file opens a library.
//
// Facts about Bun 1.4.5's FFI (measured), and what they mean for this code:
// - The JIT compiles calls. One costs 2 ns with i32, u32 and ptr arguments, and 6 ns with u64. An i64 result
//   allocates a bigint. So sizes are u32 and results i32, and the callers (linux.ts) cap buffer lengths.
// - Another FFI call may overwrite errno. So we read it right after the call that returned -1.
// - Only Bun has bun:ffi. So we do not import it statically: importing this package must not throw in Node.

import { codedError } from "../base/coded-error.ts";
import { cold } from "../base/cold.ts";

const signatures = {
  __errno_location: { args: [], returns: "ptr" },
  epoll_create1: { args: ["i32"], returns: "i32" },
  epoll_ctl: { args: ["i32", "i32", "i32", "ptr"], returns: "i32" },
  epoll_wait: { args: ["i32", "ptr", "i32", "i32"], returns: "i32" },
  eventfd: { args: ["u32", "i32"], returns: "i32" },
  timerfd_create: { args: ["i32", "i32"], returns: "i32" },
  timerfd_settime: { args: ["i32", "i32", "ptr", "ptr"], returns: "i32" },
  socket: { args: ["i32", "i32", "i32"], returns: "i32" },
  socketpair: { args: ["i32", "i32", "i32", "ptr"], returns: "i32" },
  if_nametoindex: { args: ["ptr"], returns: "i32" },
  bind: { args: ["i32", "ptr", "u32"], returns: "i32" },
  listen: { args: ["i32", "i32"], returns: "i32" },
  connect: { args: ["i32", "ptr", "u32"], returns: "i32" },
  accept4: { args: ["i32", "ptr", "ptr", "i32"], returns: "i32" },
  getpeername: { args: ["i32", "ptr", "ptr"], returns: "i32" },
  getsockname: { args: ["i32", "ptr", "ptr"], returns: "i32" },
  recv: { args: ["i32", "ptr", "u32", "i32"], returns: "i32" },
  send: { args: ["i32", "ptr", "u32", "i32"], returns: "i32" },
  recvfrom: { args: ["i32", "ptr", "u32", "i32", "ptr", "ptr"], returns: "i32" },
  recvmmsg: { args: ["i32", "ptr", "u32", "i32", "ptr"], returns: "i32" },
  sendmmsg: { args: ["i32", "ptr", "u32", "i32"], returns: "i32" },
  sendto: { args: ["i32", "ptr", "u32", "i32", "ptr", "u32"], returns: "i32" },
  shutdown: { args: ["i32", "i32"], returns: "i32" },
  getsockopt: { args: ["i32", "i32", "i32", "ptr", "ptr"], returns: "i32" },
  setsockopt: { args: ["i32", "i32", "i32", "ptr", "u32"], returns: "i32" },
  read: { args: ["i32", "ptr", "u32"], returns: "i32" },
  write: { args: ["i32", "ptr", "u32"], returns: "i32" },
  sendmsg: { args: ["i32", "ptr", "i32"], returns: "i32" },
  recvmsg: { args: ["i32", "ptr", "i32"], returns: "i32" },
  clock_gettime: { args: ["i32", "ptr"], returns: "i32" },
  unlink: { args: ["ptr"], returns: "i32" },
  chmod: { args: ["ptr", "u32"], returns: "i32" },
  fchmod: { args: ["i32", "u32"], returns: "i32" },
  writev: { args: ["i32", "ptr", "i32"], returns: "i32" },
  memfd_create: { args: ["ptr", "u32"], returns: "i32" },
  pipe2: { args: ["ptr", "i32"], returns: "i32" },
  memcpy: { args: ["ptr", "ptr", "u32"], returns: "void" },
  fcntl: { args: ["i32", "i32", "i32"], returns: "i32" },
  close: { args: ["i32"], returns: "i32" },
} as const;

/** A pointer argument: memory that the caller keeps alive during the call. */
type Memory = ArrayBufferView | null;
type Argument<A> = A extends "ptr" ? Memory : number;
type Arguments<A extends readonly string[]> = { -readonly [K in keyof A]: Argument<A[K]> };

/** The functions of libc, typed so that no caller sees a pointer. */
export type Libc = {
  readonly [K in Exclude<keyof typeof signatures, "__errno_location">]: (
    ...args: Arguments<(typeof signatures)[K]["args"]>
  ) => number;
} & {
  /** Returns the negative errno of a call that returned -1. Must be called before any other FFI call. */
  failure(): number;
  /** Returns `result`, or `failure()` if it is -1. */
  check(result: number): number;
  /** Returns the address of `memory`, for a struct that contains pointers. The caller keeps the memory alive. */
  addressOf(memory: Uint8Array | Uint32Array): number;
};

/**
 * Returns why this library cannot run here, or null if it can. Does not open libc. Every import calls this, so it
 * uses no regular expression: the first regular expression costs a process half a millisecond.
 */
export function unsupportedReason(): string | null {
  const { platform, arch, versions, env } = process;
  if (versions.bun === undefined) return "this is not Bun";
  if (Bun.semver.order(versions.bun, "1.4.5") < 0) return `this is Bun ${versions.bun}`;
  if (platform !== "linux") return `this is ${platform}`;
  if (arch !== "x64" && arch !== "arm64") return `this is ${arch}`;
  const jit = env.BUN_JSC_useJIT;
  if (jit !== undefined && ["0", "false", "no"].includes(jit.toLowerCase())) {
    return "the JIT is off (BUN_JSC_useJIT)";
  }
  return null;
}

/**
 * Thrown by every call that needs libc (`new Runtime()`, `TcpListener.bind`, ...) where the library cannot run: not
 * Bun 1.4.5 or newer, not Linux on x64 or arm64, no JIT, or no libc. The message names the reason.
 */
export class UnsupportedPlatformError extends Error {
  override readonly name = "UnsupportedPlatformError";
  readonly code = "ERR_UNSUPPORTED_PLATFORM";
}

function unsupported(reason: string, cause?: unknown): UnsupportedPlatformError {
  return new UnsupportedPlatformError(
    `bun-guillotine needs Bun 1.4.5 or newer on Linux (x64 or arm64) with the JIT on, but ${reason}`,
    { cause },
  );
}

/**
 * Returns the file names of libc: of glibc, then of musl. Helper threads receive the source text of this function, so it
 * may use only globals.
 */
export function libcNames(): string[] {
  return ["libc.so.6", `libc.musl-${process.arch === "arm64" ? "aarch64" : "x86_64"}.so.1`];
}

let opened: Libc | null = null;

/** Returns libc, opened on the first call. Throws UnsupportedPlatformError where libc cannot be opened. */
export function libc(): Libc {
  opened ??= open();
  return opened;
}

function open(): Libc {
  const reason = unsupportedReason();
  if (reason !== null) throw unsupported(reason);
  let cause: unknown;
  try {
    // `process.getBuiltinModule` is synchronous, and bundlers for other platforms ignore it.
    const ffi = process.getBuiltinModule("bun:ffi" as "fs") as unknown as typeof import("bun:ffi");
    for (const name of libcNames()) {
      try {
        const { symbols } = ffi.dlopen(name, signatures);
        const location = symbols.__errno_location();
        if (location === null)
          throw codedError("ERR_UNSUPPORTED_PLATFORM", "__errno_location returned null");
        // errno is per thread, and each Worker loads its own copy of this module. libc owns these 4 bytes, which live
        // as long as the thread.
        const errno = new Int32Array(ffi.toArrayBuffer(location, 0, 4));
        const failure = cold((): number => -errno[0]!);
        return {
          ...(symbols as unknown as Libc),
          addressOf: (memory) => ffi.ptr(memory),
          failure,
          check: (result) => (result === -1 ? failure() : result),
        };
      } catch (error) {
        cause ??= error;
      }
    }
  } catch (error) {
    cause ??= error;
  }
  throw unsupported(`libc could not be opened: ${(cause as Error)?.message ?? cause}`, cause);
}
