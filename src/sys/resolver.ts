// Resolver: resolves names with getaddrinfo(3) in helper threads, so /etc/hosts, nsswitch.conf and mDNS count as they do
// for every other program. Works while this thread blocks in epoll_wait: an answer arrives through an fd.
//
// A lookup is a pair of connected sockets. The helper owns one end: it sends the answer as one message and closes its
// end. The caller owns the other end, and closes it whenever it likes. So no fd has two owners, and a lookup is
// abandoned by a close. Only `send` with MSG_NOSIGNAL can meet a closed end.
//
// The helpers' program is on the kernel's side of the seam, like that of epoll-watcher.ts.
//
// Facts about getaddrinfo, and what they mean for this code:
// - It blocks for seconds when a server does not answer, and nothing can interrupt it. So each lookup that is in
//   flight gets a helper of its own, up to MAX_HELPERS; more than that queue behind them.
// - It returns each address once per socket type. So we ask for SOCK_STREAM only.

import { EMFILE } from "./errno.ts";
import { type Libc, libcNames } from "./libc.ts";
import { startWorker, WORKER_FDS } from "./text-worker.ts";
import { sharedInts } from "./threads.ts";

/** No more lookups run at the same time. */
const MAX_HELPERS = 8;
/** How long an unused helper lives. */
const IDLE_MS = 10_000;
/** The largest answer: about 350 addresses. The kernel's buffer of a socket is larger. */
const MAX_ANSWER_BYTES = 16_384;

const AF_UNIX = 1;
/** SOCK_SEQPACKET: a message arrives whole. With SOCK_CLOEXEC and SOCK_NONBLOCK. */
const PAIR_TYPE = 5 | 0x80000 | 0x800;

/** Index of the number of lookups that a helper has not answered; -1 once the helper has ended. */
const PENDING = 0;

const helperProgram = `
import { dlopen, read } from "bun:ffi";
const libcNames = ${libcNames};
let libc;
for (const name of libcNames()) {
  try {
    libc = dlopen(name, {
      getaddrinfo: { args: ["ptr", "ptr", "ptr", "ptr"], returns: "i32" },
      freeaddrinfo: { args: ["ptr"], returns: "void" },
      inet_ntop: { args: ["i32", "ptr", "ptr", "u32"], returns: "ptr" },
      send: { args: ["i32", "ptr", "u32", "i32"], returns: "i32" },
      recv: { args: ["i32", "ptr", "u32", "i32"], returns: "i32" },
      close: { args: ["i32"], returns: "i32" },
    }).symbols;
    break;
  } catch {}
}
const MSG_NOSIGNAL = 0x4000, MSG_PEEK = 2;
const hints = new Int32Array(new ArrayBuffer(48)); // struct addrinfo: flags, family, socket type, ...
const result = new BigUint64Array(new ArrayBuffer(8));
const text = new Uint8Array(new ArrayBuffer(64));

/** Returns the code of getaddrinfo on a line, then the addresses, one per line. */
function resolve(hostname, family) {
  hints[1] = family;
  hints[2] = 1; // SOCK_STREAM
  result[0] = 0n;
  const code = libc.getaddrinfo(Buffer.from(hostname + "\\0"), null, hints, result);
  const lines = [String(code)];
  const first = Number(result[0]);
  for (let at = first; code === 0 && at !== 0; at = read.ptr(at, 40)) { // ai_next
    const family = read.i32(at, 4);
    const address = read.ptr(at, 24); // ai_addr
    if (family !== 2 && family !== 10) continue;
    if (libc.inet_ntop(family, address + (family === 2 ? 4 : 8), text, text.length) === null) continue;
    const scope = family === 10 ? read.u32(address, 24) : 0;
    const line = Buffer.from(text.subarray(0, text.indexOf(0))).toString() + (scope === 0 ? "" : "%" + scope);
    if (!lines.includes(line)) lines.push(line);
  }
  if (first !== 0) libc.freeaddrinfo(first);
  let answer = lines.join("\\n");
  while (answer.length > ${MAX_ANSWER_BYTES}) answer = answer.slice(0, answer.lastIndexOf("\\n"));
  return answer;
}

let shared, idleTimer;
globalThis.onmessage = ({ data }) => {
  if (data.shared !== undefined) {
    shared = data.shared;
    return;
  }
  clearTimeout(idleTimer);
  const { fd, hostname, family } = data;
  // A closed peer means that nobody waits for the answer any more: recv returns 0 then, and -1 (EAGAIN) otherwise.
  if (libc.recv(fd, text, 1, MSG_PEEK) !== 0) {
    let answer = "-4"; // EAI_FAIL
    try {
      answer = resolve(hostname, family);
    } catch {}
    const bytes = Buffer.from(answer);
    libc.send(fd, bytes, bytes.length, MSG_NOSIGNAL);
  }
  libc.close(fd);
  if (Atomics.sub(shared, ${PENDING}, 1) !== 1) return;
  idleTimer = setTimeout(() => {
    if (Atomics.compareExchange(shared, ${PENDING}, 0, -1) === 0) process.exit();
  }, ${IDLE_MS});
};
`;

interface Helper {
  readonly worker: Worker;
  /** Element PENDING. */
  readonly shared: Int32Array;
}

export class Resolver {
  private readonly libc: Libc;
  /** Returns true if the process can open that many more fds now. */
  private readonly canOpen: (count: number) => boolean;
  private helpers: Helper[] = [];
  /** Two int fds. The kernel writes them, so their address must not change. */
  private readonly pair = new Int32Array(new ArrayBuffer(8));

  constructor(libc: Libc, canOpen: (count: number) => boolean) {
    this.libc = libc;
    this.canOpen = canOpen;
  }

  /** Implements `Sys.lookup`. */
  lookup(hostname: string, family: number): number {
    const helper = this.acquire();
    if (helper === null) return -EMFILE;
    const result = this.libc.check(this.libc.socketpair(AF_UNIX, PAIR_TYPE, 0, this.pair));
    if (result < 0) {
      Atomics.sub(helper.shared, PENDING, 1);
      return result;
    }
    const [ours, theirs] = this.pair;
    helper.worker.postMessage({ fd: theirs, hostname, family });
    return ours!;
  }

  /** Returns a helper with one more pending lookup; null if none runs and fds are too short to start one. */
  private acquire(): Helper | null {
    const pendingOf = ({ shared }: Helper): number => Atomics.load(shared, PENDING);
    this.helpers = this.helpers.filter((helper) => pendingOf(helper) >= 0);
    this.helpers.sort((a, b) => pendingOf(a) - pendingOf(b));
    const [idlest] = this.helpers;
    if (idlest !== undefined && pendingOf(idlest) === 0 && tryAdd(idlest)) return idlest;
    if (this.helpers.length < MAX_HELPERS && this.canOpen(WORKER_FDS)) return this.start();
    return this.helpers.find(tryAdd) ?? null;
  }

  private start(): Helper {
    const worker = startWorker(helperProgram);
    worker.unref();
    const shared = sharedInts(1);
    shared[PENDING] = 1;
    worker.postMessage({ shared });
    const helper = { worker, shared };
    this.helpers.push(helper);
    return helper;
  }
}

/** Counts one more pending lookup. Returns false if the helper has ended. */
function tryAdd({ shared }: Helper): boolean {
  for (let pending = Atomics.load(shared, PENDING); pending >= 0; ) {
    const seen = Atomics.compareExchange(shared, PENDING, pending, pending + 1);
    if (seen === pending) return true;
    pending = seen;
  }
  return false;
}
