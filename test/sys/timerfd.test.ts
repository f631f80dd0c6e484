import { expect, test } from "bun:test";
import fc from "fast-check";
import { EPOLLIN, EpollEvents } from "../../src/sys/epoll.ts";
import type { Libc } from "../../src/sys/libc.ts";
import { linux, timerfdCalls } from "../../src/sys/linux.ts";

/** What the kernel would be told for a delay: struct itimerspec, as four 64-bit words. */
function specOf(delayMs: number): bigint[] {
  let words: bigint[] = [];
  const libc = {
    check: (result: number) => result,
    timerfd_settime: (_fd: number, _flags: number, spec: Int32Array) => {
      words = [...new BigInt64Array(spec.buffer)];
      return 0;
    },
  } as unknown as Libc;
  timerfdCalls(libc).timerfdSet(3, delayMs);
  return words;
}

const nanosecondsOf = (delayMs: number): bigint => {
  const [, , seconds, nanoseconds] = specOf(delayMs);
  return seconds! * 1_000_000_000n + nanoseconds!;
};

test.each([
  [0.000_000_1, 1n],
  [0.000_001, 1n],
  [0.000_001_5, 2n],
  [0.25, 250_000n],
  [1, 1_000_000n],
  [999.999_999_5, 1_000_000_000n],
  [1000, 1_000_000_000n],
  [1500.5, 1_500_500_000n],
])("%d ms is set as %d ns", (delayMs, nanoseconds) => {
  expect(nanosecondsOf(delayMs)).toBe(nanoseconds);
});

test("any delay is rounded up: never early, never zero, a valid timespec", () => {
  fc.assert(
    fc.property(fc.double({ min: 5e-324, max: 1e9, noNaN: true }), (delayMs) => {
      const [intervalSeconds, intervalNanoseconds, seconds, nanoseconds] = specOf(delayMs);
      expect(intervalSeconds).toBe(0n);
      expect(intervalNanoseconds).toBe(0n);
      expect(seconds! > 0n || nanoseconds! > 0n).toBe(true);
      expect(nanoseconds! >= 0n && nanoseconds! < 1_000_000_000n).toBe(true);
      // As doubles: the last bit of the product is not ours to decide.
      const total = Number(nanosecondsOf(delayMs));
      expect(total).toBeGreaterThanOrEqual(delayMs * 1e6 * (1 - Number.EPSILON));
      expect(total).toBeLessThanOrEqual(delayMs * 1e6 * (1 + Number.EPSILON) + 1);
    }),
    { numRuns: 2000 },
  );
});

test.each([2 ** 31, 1e15, 1e300, Number.MAX_VALUE, Number.POSITIVE_INFINITY])(
  "%d ms is no error for the kernel, and far away",
  (delayMs) => {
    const sys = linux();
    const fd = sys.timerfdCreate();
    expect(sys.timerfdSet(fd, delayMs)).toBe(0);
    expect(nanosecondsOf(delayMs) >= 2n ** 31n * 1_000_000n).toBe(true);
    expect(sys.read(fd, new Uint8Array(8))).toBeLessThan(0);
    sys.close(fd);
  },
);

test("each setting is a new edge, also when the last expiry was not read", () => {
  const sys = linux();
  const epoll = sys.epollCreate();
  const fd = sys.timerfdCreate();
  const events = new EpollEvents(1);
  sys.epollAdd(epoll, fd, EPOLLIN | 0x80000000, 0, 0);
  for (let round = 0; round < 3; round++) {
    sys.timerfdSet(fd, 0.001);
    expect(sys.epollWait(epoll, events, -1)).toBe(1);
    expect(sys.epollWait(epoll, events, 0)).toBe(0);
  }
  sys.close(fd);
  sys.close(epoll);
});
