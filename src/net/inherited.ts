// Sockets that a service manager passes to this process, and the messages that it expects. See sd_listen_fds(3),
// sd_notify(3).

import { checkBoolean, checkObject, invalidType } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import { OwnedFd } from "../io/owned-fd.ts";
import { currentSys } from "../reactor/reactor.ts";
import { check } from "../sys/errno.ts";
import { checkUnixAddress } from "../sys/sockaddr.ts";
import { F_SETFD, FD_CLOEXEC, SOCK_DGRAM } from "../sys/socket.ts";
import { kindOf, type SocketKind } from "./from-fd.ts";
import { outgoing } from "./socket.ts";
import { openUnix } from "./unix-address.ts";

/** A socket that was passed to this process. */
export interface InheritedSocket extends SocketKind {
  /** The name that the service manager gave it; `"unknown"` if it gave none. */
  readonly name: string;
  /** The fd, for `TcpListener.fromFd` and the like, which take it over. */
  readonly fd: OwnedFd;
}

/** The fds begin here. */
const FIRST_FD = 3;

/**
 * Returns the sockets that a service manager (systemd's socket activation, or another process by the same protocol) passed
 * to this process: LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES. Makes them close-on-exec, and removes the variables, so that
 * child processes do not mistake the fds for theirs: a second call returns none. Returns an empty array if none were passed to
 * this process. Throws SysError (`EBADF`, `ENOTSOCK`) if one of the fds is not a socket, such as a FIFO or a stored
 * file; then the variables stay, and a second call throws again. See sd_listen_fds(3).
 *
 * @example
 * const [passed] = inheritedSockets();
 * using listener = passed ? TcpListener.fromFd(passed.fd) : TcpListener.bind("127.0.0.1:0");
 */
export function inheritedSockets(): InheritedSocket[] {
  const { LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES } = process.env;
  if (Number(LISTEN_PID) !== process.pid) return [];
  const count = Number(LISTEN_FDS);
  if (!Number.isInteger(count) || count < 0 || count > 1024) return [];
  const names = LISTEN_FDNAMES?.split(":") ?? [];
  const sys = currentSys();
  const found = Array.from({ length: count }, (_, index) => {
    const fd = FIRST_FD + index;
    const kind = kindOf(sys, fd);
    check(sys.fcntl(fd, F_SETFD, FD_CLOEXEC), "fcntl");
    return { name: names[index] || "unknown", ...kind, fd: new OwnedFd(fd) };
  });
  for (const name of ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"]) delete process.env[name];
  return found;
}

/** What to tell the service manager. */
export interface NotifyOptions {
  /** The service has started, or has finished reloading. */
  readonly ready?: boolean;
  /** The service reloads its configuration; `ready` follows. */
  readonly reloading?: boolean;
  /** The service stops. */
  readonly stopping?: boolean;
  /** One line that describes its state. */
  readonly status?: string;
  /** The service is alive. Send it at least twice per watchdog interval. */
  readonly watchdog?: boolean;
}

/**
 * Tells the service manager the state of this service. Returns false without a service manager (NOTIFY_SOCKET is not set),
 * true once the message was sent. Does not wait. Throws SysError (`ECONNREFUSED`, `EAGAIN` if the manager's queue is full),
 * and TypeError for invalid options. See sd_notify(3).
 *
 * @example
 * notify({ ready: true, status: "accepting connections" });
 */
export function notify(options: NotifyOptions): boolean {
  const message = messageOf(options);
  const address = process.env.NOTIFY_SOCKET;
  if (address === undefined || address === "") return false;
  const path = address.startsWith("@") ? `\0${address.slice(1)}` : address;
  checkUnixAddress(path, "notify: NOTIFY_SOCKET");
  const source = openUnix(currentSys(), SOCK_DGRAM);
  try {
    const { sys, fd } = source;
    const bytes = Buffer.from(message);
    check(sys.sendto(fd, bytes, 0, outgoing().encodeUnix(path)), "sendto", path);
    return true;
  } finally {
    source.close();
  }
}

function messageOf(options: NotifyOptions): string {
  checkObject(options, "notify: options");
  const { status } = options;
  const lines: string[] = [];
  for (const flag of ["reloading", "ready", "stopping", "watchdog"] as const) {
    const isOn = options[flag] ?? false;
    checkBoolean(isOn, `notify: ${flag}`);
    if (!isOn) continue;
    lines.push(`${flag.toUpperCase()}=1`);
    // So that the manager can tell this reload from an earlier one.
    if (flag === "reloading") lines.push(`MONOTONIC_USEC=${currentSys().monotonicMicros()}`);
  }
  if (status !== undefined) {
    if (typeof status !== "string" || status.includes("\n")) {
      throw invalidType(
        `notify: status must be a string without newlines; got ${describe(status)}`,
      );
    }
    lines.push(`STATUS=${status}`);
  }
  return lines.join("\n");
}
