// Debug mode closes the open fds of sockets that were garbage-collected, and no others.

import { expect, test } from "bun:test";
import { root, run } from "../support/program.ts";

/** Runs a program of programs/unclosed.ts in debug mode. Returns its output, with `N` for each port and fd. */
async function program(name: string): Promise<string> {
  const path = `${root}test/support/programs/unclosed.ts`;
  const { code, output } = await run(["timeout", "20", "bun", path, name], {
    env: { GUILLOTINE_DEBUG: "1" },
  });
  expect([code, output]).toEqual([0, output]);
  return output.replaceAll(/:\d+|fd \d+/g, (text) => text.replace(/\d+/, "N"));
}

test("open sockets and pipes that are collected are closed, each with a warning that names it", async () => {
  const output = await program("forgotten");
  for (const name of ["TcpListener", "TcpStream", "UdpSocket", "AsyncFd"]) {
    expect(output).toMatch(new RegExp(`${name} .*fd N.* was garbage-collected while it was open`));
  }
  expect(output).toContain("TcpStream 127.0.0.1:N (fd N) was garbage-collected while it was open");
  expect(output).toContain("most are closed: true");
});

test("a socket with a pending wait, and one that was closed, are left alone", async () => {
  expect(await program("in use")).toBe("open: 4\nread 1\ncopied 2\n");
});
