// Every program in examples/ runs as a user would run it, with clients that share no code with it.

import { expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, renameSync, rmSync } from "node:fs";
import { unlink } from "node:fs/promises";
import { Glob } from "bun";
import { type Program, root, run, start } from "./support/program.ts";
import { freePort } from "./support/sockets.ts";

setDefaultTimeout(60_000); // the machine may be slow

const examples = [...new Glob("*.ts").scanSync(`${root}examples`)].sort();

function example(name: string, ...args: string[]): string[] {
  return ["bun", "run", `examples/${name}.ts`, ...args];
}

/** Runs a Python client, which shares no code with this library. Needs python3. */
function python(code: string): Promise<{ code: number; output: string }> {
  return run(["python3", "-c", `import socket, struct, sys, os\n${code}`]);
}

async function portOf(server: Program): Promise<number> {
  return Number((await server.until(/(?:listening on|bound to) [\d.]+:(\d+)/))[1]);
}

const has = (program: string): boolean => Bun.which(program) !== null;

test.each(examples)(
  "the header of %s says what it shows, how to run it, and what you will see",
  async (name) => {
    const text = await Bun.file(`${root}examples/${name}`).text();
    const header = text.split("\n\n")[0] ?? "";
    const [whole = ""] = text.split("\nimport ");
    expect(header).toStartWith("// ");
    expect(whole).toContain("bun run examples/");
    expect(whole).toMatch(/[Yy]ou will see/);
  },
);

test("hello.ts prints 42", async () => {
  expect(await run(example("hello"))).toEqual({ code: 0, output: "42\n" });
});

test("sleep.ts finishes in both eventfd modes", async () => {
  for (const mode of [[], ["eager"]]) {
    const { code, output } = await run(example("sleep", ...mode));
    expect(code).toBe(0);
    expect(output).toContain("all done");
  }
});

test("spawn.ts wakes ten tasks in the order of their deadlines", async () => {
  const { code, output } = await run(example("spawn"));
  const order = [...output.matchAll(/task (\d+) is awake/g)].map((match) => Number(match[1]));
  expect(code).toBe(0);
  expect(order).toEqual([10, 9, 8, 7, 6, 5, 4, 3, 2, 1]);
  expect(output).toContain("sum 55");
});

test("spawn-blocking.ts blocks three threads while the main thread keeps running", async () => {
  const { code, output } = await run(example("spawn-blocking"));
  expect(code).toBe(0);
  const threads = new Set(
    [...output.matchAll(/thread (\d+) was blocked/g)].map((match) => match[1]),
  );
  expect(threads.size).toBe(3);
  expect(output).toContain("main thread: 1");
  expect(output).toContain("caught here: SyntaxError");
});

test("waker.ts polls again after a spurious wake, and once the flag is set", async () => {
  const { code, output } = await run(example("waker"));
  expect(code).toBe(0);
  expect(output.trim().split("\n")).toEqual([
    "poll: the flag is not set",
    "poll: the flag is not set",
    "poll: the flag is set",
    "the worker set the flag",
  ]);
});

test("waker-worker.ts, run by itself, says which program starts it", async () => {
  const { code, output } = await run(example("waker-worker"));
  expect(code).toBe(1);
  expect(output).toContain("bun run examples/waker.ts");
});

test("interval.ts reports late ticks", async () => {
  const { code, output } = await run(example("interval"));
  expect(code).toBe(0);
  expect(output).toMatch(/late: [3-9]\d* periods/);
});

test("race.ts finishes the cleanup of the loser before the race ends", async () => {
  const { code, output } = await run(example("race"));
  expect(code).toBe(0);
  const lines = output.trim().split("\n");
  expect(lines.indexOf("slow: connection closed")).toBeLessThan(
    lines.indexOf("race: the file, from fast"),
  );
  expect(lines.slice(-2)).toEqual([
    "hopeless: connection closed",
    expect.stringMatching(
      /^timeout: not done within 20 ms; the work was waiting on sleep, \d+ ms left$/,
    ),
  ]);
});

test("scope.ts cleans up the siblings before the scope throws", async () => {
  const { code, output } = await run(example("scope"));
  expect(code).toBe(0);
  expect(output.trim().split("\n").slice(-3)).toEqual([
    "b: cleaned up",
    "a: cleaned up",
    "outside: c failed",
  ]);
});

test("async-await.ts runs async functions, and aborts one", async () => {
  const { code, output } = await run(example("async-await"));
  expect(code).toBe(0);
  expect(output.trim().split("\n")).toEqual([
    "42",
    "1: hello from an async function",
    "2: hello from an async function",
    "goodbye",
    expect.stringMatching(/^task .* was aborted$/),
  ]);
});

test("pipeline.ts ends all stages when one fails, and drains on Ctrl-C", async () => {
  const failed = await run(example("pipeline", "fail"));
  expect(failed.code).toBe(0);
  expect(failed.output.trim().split("\n").slice(-2)).toEqual([
    "the printer is done",
    "the pipeline failed: 20 cannot be squared today",
  ]);
  await using program = start(["bun", "examples/pipeline.ts"]);
  await program.until(/printed 100\n/);
  process.kill(program.pid, "SIGINT");
  expect(await program.exited).toBe(0);
  const made = [...program.output().matchAll(/made (\d+)/g)].map((match) => Number(match[1]) ** 2);
  const printed = [...program.output().matchAll(/printed (\d+)/g)].map((match) => Number(match[1]));
  expect(printed).toEqual(made); // items in flight are not lost
  expect(program.output()).toEndWith("the printer is done\nthe pipeline is empty\n");
});

test("tcp.ts echoes binary data and a megabyte, and survives peers that reset", async () => {
  await using server = start(example("tcp", "0"));
  const port = await portOf(server);
  const echoed = await python(`
def echo(data):
    s = socket.create_connection(("127.0.0.1", ${port}), 60)
    s.sendall(data); s.shutdown(socket.SHUT_WR)
    got = b""
    while True:
        part = s.recv(65536)
        if not part: break
        got += part
    s.close()
    return got
garbage = os.urandom(60000)
assert echo(garbage) == garbage
# more than the socket buffers hold, so send and receive at the same time
import threading
big = os.urandom(1 << 20)
s = socket.create_connection(("127.0.0.1", ${port}), 60)
t = threading.Thread(target=lambda: (s.sendall(big), s.shutdown(socket.SHUT_WR))); t.start()
got = b""
while True:
    part = s.recv(65536)
    if not part: break
    got += part
t.join(); assert got == big
# peers that reset the connection in the middle
for _ in range(20):
    r = socket.create_connection(("127.0.0.1", ${port}), 60)
    r.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    r.sendall(os.urandom(200000)); r.close()
assert echo(b"still here") == b"still here"
print("ok")
`);
  expect(echoed.output).toBe("ok\n");
  await server.until(/ECONNRESET/);
});

test.skipIf(!has("nc") || !has("socat"))("tcp.ts serves nc and socat", async () => {
  await using server = start(example("tcp", "0"));
  const port = await portOf(server);
  const socat = await run(["socat", "-t5", "-", `TCP:127.0.0.1:${port}`], { input: "by socat\n" });
  expect(socat.output).toBe("by socat\n");
  const nc = await run(["nc", "-N", "127.0.0.1", `${port}`], { input: "by nc\n" });
  expect(nc.output).toBe("by nc\n");
});

test("tcp.ts exits with a clear error when the port is taken or out of range", async () => {
  await using server = start(example("tcp", "0"));
  const port = await portOf(server);
  const second = await run(example("tcp", `${port}`));
  expect(second.code).toBe(1);
  expect(second.output).toContain("EADDRINUSE");
  const bad = await run(example("tcp", "70000"));
  expect(bad.output).toContain("address.port must be an integer from 0 to 65535; got 70000");
});

test("udp.ts returns each datagram to its sender", async () => {
  await using server = start(example("udp", "0"));
  const port = await portOf(server);
  const client = await python(`
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(60)
for data in (b"hello", b"", os.urandom(60000)):
    s.sendto(data, ("127.0.0.1", ${port}))
    assert s.recv(65536) == data
try: # a datagram from port 0, which cannot be answered
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
    raw.sendto(struct.pack("!HHHH", 0, ${port}, 8, 0), ("127.0.0.1", 0))
except PermissionError: pass # raw sockets need root
s.sendto(b"still there", ("127.0.0.1", ${port}))
assert s.recv(65536) == b"still there"
print("ok")
`);
  expect(client.output).toBe("ok\n");
});

test("bun-server.ts serves 10,000 requests, cancels those of clients that disconnect, and stops on SIGTERM", async () => {
  await using server = start(example("bun-server", "0"));
  const [, port, pid] = await server.until(/listening on [\d.]+:(\d+), pid (\d+)/);
  const client = await python(`
import http.client, threading
def ask(path, timeout=60):
    c = http.client.HTTPConnection("127.0.0.1", ${port}, timeout=timeout)
    try:
        c.request("GET", path); r = c.getresponse(); return r.status, r.read()
    finally: c.close()
assert ask("/hello") == (200, b"HELLO\\n")
# Two-byte letters, one of them split between two reads.
assert ask("/x" + "%C3%A9" * 1000) == (200, ("X" + "\u00c9" * 1000 + "\\n").encode())
def fds(): return len(os.listdir("/proc/${pid}/fd"))
before = fds()
errors = []
def many():
    try:
        c = http.client.HTTPConnection("127.0.0.1", ${port}, timeout=60)
        for i in range(100):
            c.request("GET", "/x%d" % i); assert c.getresponse().read() == b"X%d\\n" % i
        c.close()
    except Exception as e: errors.append(e)
threads = [threading.Thread(target=many) for _ in range(100)]
for t in threads: t.start()
for t in threads: t.join()
assert not errors, errors
assert ask("/slow") == (504, b"too late\\n")
for _ in range(20): # clients that disconnect: the server cancels their requests
    s = socket.create_connection(("127.0.0.1", ${port}))
    s.sendall(b"GET /slow HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n"); s.close()
import time
deadline = time.time() + 30
while (left := fds() - before) > 0 and time.time() < deadline: time.sleep(0.05)
print(max(0, left))
`);
  expect(client.output).toBe("0\n");
  process.kill(Number(pid), "SIGTERM");
  expect(await server.exited).toBe(0);
  expect(server.output()).toContain("stopped, 0 tasks left");
});

test("pipe.ts sends lines to sort and receives them in order, more than the pipes hold", async () => {
  const { code, output } = await run(example("pipe", "100000"));
  expect(code).toBe(0);
  expect(output).toMatch(
    /^wrote 100000 lines to sort \(process \d+\)\nread 100000 lines, from 0 to 99999\n$/,
  );
});

test("inotify.ts prints what happens to each file, and stops on Ctrl-C", async () => {
  await using program = start(example("inotify"));
  const [, folder] = await program.until(/watching (.+)\n/);
  try {
    await Bun.write(`${folder}/first`, "x");
    renameSync(`${folder}/first`, `${folder}/second`);
    rmSync(`${folder}/second`);
    await program.until(
      /created: first\n[\s\S]*moved away: first\nmoved here: second\ndeleted: second/,
    );
    process.kill(program.pid, "SIGINT");
    expect(await program.exited).toBe(0);
  } finally {
    rmSync(`${folder}`, { recursive: true });
  }
});

test("chat.ts relays lines within a room, and hides control characters", async () => {
  await using server = start(example("chat", "0"));
  const port = await portOf(server);
  const { output } = await python(`
def client(name):
    s = socket.create_connection(("127.0.0.1", ${port}), 60)
    f = s.makefile("rw", newline="\\n")
    f.write(f"/nick {name}\\n"); f.flush()
    return s, f
def expect(f, line):
    for got in f:
        if got == line + "\\n": return
    sys.exit(f"the server closed before: {line}")
s1, amy = client("amy"); expect(amy, "* guest1 is now amy")
s2, bob = client("bob"); expect(amy, "* guest2 is now bob")
amy.write("gr\u00fc\u00dfe \\x1b[2J\\r\\n/who\\n"); amy.flush()
expect(bob, "<amy> gr\u00fc\u00dfe ?[2J"); expect(amy, "* amy bob")
bob.write("/join elsewhere\\n"); bob.flush(); expect(amy, "* bob leaves lobby")
bob.write("alone\\n/quit\\n"); bob.flush(); expect(bob, "<bob> alone")
assert bob.read() == ""
s1.sendall(b"x" * 5000)
try:
    while s1.recv(4096): pass
except ConnectionResetError: pass
print("ok")
`);
  expect(output).toBe("ok\n");
  await server.until(/\(quit\)\n[\s\S]*\(sent a line that is too long\)\n/);
});

test("chat.ts keeps clients that read while others paste lines", async () => {
  await using server = start(example("chat", "0"));
  const port = await portOf(server);
  const { output } = await python(`
def connect(): return socket.create_connection(("127.0.0.1", ${port}), 60)
reader = connect()
pasters = [connect() for _ in range(10)]
for s in pasters: s.recv(1)
for s in pasters: s.sendall(b"pasted\\n" * 500)
left = 10 * 500
for line in reader.makefile(): left -= "pasted" in line; left or sys.exit(print("ok"))
print("the server closed, left:", left)
`);
  expect(output).toBe("ok\n");
});

test("chat.ts disconnects a client that does not read, and keeps serving the others", async () => {
  await using server = start(example("chat", "0"));
  const port = await portOf(server);
  const { output } = await python(`
import select
slow = socket.create_connection(("127.0.0.1", ${port}), 60)
fast = socket.create_connection(("127.0.0.1", ${port}), 60)
line = b"x" * 1000 + b"\\n"
for _ in range(100000):
    fast.sendall(line)
    got = b""
    while not got.endswith(b"\\n"): got += fast.recv(65536)
    if b"leaves lobby" in got: break
print("ok")
`);
  expect(output).toBe("ok\n");
  await server.until(/\(too slow\)/);
  expect(server.output()).not.toContain("failed");
});

test.skipIf(!has("curl"))(
  "proxy.ts carries HTTP, survives garbage and killed peers, and stops on SIGTERM",
  async () => {
    await using upstream = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch: async (request) =>
        new Response(request.method === "POST" ? await request.arrayBuffer() : "hello\n"),
    });
    await using server = start(example("proxy", "0", `127.0.0.1:${upstream.port}`));
    const [, port, pid] = await server.until(/listening on [\d.]+:(\d+), pid (\d+)/);
    const url = `http://127.0.0.1:${port}/`;
    expect(await run(["curl", "-sS", url, url])).toEqual({ code: 0, output: "hello\nhello\n" });
    const body = "large ".repeat(1_000_000);
    const posted = await run(["curl", "-sS", "--data-binary", "@-", url], { input: body });
    expect(posted.output === body).toBe(true);

    const client = await python(`
import threading
def connect(): return socket.create_connection(("127.0.0.1", ${port}), 60)
s = connect(); s.sendall(os.urandom(1000)); s.shutdown(socket.SHUT_WR) # garbage
try:
    while s.recv(65536): pass
except ConnectionResetError: pass
s.close()
for _ in range(20): # peers that reset the connection in the middle
    r = connect()
    r.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    r.sendall(b"POST / HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 1000000\\r\\n\\r\\n" + os.urandom(50000)); r.close()
print("ok")
`);
    expect(client.output).toBe("ok\n");
    expect((await run(["curl", "-sS", url])).output).toBe("hello\n");
    await server.until(/ECONNRESET|EPIPE/);

    // A client that keeps its connection open is given a second.
    const { promise: answered, resolve } = Promise.withResolvers<void>();
    const { promise: ended, resolve: onEnd } = Promise.withResolvers<void>();
    const idle = await Bun.connect({
      hostname: "127.0.0.1",
      port: Number(port),
      socket: { data: () => resolve(), close: () => onEnd() },
    });
    idle.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    await answered;
    process.kill(Number(pid), "SIGTERM");
    expect(await server.exited).toBe(0);
    await ended;
    expect(server.output()).toMatch(/SIGTERM, open connections: 1\nstopped\n$/);
  },
);

test("proxy.ts passes half-closes on, and survives a dead upstream, idle clients, and the lack of fds", async () => {
  await using dead = start(example("proxy", "0", `127.0.0.1:${freePort()}`));
  const port = await portOf(dead);
  const refused = await python(
    `assert socket.create_connection(("127.0.0.1", ${port}), 60).recv(1) == b""`,
  );
  expect(refused).toEqual({ code: 0, output: "" });
  await dead.until(/^127\.0\.0\.1:\d+: connect ECONNREFUSED 127\.0\.0\.1:\d+$/m);

  using echo = Bun.listen({
    hostname: "127.0.0.1",
    port: 0,
    allowHalfOpen: true,
    socket: { data: (socket, data) => void socket.write(data), end: (socket) => void socket.end() },
  });
  const command = example("proxy", "0", `127.0.0.1:${echo.port}`).join(" ");
  await using few = start(["sh", "-c", `ulimit -n 60; exec ${command}`], {
    IDLE_MS: "1000",
    MAX_CONNECTIONS: "50",
  });
  const client = await python(`
def connect(): return socket.create_connection(("127.0.0.1", ${await portOf(few)}), 60)
many = [connect() for _ in range(80)] # more than the proxy has permits and fds for
ends = 0
for s in many: # some are refused for lack of fds; the others end by the idle timeout
    try: ends += s.recv(1) == b""
    except ConnectionResetError: ends += 1
    s.close()
assert ends == 80
s = connect(); s.sendall(b"still here"); s.shutdown(socket.SHUT_WR)
got = b""
while part := s.recv(100): got += part
assert got == b"still here"
print("ok")
`);
  expect(client.output).toBe("ok\n");
  await few.until(/no byte moved for 1000 ms/);
});

test("socket-activation.ts hands its listener over without a refused connection", async () => {
  await using first = start(example("socket-activation", "0"));
  const port = await portOf(first);
  const pids: string[] = [];
  let isOver = false;
  const clients = Array.from({ length: 4 }, async () => {
    while (!isOver) {
      // A refused or reset connection throws.
      const response = await fetch(`http://127.0.0.1:${port}`, { keepalive: false });
      pids.push((await response.text()).trim());
    }
  });
  const pidOf = async (count: number): Promise<number> => {
    await first.until(new RegExp(`(?:^\\d+ listening[^]*){${count}}`, "m"));
    return Number([...first.output().matchAll(/^(\d+) listening/gm)][count - 1]?.[1]);
  };
  const old = await pidOf(1);
  process.kill(old, "SIGHUP");
  const second = await pidOf(2);
  await first.until(new RegExp(`^${old} finished$`, "m"));
  process.kill(second, "SIGHUP");
  const third = await pidOf(3);
  await first.until(new RegExp(`^${second} finished$`, "m"));
  while (!pids.includes(String(third))) await Bun.sleep(5);
  isOver = true;
  await Promise.all(clients);
  process.kill(third, "SIGTERM");
  await first.until(new RegExp(`^${third} finished$`, "m"));
  expect(new Set(pids)).toEqual(new Set([old, second, third].map(String)));
});

test.skipIf(!has("systemd-socket-activate"))(
  "socket-activation.ts accepts the listener of systemd-socket-activate",
  async () => {
    const port = freePort();
    const command = ["systemd-socket-activate", "-l", `127.0.0.1:${port}`];
    await using server = start([...command, ...example("socket-activation")]);
    await server.until(/Listening on/);
    const response = await fetch(`http://127.0.0.1:${port}`, { keepalive: false });
    const pid = Number(await response.text());
    // Waits: the response and the server's output come on two ways, and either may be first here.
    await server.until(new RegExp(`^${pid} listening on 127\\.0\\.0\\.1:${port}$`, "m"));
    process.kill(pid, "SIGTERM");
    await server.until(new RegExp(`${pid} finished`));
  },
);

test("unix-agent.ts passes an open file to a client of its user", async () => {
  const path = `/tmp/guillotine-agent-${process.pid}.sock`;
  await using agent = start(example("unix-agent", "serve", path));
  await agent.until(/listening on/);
  const license = await Bun.file(`${root}LICENSE`).text();
  expect(await run(example("unix-agent", "open", `${root}LICENSE`, path))).toEqual({
    code: 0,
    output: license,
  });
  const fifo = `${path}.fifo`;
  expect(await run(["mkfifo", fifo])).toEqual({ code: 0, output: "" });
  expect(await run(example("unix-agent", "open", fifo, path))).toEqual({ code: 0, output: "" });
  await unlink(fifo);
  const missing = await run(example("unix-agent", "open", `${root}missing`, path));
  expect(missing.code).toBe(1);
  expect(missing.output).toContain("error: ENOENT");
  await agent.until(/^pid \d+ of user \d+ asks for .*LICENSE$/m);
  // A client in Python, which shares no code with the library.
  const client = await python(`
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.connect(${JSON.stringify(path)})
s.send(b"LICENSE")
data, fds, flags, _ = socket.recv_fds(s, 100, 1)
print(data.decode(), os.read(fds[0], 3).decode())
`);
  expect(client).toEqual({ code: 0, output: `ok ${license.slice(0, 3)}\n` });
  process.kill(agent.pid, "SIGKILL");
  await agent.exited;
  await using again = start(example("unix-agent", "serve", path)); // replaces the stale file
  await again.until(/listening on/);
  expect((await run(example("unix-agent", "open", `${root}LICENSE`, path))).code).toBe(0);
  process.kill(again.pid, "SIGINT");
  expect(await again.exited).toBe(0);
  expect(existsSync(path)).toBe(false);
});

test.skipIf(!has("dig"))(
  "dns-forwarder.ts answers dig, from its cache the second time",
  async () => {
    // An upstream server that loses the first query, and answers the others with 192.0.2.7.
    await using upstream = start([
      ...["python3", "-c"],
      `
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("127.0.0.1", 0))
print("port", s.getsockname()[1], flush=True)
s.recvfrom(4096)
while True:
    query, client = s.recvfrom(4096)
    end = 12
    while query[end]: end += query[end] + 1
    question, opt = query[12:end + 5], query[end + 5:]
    answer = b"\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\x3c\\0\\4\\xc0\\0\\2\\7"
    s.sendto(query[:2] + b"\\x81\\x80\\0\\1\\0\\1\\0\\0" + query[10:12] + question + answer + opt, client)
`,
    ]);
    const [, port] = await upstream.until(/port (\d+)/);
    await using forwarder = start(example("dns-forwarder", "0", `127.0.0.1:${port}`));
    const bound = await portOf(forwarder);
    const dig = (name: string, ...options: string[]) =>
      run([
        ...["dig", "@127.0.0.1", "-p", String(bound), "+tries=1", "+time=10"],
        ...(options.length === 0 ? ["+short"] : options),
        name,
      ]);
    expect(await dig("a.test")).toEqual({ code: 0, output: "192.0.2.7\n" });
    await forwarder.until(/asked upstream, attempt 2/);
    expect(await dig("a.test")).toEqual({ code: 0, output: "192.0.2.7\n" });
    await forwarder.until(/^cached$/m); // although dig has sent another cookie
    expect(await dig("b.test")).toEqual({ code: 0, output: "192.0.2.7\n" });
    // Only a client that sends an OPT record gets one, with no cookie of another client, and with its own DO bit.
    const plain = (await dig("a.test", "+noedns")).output;
    expect(plain).toContain("192.0.2.7");
    expect(plain).not.toContain("EDNS:");
    expect((await dig("a.test", "+dnssec")).output).toContain("flags: do;");
    const cached = (await dig("a.test", "+comments")).output;
    expect(cached).toContain("flags:;");
    expect(cached).not.toContain("COOKIE");
    await forwarder.until(/^cached$[\s\S]*^cached$/m);
    process.kill(upstream.pid, "SIGKILL");
    await upstream.exited;
    expect((await dig("c.test", "+comments")).output).toContain("status: SERVFAIL");
    // A response gets no reply: the only one is that of the query after it, from the cache.
    const { output } = await python(`
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(("127.0.0.1", ${bound}))
name = b"\\1b\\4test\\0\\0\\1\\0\\1"
for id, flags in ((b"\\0\\1", b"\\x81\\x80"), (b"\\0\\2", b"\\1\\0")):
    s.send(id + flags + b"\\0\\1\\0\\0\\0\\0\\0\\0" + name)
print(s.recv(512)[:2])
`);
    expect(output).toBe("b'\\x00\\x02'\n");
  },
);

test("many-cores.ts spreads connections over its Workers, and restarts without losing one", async () => {
  await using server = start(example("many-cores", "0", "2"));
  const port = await portOf(server);
  const { output } = await python(`
import threading, time
def ask():
    s = socket.create_connection(("127.0.0.1", ${port}), 60)
    line = s.makefile().readline()
    s.sendall(b"x"); assert s.recv(1) == b"x"
    s.close()
    return line
seen = {ask() for _ in range(100)}
assert seen == {"worker 1 answers\\n", "worker 2 answers\\n"}, seen
kept = socket.create_connection(("127.0.0.1", ${port}), 60)
name = kept.makefile().readline()
os.kill(${server.pid}, 1)
lines, errors, deadline = [], [], time.time() + 60
def asks():
    try:
        while set(lines[-20:]) != {"worker 3 answers\\n", "worker 4 answers\\n"} and time.time() < deadline:
            lines.append(ask())
    except OSError as error: errors.append(error) # a connection was refused or reset
clients = [threading.Thread(target=asks) for _ in range(4)]
for client in clients: client.start()
for client in clients: client.join()
assert not errors, errors
kept.sendall(b"still here"); assert kept.recv(64) == b"still here"
kept.close()
print("ok")
`);
  expect(output).toBe("ok\n");
  await server.until(/worker 1 stopped/);
  await server.until(/worker 2 stopped/);
  process.kill(server.pid, "SIGINT");
  expect(await server.exited).toBe(0);
});
