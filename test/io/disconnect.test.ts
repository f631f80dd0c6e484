// isDisconnect: the errors that mean that a peer went away.

import { expect, test } from "bun:test";
import {
  ClosedError,
  CopyError,
  isDisconnect,
  SysError,
  TlsError,
  TlsTruncatedError,
  UnexpectedEofError,
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
    new UnexpectedEofError("the stream ended", new Uint8Array(2)),
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

test("with a connection, an error that names another peer is no disconnect", () => {
  const connection = { remoteAddress: { hostname: "127.0.0.1", port: 5000 } };
  const own = new SysError(-ECONNRESET, "recv", "127.0.0.1:5000");
  const named = new SysError(-ECONNRESET, "recv", connection.remoteAddress);
  const other = new SysError(-ECONNRESET, "recv", { hostname: "127.0.0.1", port: 5432 });
  for (const error of [own, named, reset, new ClosedError("closed"), new AggregateError([named])]) {
    expect(isDisconnect(error, connection)).toBe(true);
  }
  const copied = new CopyError("read", "reader", 0, other);
  for (const error of [other, copied, new AggregateError([named, other])]) {
    expect(isDisconnect(error)).toBe(true);
    expect(isDisconnect(error, connection)).toBe(false);
    expect(isDisconnect(error, { remoteAddress: "/run/a.sock" })).toBe(false);
    expect(isDisconnect(error, {})).toBe(true); // it has no address to compare with
  }
});
