// The conversion of a delay in milliseconds to a timerfd's struct itimerspec.

import { expect, test } from "bun:test";
import fc from "fast-check";
import { EPOLLET, EPOLLIN, EpollEvents, linux } from "../../src/sys/index.ts";
import type { Libc } from "../../src/sys/libc.ts";
import { timerfdCalls } from "../../src/sys/linux.ts";

/** Returns the struct itimerspec for a delay, as four 64-bit integers. */
function specOf(delayMs: number): bigint[] {
  let fields: bigint[] = [];
  const libc = {
    check: (result: number) => result,
    timerfd_settime: (_fd: number, _flags: number, spec: Int32Array) => {
      fields = [...new BigInt64Array(spec.buffer)];
      return 0;
    },
  } as unknown as Libc;
  timerfdCalls(libc).timerfdSet(3, delayMs);
  return fields;
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
])("a delay of %d ms becomes %d ns", (delayMs, nanoseconds) => {
  expect(nanosecondsOf(delayMs)).toBe(nanoseconds);
});

test("any delay is rounded up to a valid timespec that is never early and never zero", () => {
  fc.assert(
    fc.property(fc.double({ min: 5e-324, max: 1e9, noNaN: true }), (delayMs) => {
      const [intervalSeconds, intervalNanoseconds, seconds, nanoseconds] = specOf(delayMs);
      expect(intervalSeconds).toBe(0n);
      expect(intervalNanoseconds).toBe(0n);
      expect(seconds! > 0n || nanoseconds! > 0n).toBe(true);
      expect(nanoseconds! >= 0n && nanoseconds! < 1_000_000_000n).toBe(true);
      // The product of two doubles may be off by its last bit.
      const total = Number(nanosecondsOf(delayMs));
      expect(total).toBeGreaterThanOrEqual(delayMs * 1e6 * (1 - Number.EPSILON));
      expect(total).toBeLessThanOrEqual(delayMs * 1e6 * (1 + Number.EPSILON) + 1);
    }),
    { numRuns: 2000 },
  );
});

test.each([2 ** 31, 1e15, 1e300, Number.MAX_VALUE, Number.POSITIVE_INFINITY])(
  "the kernel accepts a delay of %d ms, and the timer does not fire",
  (delayMs) => {
    const sys = linux();
    const fd = sys.timerfdCreate();
    expect(sys.timerfdSet(fd, delayMs)).toBe(0);
    expect(nanosecondsOf(delayMs) >= 2n ** 31n * 1_000_000n).toBe(true);
    expect(sys.read(fd, new Uint8Array(8))).toBeLessThan(0);
    sys.close(fd);
  },
);

test("each expiry is a new edge, even if the previous expiry was not read", () => {
  const sys = linux();
  const epoll = sys.epollCreate();
  const fd = sys.timerfdCreate();
  const events = new EpollEvents(1);
  sys.epollAdd(epoll, fd, EPOLLIN | EPOLLET, 0, 0);
  for (let round = 0; round < 3; round++) {
    sys.timerfdSet(fd, 0.001);
    expect(sys.epollWait(epoll, events, -1)).toBe(1);
    expect(sys.epollWait(epoll, events, 0)).toBe(0);
  }
  sys.close(fd);
  sys.close(epoll);
});
