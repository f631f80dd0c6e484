// The open fds of sockets that nobody can use are closed, and no others: in debug mode when they are garbage-collected,
// else when the process has run out of fds.

import { expect, test } from "bun:test";
import { root, run } from "../support/program.ts";

const path = `${root}test/support/programs/unclosed.ts`;

/** Runs a program of programs/unclosed.ts in debug mode. Returns its output, with `N` for each port and fd. */
async function program(name: string): Promise<string> {
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

test("when the process has run out of fds, sockets that nobody refers to are closed, with a warning for each sweep", async () => {
  const command = ["sh", "-c", `ulimit -n 128 && exec timeout 60 bun ${path} shortage`];
  const { code, output } = await run(command, { env: { GUILLOTINE_DEBUG: "0" } });
  expect([code, output]).toEqual([0, output]);
  expect(output).toContain("forgot 400\nread 3\nread 2\nread 0\n");
  const closed = [...output.matchAll(/no code could use (\d+) open sockets/g)].map(([, n]) =>
    Number(n),
  );
  expect(closed.length).toBeLessThan(20);
  expect(closed.reduce((sum, count) => sum + count, 0)).toBeGreaterThan(250);
  expect(output).toMatch(/They were TcpStream 127\.0\.0\.1:\d+ \(fd \d+\), .* and \d+ more/);
});
