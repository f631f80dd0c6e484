// SysError, and the error numbers that failed calls return.

import { expect, test } from "bun:test";
import { constants } from "node:os";
import { check } from "../../src/sys/errno.ts";
import * as sys from "../../src/sys/index.ts";

const { EAGAIN, EMFILE, linux, SysError } = sys;
const ERRNO: Readonly<Record<string, number>> = { ...constants.errno, ENONET: 64, EHOSTDOWN: 112 };

test("every exported error number has the value that the system defines", () => {
  const exported = Object.entries(sys).filter(([name]) => /^E(?!POLL)[A-Z]+$/.test(name));
  expect(exported.length).toBeGreaterThan(20);
  for (const [name, number] of exported) expect([name, number]).toEqual([name, ERRNO[name] ?? 0]);
});

test("a SysError has Node's fields: code, negative errno, syscall", () => {
  const error = new SysError(-constants.errno.ECONNRESET, "recv");
  expect(error).toBeInstanceOf(Error);
  expect(error.name).toBe("SysError");
  expect(error.code).toBe("ECONNRESET");
  expect(error.errno).toBe(-constants.errno.ECONNRESET);
  expect(error.syscall).toBe("recv");
  expect(error.message).toBe("recv ECONNRESET");
  expect("address" in error).toBe(false);
  expect("port" in error).toBe(false);
});

test("a SysError of a call with an address has the fields address and port", () => {
  const at = { hostname: "127.0.0.1", port: 80 };
  const error = new SysError(-constants.errno.EADDRINUSE, "bind", at);
  expect(error.address).toBe("127.0.0.1");
  expect(error.port).toBe(80);
  expect(error.message).toBe("bind EADDRINUSE 127.0.0.1:80");
});

test("a SysError of an unknown error number has the number in its code", () => {
  expect(new SysError(-4095, "ioctl").code).toContain("4095");
});

test("a SysError of 11 has the code EAGAIN, not EWOULDBLOCK", () => {
  expect(new SysError(-EAGAIN, "recv").code).toBe("EAGAIN");
});

test("check returns a result >= 0, and throws a SysError for a negative errno", () => {
  expect(check(0, "close")).toBe(0);
  expect(check(7, "recv")).toBe(7);
  expect(() => check(-EMFILE, "socket")).toThrow("socket EMFILE");
});

test("a call that fails returns the negative errno of that call", () => {
  const sys = linux();
  expect(sys.close(-1)).toBe(-constants.errno.EBADF);
  const fd = sys.eventfd();
  expect(sys.listen(fd, 1)).toBe(-constants.errno.ENOTSOCK);
  expect(sys.close(-1)).toBe(-constants.errno.EBADF);
  expect(sys.eventfdDrain(fd)).toBe(-EAGAIN);
  expect(sys.close(fd)).toBe(0);
});
