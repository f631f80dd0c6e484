// Watches a folder with inotify(7): an fd that epoll can watch, read through AsyncFd and parsed with BufReader.
//
//   bun run examples/inotify.ts [folder]    # a new temporary folder by default
//   touch /tmp/…/file                       # in another terminal, with the folder that it prints
//
// You will see: the folder, then a line per event: what happened, and to which file. Ctrl-C stops it.

import { dlopen } from "bun:ffi";
import { mkdtempSync } from "node:fs";
import { AsyncFd, BufReader, ctrlC, Runtime, race } from "../src/index.ts";

const folder = process.argv[2] ?? mkdtempSync("/tmp/inotify-");

// inotify_init1(2), inotify_add_watch(2). This library has no call for them, so the example opens its own.
const { symbols } = dlopen("libc.so.6", {
  inotify_init1: { args: ["i32"], returns: "i32" },
  inotify_add_watch: { args: ["i32", "cstring", "u32"], returns: "i32" },
});
const IN_CLOEXEC = 0x80000;

/** The events, by their bit in a mask. */
const EVENTS: readonly (readonly [bit: number, name: string])[] = [
  [0x2, "modified"],
  [0x4, "attributes changed"],
  [0x8, "closed after writing"],
  [0x40, "moved away"],
  [0x80, "moved here"],
  [0x100, "created"],
  [0x200, "deleted"],
];
const ALL = EVENTS.reduce((mask, [bit]) => mask | bit, 0);
const IN_Q_OVERFLOW = 0x4000;

interface FileEvent {
  readonly mask: number;
  readonly name: string;
}

/** The length of struct inotify_event without its name: watch, mask, cookie, name length; each of 32 bits. */
const HEADER_BYTES = 16;

/** Returns the event at the beginning of `bytes`; null if it is not complete. A pure function. */
function decodeEvent(bytes: Uint8Array): { value: FileEvent; consumed: number } | null {
  if (bytes.length < HEADER_BYTES) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const consumed = HEADER_BYTES + view.getUint32(12, true);
  if (bytes.length < consumed) return null;
  // Zeros pad the name.
  const name = new TextDecoder().decode(bytes.subarray(HEADER_BYTES, consumed)).replace(/\0+$/, "");
  return { value: { mask: view.getUint32(4, true), name }, consumed };
}

function* watch() {
  using fd = new AsyncFd(symbols.inotify_init1(IN_CLOEXEC));
  const path = Buffer.from(`${folder}\0`);
  if (symbols.inotify_add_watch(fd.fd, path, ALL) < 0) throw new Error(`cannot watch ${folder}`);
  console.log(`watching ${folder}`);
  const reader = new BufReader(fd);
  for (;;) {
    const event = yield* reader.readFrame(decodeEvent);
    if (event === null) return;
    if ((event.mask & IN_Q_OVERFLOW) !== 0) console.log("some events were lost: too many at once");
    for (const [bit, what] of EVENTS) {
      if ((event.mask & bit) !== 0) console.log(`${what}: ${event.name}`);
    }
  }
}

await using runtime = new Runtime();
await runtime.run(race(ctrlC(), watch()));
