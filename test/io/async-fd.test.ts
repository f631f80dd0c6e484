// AsyncFd on pipes, a pidfd and a regular file.

import { dlopen } from "bun:ffi";
import { afterAll, expect, test } from "bun:test";
import { closeSync, constants, openSync, rmSync, writeFileSync, writeSync } from "node:fs";
import {
  AsyncFd,
  ClosedError,
  type Coroutine,
  joinAll,
  Runtime,
  race,
  SysError,
  sleep,
  spawn,
  timeout,
  yieldNow,
} from "../../src/index.ts";
import { F_GETFL, linux, O_NONBLOCK } from "../../src/sys/index.ts";
import { failureOf } from "../support/caught.ts";
import { FaultSys } from "../support/fault-sys.ts";

const path = `/tmp/async-fd-${process.pid}`;
Bun.spawnSync(["mkfifo", path]);
afterAll(() => rmSync(path, { force: true }));

/** The two ends of a pipe. */
function pipe(): { reader: number; writer: number } {
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  return { reader, writer: openSync(path, constants.O_WRONLY) };
}

const isNonBlocking = (fd: number): boolean => (linux().fcntl(fd, F_GETFL, 0) & O_NONBLOCK) !== 0;
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

function* text(fd: AsyncFd, size = 64): Coroutine<string> {
  const buffer = new Uint8Array(size);
  return new TextDecoder().decode(buffer.subarray(0, yield* fd.read(buffer)));
}

test.each(["blockOn", "guest"])(
  "in %s, a read waits for data, and returns 0 at the end",
  async (mode) => {
    const { reader, writer } = pipe();
    using from = new AsyncFd(reader);
    function* body(): Coroutine<string[]> {
      const first = spawn(() => text(from));
      yield* yieldNow(); // the read waits now
      writeSync(writer, "hello");
      const seen = [yield* first];
      writeSync(writer, "two parts");
      seen.push(yield* text(from, 3), yield* text(from)); // the first leaves some bytes
      const last = spawn(() => text(from));
      yield* yieldNow();
      closeSync(writer);
      return [...seen, yield* last, yield* text(from)];
    }
    using runtime = new Runtime();
    const seen = mode === "guest" ? await runtime.run(body) : runtime.blockOn(body);
    expect(seen).toEqual(["hello", "two", " parts", "", ""]);
  },
);

test("a write waits for room, and throws EPIPE after the reading end closed", () => {
  const { reader, writer } = pipe();
  using to = new AsyncFd(writer);
  using from = new AsyncFd(reader);
  new Runtime().blockOn(function* () {
    const chunk = new Uint8Array(65536).fill(7);
    let written = 0;
    const writing = spawn(function* () {
      while (written < 1_000_000) written += yield* to.write(chunk);
    });
    yield* yieldNow();
    expect(writing.isFinished).toBe(false);
    const buffer = new Uint8Array(65536);
    let read = 0;
    while (read < 1_000_000) read += yield* from.read(buffer);
    yield* writing;
    from.close();
    const failed = spawn(to.write(chunk));
    const error = yield* failureOf(failed);
    expect(error).toBeInstanceOf(SysError);
    expect(error).toMatchObject({ code: "EPIPE", syscall: "write" });
  });
});

test("readable completes while data is available, and waits after other code has read the data", () => {
  const { reader, writer } = pipe();
  using from = new AsyncFd(reader);
  new Runtime().blockOn(function* () {
    const waits = joinAll([spawn(from.readable()), spawn(from.readable())]);
    yield* yieldNow();
    writeSync(writer, "ab");
    yield* waits;
    yield* from.readable(); // still readable
    expect(linux().read(reader, new Uint8Array(8))).toBe(2); // without the AsyncFd
    const again = spawn(from.readable());
    yield* race(again, sleep(0));
    expect(again.isFinished).toBe(false);
    writeSync(writer, "c");
    yield* again;
    expect(linux().read(reader, new Uint8Array(8))).toBe(1);
    closeSync(writer);
    yield* from.readable(); // the end counts as readable
    expect(yield* text(from)).toBe("");
  });
});

test("writable completes while the pipe has room, and waits for room otherwise", () => {
  const { reader, writer } = pipe();
  using to = new AsyncFd(writer);
  new Runtime().blockOn(function* () {
    yield* to.writable();
    while (linux().write(writer, new Uint8Array(4096)) > 0); // without the AsyncFd
    const room = spawn(to.writable());
    yield* race(room, sleep(0));
    expect(room.isFinished).toBe(false);
    while (linux().read(reader, new Uint8Array(65536)) > 0);
    yield* room;
  });
  closeSync(reader);
});

test("a pidfd becomes readable when its process ends", () => {
  const { symbols } = dlopen("libc.so.6", { pidfd_open: { args: ["i32", "u32"], returns: "i32" } });
  const child = Bun.spawn(["cat"], { stdin: "pipe" });
  using process = new AsyncFd(symbols.pidfd_open(child.pid, 0));
  new Runtime().blockOn(function* () {
    const end = spawn(process.readable());
    yield* race(end, sleep(0));
    expect(end.isFinished).toBe(false);
    child.kill("SIGKILL");
    yield* end;
    yield* process.readable();
  });
});

test("a read that is dropped leaves its data for the next read", () => {
  const { reader, writer } = pipe();
  using from = new AsyncFd(reader);
  new Runtime().blockOn(function* () {
    yield* failureOf(timeout(0, () => from.read(new Uint8Array(8))));
    writeSync(writer, "still here");
    expect(yield* text(from)).toBe("still here");
  });
  closeSync(writer);
});

test("a regular file reads without waiting, and readable throws EPERM for it", () => {
  const file = `${path}.txt`;
  writeFileSync(file, "a file");
  using from = new AsyncFd(openSync(file, "r"));
  rmSync(file);
  new Runtime().blockOn(function* () {
    expect(yield* text(from)).toBe("a file");
    expect(yield* text(from)).toBe("");
    expect(yield* failureOf(from.readable())).toMatchObject({ code: "EPERM" });
    expect(yield* text(from)).toBe("");
  });
});

test("after close, pending and later operations throw ClosedError, and the fd is closed once", () => {
  const { reader, writer } = pipe();
  const from = new AsyncFd(reader);
  new Runtime().blockOn(function* () {
    const waiting = [spawn(() => text(from)), spawn(from.readable())];
    yield* yieldNow();
    from.close();
    from.close();
    for (const one of waiting) expect(yield* failureOf(one)).toBeInstanceOf(ClosedError);
    for (const next of [
      from.read(new Uint8Array(1)),
      from.write(new Uint8Array(1)),
      from.writable(),
    ]) {
      expect(yield* failureOf(next)).toMatchObject({ message: `fd ${reader} is closed` });
    }
  });
  expect(() => from.release()).toThrow(ClosedError);
  expect(linux().fcntl(reader, F_GETFL, 0)).toBeLessThan(0);
  closeSync(writer);
});

test("release returns the fd with its original blocking mode", () => {
  const { reader, writer } = pipe();
  expect([isNonBlocking(reader), isNonBlocking(writer)]).toEqual([true, false]);
  const [from, to] = [new AsyncFd(reader), new AsyncFd(writer)];
  expect(isNonBlocking(writer)).toBe(true);
  new Runtime().blockOn(function* () {
    const waiting = spawn(() => text(from));
    yield* yieldNow();
    expect([from.release(), to.release()]).toEqual([reader, writer]);
    expect(yield* failureOf(waiting)).toBeInstanceOf(ClosedError);
  });
  from.close(); // does nothing: the fd is the caller's now
  expect([isNonBlocking(reader), isNonBlocking(writer)]).toEqual([true, false]);
  closeSync(reader);
  closeSync(writer);
});

const { symbols: libc } = dlopen("libc.so.6", { dup: { args: ["i32"], returns: "i32" } });

test("close restores the blocking mode of an open file that another fd shares", () => {
  const { reader, writer } = pipe();
  const shared = libc.dup(writer);
  const to = new AsyncFd(writer);
  expect(isNonBlocking(shared)).toBe(true);
  to.close();
  expect(isNonBlocking(shared)).toBe(false);
  closeSync(shared);
  closeSync(reader);
});

test.each(["first", "last"])(
  "of several AsyncFds with one open file, the last one to end restores the blocking mode; the %s one began",
  (which) => {
    const { reader, writer } = pipe();
    const observer = libc.dup(writer);
    using _other = new AsyncFd(reader); // non-blocking at first, and another open file
    const files = [writer, libc.dup(writer), libc.dup(writer)].map((fd) => new AsyncFd(fd));
    if (which === "last") files.reverse();
    const last = files.pop()!;
    for (const file of files) {
      file.close();
      expect(isNonBlocking(observer)).toBe(true);
    }
    const fd = last.release();
    expect([isNonBlocking(observer), isNonBlocking(reader)]).toEqual([false, true]);
    closeSync(fd);
    closeSync(observer);
  },
);

test("release deregisters the fd before it returns the number", () => {
  const faults = new FaultSys();
  const { reader, writer } = pipe();
  new Runtime({ sys: faults.sys }).blockOn(function* () {
    const from = new AsyncFd(reader);
    yield* race(from.read(new Uint8Array(1)), sleep(0));
    from.release();
    expect([faults.count("epollDelete"), faults.count("close")]).toEqual([1, 0]);
  });
  closeSync(reader);
  closeSync(writer);
});

test("a number that is not an fd is rejected, and so is a buffer that is not a Uint8Array", () => {
  for (const wrong of [-1, 1.5, Number.NaN, 2 ** 31, "0" as unknown as number]) {
    expect(() => new AsyncFd(wrong)).toThrow("AsyncFd: fd must be an integer from 0 to 2147483647");
  }
  expect(() => new AsyncFd(1_000_000)).toThrow(SysError);
  const { reader, writer } = pipe();
  using from = new AsyncFd(reader);
  expect(() => from.read(new Uint8Array(0))).toThrow("at least one byte");
  expect(() => from.write("text" as unknown as Uint8Array)).toThrow("data must be a Uint8Array");
  const detached = new Uint8Array(8);
  const uses = [from.read(detached), from.write(detached)];
  const write = from.write(bytes("x"));
  structuredClone(detached.buffer, { transfer: [detached.buffer] });
  new Runtime().blockOn(function* () {
    for (const one of uses) {
      expect(yield* failureOf(one)).toMatchObject({
        message: expect.stringContaining("detached"),
      });
    }
    expect(yield* failureOf(write)).toMatchObject({ code: "EBADF" }); // `from` is the reading end of the pipe
  });
  closeSync(writer);
});
