import { expect, test } from "bun:test";
import { constants } from "node:os";
import { check, EAGAIN, EMFILE, SysError } from "../../src/sys/errno.ts";
import { linux } from "../../src/sys/linux.ts";

test("an error has Node's fields: code, negative errno, syscall", () => {
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

test("an error at an address has address and port", () => {
  const at = { hostname: "127.0.0.1", port: 80 };
  const error = new SysError(-constants.errno.EADDRINUSE, "bind", at);
  expect(error.address).toBe("127.0.0.1");
  expect(error.port).toBe(80);
  expect(error.message).toBe("bind EADDRINUSE 127.0.0.1:80");
});

test("a number without a name is still told", () => {
  expect(new SysError(-4095, "ioctl").code).toContain("4095");
});

test("EAGAIN is not called EWOULDBLOCK", () => {
  expect(new SysError(-EAGAIN, "recv").code).toBe("EAGAIN");
});

test("check passes a result on, and throws a negative one", () => {
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
