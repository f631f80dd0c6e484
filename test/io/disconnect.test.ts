// isDisconnect: the errors that mean that a peer went away.

import { expect, test } from "bun:test";
import {
  ClosedError,
  isDisconnect,
  SysError,
  TlsError,
  TlsTruncatedError,
} from "../../src/index.ts";
import { ECONNRESET, EMFILE, EPERM, EPIPE } from "../../src/sys/errno.ts";

const reset = new SysError(-ECONNRESET, "recv");
const broken = new SysError(-EPIPE, "send");

test("a reset, a broken pipe, a closed socket, and groups of only those are disconnects", () => {
  const ofNode = Object.assign(new Error("read ECONNRESET"), { code: "ECONNRESET" });
  for (const error of [
    reset,
    broken,
    new ClosedError("closed"),
    ofNode,
    new TlsTruncatedError(),
    new AggregateError([reset, new ClosedError("closed")]),
    new AggregateError([new AggregateError([broken])]),
    new SuppressedError(reset, broken),
  ]) {
    expect(isDisconnect(error)).toBe(true);
  }
});

test("other errors, groups that contain one, and values that are no errors are not disconnects", () => {
  const other = new SysError(-EMFILE, "accept4");
  for (const error of [
    other,
    new SysError(-EPERM, "bind"),
    new Error("boom"),
    new TlsError("CERT_HAS_EXPIRED", "expired"),
    new AggregateError([]),
    new AggregateError([reset, other]),
    new SuppressedError(reset, new TypeError("bug")),
    { code: "ECONNRESET" },
    null,
    undefined,
  ]) {
    expect(isDisconnect(error)).toBe(false);
  }
});
