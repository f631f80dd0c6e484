import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  BufReader,
  BufWriter,
  type ByteStream,
  copy,
  duplex,
  intoFuture,
  Runtime,
  type SocketAddress,
  SysError,
  serve,
  sleep,
  spawn,
  TcpListener,
  TcpStream,
  type TlsConnectOptions,
  TlsError,
  TlsListener,
  type TlsServerOptions,
  TlsStream,
  TlsTruncatedError,
  timeout,
} from "../../src/index.ts";
import { ECONNRESET } from "../../src/sys/errno.ts";
import { type Certificates, createCertificates, hasOpenssl } from "../support/certificates.ts";
import { newFds, openFds } from "../support/fds.ts";
import { captureConsoleError } from "../support/output.ts";
import { type Program, run, start } from "../support/program.ts";
import { VirtualClock } from "../support/virtual-clock.ts";

let certificates: Certificates;
beforeAll(() => {
  if (hasOpenssl) certificates = createCertificates();
});
afterAll(() => certificates?.dispose());

const text = (bytes: Uint8Array | null): string | null =>
  bytes === null ? null : Buffer.from(bytes).toString();

/** Returns the error of work that must fail. */
async function errorOf(work: PromiseLike<unknown>): Promise<TlsError & { code: string }> {
  try {
    await work;
  } catch (error) {
    return error as TlsError;
  }
  throw new Error("nothing was thrown");
}

async function readAll(stream: TlsStream): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

/** Waits until what runs on Bun's loop at a close has run. */
async function afterClose(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await Bun.sleep(1);
}

/** Performs both handshakes over two connected streams. */
async function handshakes(
  [near, far]: readonly [ByteStream, ByteStream],
  client: Partial<TlsConnectOptions> = {},
  server: Partial<TlsServerOptions> = {},
): Promise<[TlsStream, TlsStream]> {
  const accepting = spawn(TlsStream.accept(far, { ...certificates.server, ...server }));
  const connecting = TlsStream.upgrade(near, {
    ca: certificates.ca,
    servername: "localhost",
    ...client,
  });
  return await Promise.all([connecting.then(), accepting.then()]);
}

/** Runs `work` in guest mode, and checks that it leaves no task, timer or socket. */
async function guest(work: () => Promise<void>): Promise<void> {
  const before = openFds();
  await using runtime = new Runtime();
  await runtime.run(work);
  const openSockets = (): string[] =>
    newFds(before).filter((target) => target.startsWith("socket"));
  // A close_notify takes a turn of Bun's loop; so do Bun's own sockets to a program that has ended.
  for (let turn = 0; turn < 1000; turn++) {
    if (runtime.tasks().length === 0 && openSockets().length === 0) break;
    await Bun.sleep(1);
  }
  expect(runtime.tasks()).toEqual([]);
  expect(runtime.metrics().timers).toBe(0);
  expect(openSockets()).toEqual([]);
}

describe.skipIf(!hasOpenssl)("TlsStream", () => {
  test("connects to a TlsListener, and both sides know what was negotiated", async () => {
    await guest(async () => {
      using listener = TlsListener.bind("127.0.0.1:0", {
        ...certificates.server,
        alpnProtocols: ["h2", "http/1.1"],
      });
      const serving = spawn(async () => {
        using stream = await listener.accept();
        expect([stream.protocol, stream.peerCertificate]).toEqual([null, null]);
        await stream.handshake();
        expect(stream.servername).toBe("localhost");
        expect(stream.alpnProtocol).toBe("http/1.1");
        expect(text(await stream.readChunk())).toBe("hello");
        await stream.writev(["wor", Buffer.from("ld")]);
      });
      const address = { hostname: "localhost", port: listener.localAddress.port };
      using stream = await TlsStream.connect(address, {
        ca: certificates.ca,
        alpnProtocols: ["http/1.1"],
      });
      expect(stream.protocol).toBe("TLSv1.3");
      expect(stream.alpnProtocol).toBe("http/1.1");
      expect(stream.isAuthorized).toBe(true);
      expect(stream.peerCertificate?.subject.CN).toBe("server");
      expect((stream.transport as TcpStream).remoteAddress.port).toBe(address.port);
      await stream.writeAll("hello, all", 5);
      expect(await readAll(stream)).toBe("world"); // its close sent a close_notify
      await serving;
    });
  });

  test("shows its version of TLS and the stream below, until it is closed", async () => {
    await guest(async () => {
      const [client, server] = await handshakes(duplex());
      expect(Bun.inspect(client)).toBe("TlsStream { TLSv1.3, DuplexStream { 0 bytes to read } }");
      for (const stream of [client, server]) stream.close();
      expect(Bun.inspect(client)).toBe("TlsStream { closed }");
    });
  });

  test("sends more than any buffer holds, in both directions at once", async () => {
    await guest(async () => {
      const [client, server] = await handshakes(duplex({ capacity: 1000 }));
      const data = Buffer.alloc(3_000_000, "0123456789");
      const send = async (stream: TlsStream): Promise<void> => {
        await stream.writeAll(data);
        stream.shutdown();
      };
      const receive = async (stream: TlsStream): Promise<boolean> => {
        const received = Buffer.alloc(data.length);
        for (let filled = 0; filled < data.length; ) {
          filled += await stream.read(received.subarray(filled));
        }
        return received.equals(data);
      };
      const writing = [spawn(client.writeAll(data)), spawn(server.writeAll(data))];
      expect(await Promise.all([receive(client), receive(server)])).toEqual([true, true]);
      for (const task of writing) await task;
      const last = spawn(() => send(client));
      expect(await receive(server)).toBe(true);
      await last;
      client.close();
      server.close();
    });
  });

  test("a write waits until the stream below has room", async () => {
    await guest(async () => {
      const [client, server] = await handshakes(duplex({ capacity: 1000 }));
      const writing = spawn(client.writeAll(new Uint8Array(10_000)));
      await sleep(5);
      expect(writing.isFinished).toBe(false);
      const buffer = new Uint8Array(10_000);
      for (let count = 0; count < 10_000; ) count += await server.read(buffer);
      await writing;
      client.close();
      server.close();
    });
  });

  test("a write whose data is detached or shrinks while it waits fails", async () => {
    await guest(async () => {
      for (const change of [
        (buffer: ArrayBuffer) => structuredClone(buffer, { transfer: [buffer] }),
        (buffer: ArrayBuffer) => buffer.resize(1),
      ]) {
        const [client, server] = await handshakes(duplex());
        const data = new ArrayBuffer(1_000_000, { maxByteLength: 1_000_000 });
        const writing = spawn(client.writeAll(new Uint8Array(data)));
        expect(await server.read(new Uint8Array(1))).toBe(1); // the first piece is on its way
        change(data);
        const reading = spawn(readAll(server));
        const error = await errorOf(writing);
        expect(error).toBeInstanceOf(RangeError);
        expect(error.message).toContain("the write is of 1000000 bytes, and it has");
        client.close();
        await reading;
        server.close();
      }
    });
  });

  test("throws in blockOn, and says what to do", async () => {
    using runtime = new Runtime();
    const [near, far] = duplex();
    const error = await errorOf(
      (async () => runtime.blockOn(TlsStream.upgrade(near, { servername: "localhost" })))(),
    );
    expect(error).toBeInstanceOf(TlsError);
    expect(error.code).toBe("ERR_TLS_NEEDS_EVENT_LOOP");
    expect(error.message).toContain("await runtime.run(...)");
    expect(await runtime.run(far.readChunk())).toBeNull(); // the failed handshake closed its stream
  });

  test("upgrades a connection after STARTTLS", async () => {
    await guest(async () => {
      using listener = TcpListener.bind("127.0.0.1:0");
      const serving = spawn(async () => {
        const plain = await listener.accept();
        expect(text(await plain.readChunk())).toBe("STARTTLS\r\n");
        await plain.writeAll("220 ready\r\n");
        using stream = await TlsStream.accept(plain, certificates.server);
        await stream.writeAll((await stream.readChunk())!);
      });
      const plain = await TcpStream.connect(listener.localAddress);
      await plain.writeAll("STARTTLS\r\n");
      expect(text(await plain.readChunk())).toBe("220 ready\r\n");
      using stream = await TlsStream.upgrade(plain, {
        servername: "localhost",
        ca: certificates.ca,
      });
      await stream.writeAll("secret");
      expect(await readAll(stream)).toBe("secret");
      await serving;
    });
  });

  test("web streams work: a body of a Response, and pipeTo", async () => {
    await guest(async () => {
      const [client, server] = await handshakes(duplex());
      const writing = new Response("piped ".repeat(10_000)).body!.pipeTo(server.writable);
      expect(await new Response(client.readable).text()).toBe("piped ".repeat(10_000));
      await writing;
      client.close();
      server.close();
    });
  });
});

test.skipIf(!hasOpenssl)(
  "a TlsListener is what `serve` accepts from: a client that says nothing delays no other",
  async () => {
    await guest(async () => {
      const listener = TlsListener.bind("127.0.0.1:0", certificates.server);
      const stop = new AbortController();
      const errors: unknown[] = [];
      const server = spawn(
        serve(listener, (stream) => stream.writeAll("hello"), {
          signal: stop.signal,
          graceMs: 0,
          onError: (error) => errors.push(error),
        }),
      );
      using _silent = await TcpStream.connect(listener.localAddress);
      using stream = await TlsStream.connect(listener.localAddress, { ca: certificates.ca });
      expect(await readAll(stream)).toBe("hello");
      stop.abort();
      await server;
      expect(errors).toEqual([]);
    });
  },
);

test.skipIf(!hasOpenssl)(
  "`serve` reports a failed handshake by its peer and its reason, without a stack",
  async () => {
    using reported = captureConsoleError();
    let peer = "";
    await guest(async () => {
      const listener = TlsListener.bind("127.0.0.1:0", certificates.server);
      const server = spawn(serve(listener, (stream) => stream.readChunk()));
      using plain = await TcpStream.connect(listener.localAddress);
      peer = `127.0.0.1:${plain.localAddress.port}`;
      await plain.writeAll("GET / HTTP/1.1\r\n\r\n");
      await new BufReader(plain).readToEnd({ maxBytes: 1000 }); // until the handler has ended
      listener.close();
      await server;
    });
    expect(reported.mock.calls).toEqual([
      [
        `guillotine: the TLS handshake with ${peer} failed:`,
        expect.stringMatching(/^TLS failed: .*HTTP_REQUEST$/),
      ],
    ]);
  },
);

test.skipIf(!hasOpenssl)(
  "`serve` reports a disconnect of another peer than the client of the TLS connection",
  async () => {
    using reported = captureConsoleError();
    const database = new SysError(-ECONNRESET, "recv", { hostname: "127.0.0.1", port: 1 });
    await guest(async () => {
      const listener = TlsListener.bind("127.0.0.1:0", certificates.server);
      const server = spawn(
        serve(listener, async (stream) => {
          await stream.handshake();
          throw database;
        }),
      );
      using stream = await TlsStream.connect(listener.localAddress, { ca: certificates.ca });
      await stream.readChunk().catch(() => {}); // until the handler has ended
      listener.close();
      await server;
    });
    expect(reported.mock.calls.map((call) => call[1])).toEqual([database]);
  },
);

describe.skipIf(!hasOpenssl)("the end of a TLS stream", () => {
  test("a read returns 0 after the close_notify of the peer, also again", async () => {
    await guest(async () => {
      const [client, server] = await handshakes(duplex());
      await server.writeAll("bye");
      server.shutdown();
      server.shutdown();
      expect(await readAll(client)).toBe("bye");
      expect(await client.read(new Uint8Array(1))).toBe(0);
      client.close();
      server.close();
    });
  });

  test("a read throws TlsTruncatedError if the connection ends without it, after what has arrived", async () => {
    await guest(async () => {
      const pair = duplex();
      const [client, server] = await handshakes(pair);
      await server.writeAll("half a mess");
      pair[1].close();
      expect(text(await client.readChunk())).toBe("half a mess");
      for (let count = 0; count < 2; count++) {
        const error = await errorOf(client.readChunk());
        expect(error).toBeInstanceOf(TlsTruncatedError);
        expect(error.code).toBe("ERR_TLS_TRUNCATED");
      }
      client.close();
      server.close();
    });
  });

  test("a close_notify counts also if the connection is reset right after it", async () => {
    await guest(async () => {
      for (const hasCloseNotify of [true, false]) {
        const [near, far] = duplex();
        const resetting: ByteStream = Object.assign(Object.create(near), {
          read: (buffer: Uint8Array) => near.read(buffer),
          readChunk: () =>
            intoFuture(function* () {
              const chunk = yield* near.readChunk();
              if (chunk === null) throw new SysError(-ECONNRESET, "recv");
              return chunk;
            }),
          writeAll: (data: Uint8Array) => near.writeAll(data),
          shutdown: () => near.shutdown(),
          close: () => near.close(),
        });
        const [client, server] = await handshakes([resetting, far]);
        if (hasCloseNotify) server.close();
        else far.close();
        if (hasCloseNotify) expect(await client.readChunk()).toBeNull();
        else expect((await errorOf(client.readChunk())).code).toBe("ECONNRESET");
        client.close();
        server.close();
      }
    });
  });

  test("after our shutdown we read on, and write no more", async () => {
    await guest(async () => {
      const [client, server] = await handshakes(duplex());
      client.shutdown();
      expect((await errorOf(client.writeAll("x"))).code).toBe("ERR_SOCKET_CLOSED");
      await server.writeAll("late"); // before it reads our close_notify
      expect(text(await client.readChunk())).toBe("late");
      expect(await server.readChunk()).toBeNull();
      client.close();
      server.close();
    });
  });

  test("after the close_notify of the peer a write throws: node:tls has closed our side", async () => {
    await guest(async () => {
      const [client, server] = await handshakes(duplex());
      server.shutdown();
      expect(await client.readChunk()).toBeNull();
      expect((await errorOf(client.writeAll("x"))).code).toBe("ERR_TLS_PEER_CLOSED");
      client.close();
      server.close();
    });
  });

  test("close() ends pending operations with ClosedError, and the peer reads 0", async () => {
    await guest(async () => {
      const [client, server] = await handshakes(duplex({ capacity: 50 }));
      const reading = spawn(client.readChunk());
      await sleep(5);
      const writing = spawn(server.writeAll(new Uint8Array(100_000)));
      client.close();
      client.close();
      const errors = await Promise.all([errorOf(reading), errorOf(writing)]);
      expect(errors.map(({ code }) => code)).toEqual(["ERR_SOCKET_CLOSED", "EPIPE"]);
      expect((await errorOf(client.writeAll("x"))).code).toBe("ERR_SOCKET_CLOSED");
      expect(() => client.shutdown()).toThrow("closed");
      server.close();
    });
  });

  test("close() sends what write, copy and flush have written, however slowly the peer reads", async () => {
    const data = Buffer.alloc(60_000, "0123456789"); // a chunk of `copy`
    const ways: ((stream: TlsStream) => Promise<unknown>)[] = [
      async (stream) => expect(await stream.write(data)).toBe(data.length),
      async (stream) => {
        await stream.write(data);
        stream.shutdown();
      },
      async (stream) => {
        const [near, far] = duplex({ capacity: data.length });
        await near.writeAll(data);
        near.close();
        expect(await copy(far, stream)).toBe(data.length);
      },
      async (stream) => {
        const writer = new BufWriter(stream, { capacity: data.length });
        await writer.writeAll(data);
        await writer.flush();
      },
    ];
    for (const write of ways) {
      await guest(async () => {
        const [client, server] = await handshakes(duplex({ capacity: 1000 }));
        await write(client);
        client.close();
        expect((await errorOf(client.write(data))).code).toBe("ERR_SOCKET_CLOSED");
        expect(await readAll(server)).toBe(data.toString()); // and a close_notify
        server.close();
      });
    }
  });

  test("close() right after shutdown() sends the close_notify", async () => {
    await guest(async () => {
      const [client, server] = await handshakes(duplex());
      await client.writeAll("bye");
      client.shutdown();
      client.close();
      expect(await readAll(server)).toBe("bye");
      server.close();
    });
  });

  test("close() gives up sending after 5 seconds", async () => {
    const clock = new VirtualClock();
    await using runtime = new Runtime({ clock });
    await runtime.run(async () => {
      const pair = duplex({ capacity: 1000 });
      const noLimit = { handshakeTimeoutMs: Number.POSITIVE_INFINITY };
      const [client] = await handshakes(pair, noLimit, noLimit);
      await client.write(new Uint8Array(10_000));
      client.close();
      await sleep(6000);
      expect(clock.jumps).toEqual([5000, 6000]);
      expect(Bun.inspect(pair[0])).toContain("closed");
    });
    expect(runtime.tasks()).toEqual([]);
  });

  test("an error of the stream below reaches the read and the write that wait", async () => {
    await guest(async () => {
      const pair = duplex({ capacity: 4 });
      const [client, server] = await handshakes(pair);
      const reading = spawn(client.readChunk());
      const writing = spawn(client.writeAll(new Uint8Array(1000)));
      await sleep(5);
      pair[0].close();
      const errors = await Promise.all([errorOf(reading), errorOf(writing)]);
      expect(errors.map(({ code }) => code)).toEqual(["ERR_SOCKET_CLOSED", "ERR_SOCKET_CLOSED"]);
      client.close();
      server.close();
    });
  });
});

describe.skipIf(!hasOpenssl)("a handshake fails", () => {
  /** The errors of the client and of the server. */
  async function failures(
    client: Partial<TlsConnectOptions>,
    server: Partial<TlsServerOptions> = {},
  ): Promise<[TlsError, TlsError]> {
    const [near, far] = duplex();
    const settings = { ...certificates.server, ...server };
    const accepting = spawn(async () => {
      using stream = await TlsStream.accept(far, settings);
      for await (const _ of stream); // a client that rejects our certificate may do so after our handshake
    });
    const connecting = async (): Promise<void> => {
      using stream = await TlsStream.upgrade(near, {
        servername: "localhost",
        ca: certificates.ca,
        ...client,
      });
      await stream.readChunk(); // a server that rejects us does so after our handshake
    };
    return await Promise.all([errorOf(connecting()), errorOf(accepting)]);
  }

  test.each([
    [
      "for another name",
      { servername: "other.test" },
      {},
      "ERR_TLS_CERT_ALTNAME_INVALID",
      'valid for "other.test"',
    ],
    [
      "for another address",
      { servername: "127.0.0.2" },
      {},
      "ERR_TLS_CERT_ALTNAME_INVALID",
      'valid for "127.0.0.2"',
    ],
    ["that has expired", {}, "expired", "CERT_HAS_EXPIRED", "must not have expired"],
    [
      "issued by itself",
      {},
      "stranger",
      "DEPTH_ZERO_SELF_SIGNED_CERT",
      "must be issued by an authority that we trust",
    ],
    [
      "of an unknown authority",
      { ca: "" },
      {},
      "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
      "must be issued by an authority",
    ],
  ] as const)("with a certificate %s", async (_, client, server, code, message) => {
    await guest(async () => {
      const identity =
        typeof server === "string" ? certificates[server as "expired" | "stranger"] : server;
      const ca = "ca" in client ? { ca: certificates.stranger.cert } : {};
      const [error] = await failures({ ...client, ...ca }, identity);
      expect(error).toBeInstanceOf(TlsError);
      expect(error.code).toBe(code);
      expect(error.message).toContain(message);
    });
  });

  test("unless rejectUnauthorized is false: then isAuthorized is", async () => {
    await guest(async () => {
      const [client, server] = await handshakes(
        duplex(),
        { rejectUnauthorized: false, servername: "other.test" },
        certificates.expired,
      );
      expect(client.isAuthorized).toBe(false);
      expect(client.peerCertificate?.subject.CN).toBe("expired");
      client.close();
      server.close();
    });
  });

  test("with a valid address as the name", async () => {
    await guest(async () => {
      const [client, server] = await handshakes(duplex(), { servername: "127.0.0.1" });
      expect([client.isAuthorized, server.servername]).toEqual([true, null]);
      client.close();
      server.close();
    });
  });

  test("without a common protocol", async () => {
    await guest(async () => {
      const [client, server] = await failures({ alpnProtocols: ["a"] }, { alpnProtocols: ["b"] });
      expect(client.code).toBe("ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL");
      expect(server.code).toBe("ERR_SSL_NO_APPLICATION_PROTOCOL");
    });
  });

  test("with a peer that does not speak TLS, on both sides", async () => {
    await guest(async () => {
      const [near, far] = duplex();
      await far.writeAll("HTTP/1.1 400 Bad Request\r\n\r\n");
      const options = { servername: "localhost", ca: certificates.ca };
      expect((await errorOf(TlsStream.upgrade(near, options))).code).toBe(
        "ERR_SSL_WRONG_VERSION_NUMBER",
      );
      for (const contexts of [{}, { "a.test": certificates.other }]) {
        const [client, server] = duplex();
        await client.writeAll("GET / HTTP/1.1\r\n\r\n");
        const error = await errorOf(TlsStream.accept(server, { ...certificates.server, contexts }));
        expect(error.code).toBe("ERR_SSL_HTTP_REQUEST");
        expect(await client.readChunk().then((chunk) => chunk?.length !== 0)).toBe(true);
      }
    });
  });

  test("when the peer ends the connection, and when it says nothing for too long", async () => {
    await guest(async () => {
      const [ended, peer] = duplex();
      peer.close();
      const options = { servername: "localhost", ca: certificates.ca };
      expect((await errorOf(TlsStream.upgrade(ended, options))).code).toMatch(
        /^(ERR_TLS_HANDSHAKE_ENDED|EPIPE)$/,
      );
      const [silent, other] = duplex();
      other.shutdown();
      expect((await errorOf(TlsStream.upgrade(silent, options))).code).toBe(
        "ERR_TLS_HANDSHAKE_ENDED",
      );
      const [slow, far] = duplex();
      const error = await errorOf(TlsStream.upgrade(slow, { ...options, handshakeTimeoutMs: 5 }));
      expect(error.code).toBe("ERR_TLS_HANDSHAKE_TIMEOUT");
      expect(error.message).toContain("within 5 ms");
      while ((await far.readChunk()) !== null); // closed
    });
  });

  test("with options that are not valid", () => {
    const [stream] = duplex();
    expect(() => TlsStream.upgrade(stream, {})).toThrow(
      "TlsStream.upgrade: options.servername must be the name that the server's certificate must have; got undefined",
    );
    expect(() => TlsStream.accept(stream, {})).toThrow(
      "options must have cert and key, or contexts",
    );
    expect(() => TlsStream.upgrade({} as ByteStream, { servername: "a" })).toThrow("readChunk");
    expect(() =>
      TlsStream.upgrade(stream, { servername: "a", alpnProtocols: "h2" as never }),
    ).toThrow("options.alpnProtocols must be an array");
    expect(() => TlsStream.upgrade(stream, { servername: "a", handshakeTimeoutMs: -1 })).toThrow(
      "options.handshakeTimeoutMs must be a number >= 0; got -1",
    );
    expect(() => TlsStream.accept(stream, { cert: "no", key: "no" })).toThrow(
      "options.cert, key or ca is not valid",
    );
    const mismatch = { cert: certificates.server.cert, key: certificates.client.key };
    expect(() => TlsListener.bind("127.0.0.1:0", mismatch)).toThrow(TlsError);
  });

  describe("of a server that asks for the certificate of the client", () => {
    const asking = (): Partial<TlsServerOptions> => ({ requestCert: true, ca: certificates.ca });

    test("and receives none", async () => {
      await guest(async () => {
        const [client, server] = await failures({}, asking());
        expect(server.code).toBe("ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE");
        expect(client).toBeInstanceOf(TlsError);
      });
    });

    test("and receives one of an unknown authority", async () => {
      await guest(async () => {
        const [, server] = await failures(certificates.stranger, asking());
        expect(server.code).toBe("DEPTH_ZERO_SELF_SIGNED_CERT");
        expect(server.message).toContain("the certificate of the client must be issued by");
      });
    });

    test("but not if it is valid", async () => {
      await guest(async () => {
        const [client, server] = await handshakes(duplex(), certificates.client, asking());
        expect(server.peerCertificate?.subject.CN).toBe("client");
        expect(server.isAuthorized).toBe(true);
        client.close();
        server.close();
      });
    });
  });
});

describe.skipIf(!hasOpenssl)("a server with several certificates", () => {
  test.each([
    ["a.test", "other"],
    ["A.TEST", "other"],
    ["x.b.test", "other"],
    ["localhost", "server"],
    ["127.0.0.1", "server"],
  ])("chooses the one for the name %s: %s", async (servername, subject) => {
    await guest(async () => {
      const contexts = { "a.test": certificates.other, "*.b.test": certificates.other };
      const [client, server] = await handshakes(
        duplex({ capacity: 50 }), // a part of a ClientHello, and a close_notify
        { servername },
        { contexts },
      );
      expect(client.peerCertificate?.subject.CN).toBe(subject);
      const writing = spawn(client.writeAll("x"));
      expect(text(await server.readChunk())).toBe("x");
      await writing;
      client.close();
      server.close();
    });
  });

  test("fails a client that asks for a name without one", async () => {
    await guest(async () => {
      const [near, far] = duplex();
      const accepting = spawn(
        TlsStream.accept(far, { contexts: { "a.test": certificates.other } }),
      );
      const connecting = errorOf(TlsStream.upgrade(near, { servername: "localhost" }));
      const error = await errorOf(accepting);
      expect(error.code).toBe("ERR_TLS_NO_CONTEXT");
      expect(error.message).toContain('"localhost"');
      await connecting;
    });
  });
});

describe.skipIf(!hasOpenssl)("cancellation", () => {
  test("a dropped read keeps what arrives for the next, and other readers go on", async () => {
    await guest(async () => {
      const [client, server] = await handshakes(duplex());
      const readers = [spawn(client.readChunk()), spawn(client.readChunk())];
      await sleep(1);
      readers[1]!.abort(); // it polled last, so it would have been woken
      await errorOf(readers[1]!);
      await server.writeAll("kept");
      expect(text((await readers[0]!) as Uint8Array)).toBe("kept");
      await errorOf(timeout(1, client.readChunk()));
      await server.writeAll("also kept");
      await sleep(1);
      expect(text(await client.readChunk())).toBe("also kept");
      client.close();
      server.close();
    });
  });

  test("a dropped handshake closes the stream below, at any moment", async () => {
    await guest(async () => {
      for (let turns = 0; turns < 12; turns++) {
        const [near, far] = duplex({ capacity: 300 });
        const tasks = [
          spawn(TlsStream.accept(far, certificates.server)),
          spawn(TlsStream.upgrade(near, { servername: "localhost", ca: certificates.ca })),
        ] as const;
        for (let turn = 0; turn < turns; turn++) await Bun.sleep(0);
        for (const task of tasks) task.abort();
        for (const task of tasks)
          await task.then(
            (stream) => stream.close(),
            () => {},
          );
        await afterClose();
        expect((await errorOf(near.readChunk())).code).toBe("ERR_SOCKET_CLOSED");
        expect((await errorOf(far.readChunk())).code).toBe("ERR_SOCKET_CLOSED");
      }
    });
  });

  test("a dropped connect closes its socket", async () => {
    await guest(async () => {
      using listener = TcpListener.bind("127.0.0.1:0"); // accepts, and says nothing
      const connecting = TlsStream.connect(listener.localAddress, { ca: certificates.ca });
      await errorOf(timeout(5, connecting));
    });
  });

  test("any chunks arrive unchanged, over any chunking, also when reads and writes are dropped at any moment", async () => {
    const pieces = fc.array(fc.uint8Array({ minLength: 1, maxLength: 3000 }), { maxLength: 8 });
    const property = fc.asyncProperty(
      pieces,
      fc.integer({ min: 1, max: 400 }),
      fc.integer({ min: 1, max: 2000 }),
      fc.infiniteStream(fc.boolean()),
      async (data, capacity, maxBytes, shouldDrop) => {
        const [client, server] = await handshakes(duplex({ capacity }));
        const sending = spawn(async () => {
          for (const piece of data) {
            for (let rest = piece; rest.length > 0; ) {
              if (shouldDrop.next().value) {
                const dropped = spawn(server.write(rest));
                await sleep(0);
                dropped.abort();
                rest = rest.subarray(
                  await dropped.then(
                    (count) => count,
                    () => 0,
                  ),
                );
              } else rest = rest.subarray(await server.write(rest));
            }
          }
          await server.writeAll("");
          server.shutdown();
        });
        const received: Uint8Array[] = [];
        for (;;) {
          const reading = spawn(client.readChunk({ maxBytes }));
          if (shouldDrop.next().value) {
            await sleep(0);
            reading.abort();
          }
          const chunk = await reading.then(
            (value) => value,
            () => undefined,
          );
          if (chunk === null) break;
          if (chunk !== undefined) received.push(chunk);
        }
        await sending;
        expect(Buffer.concat(received).equals(Buffer.concat(data))).toBe(true);
        client.close();
        server.close();
      },
    );
    await guest(async () => {
      await fc.assert(property, { numRuns: 25 });
    });
  });
});

describe.skipIf(!hasOpenssl)("other programs", () => {
  test("openssl s_client talks to a TlsListener, and reports its end as a close_notify", async () => {
    await guest(async () => {
      using listener = TlsListener.bind("127.0.0.1:0", {
        ...certificates.server,
        alpnProtocols: ["x"],
      });
      const serving = spawn(async () => {
        using stream = await listener.accept();
        const line = text(await stream.readChunk());
        await stream.writeAll(`you said ${line}`);
      });
      const address = `127.0.0.1:${listener.localAddress.port}`;
      const verify = ["-CAfile", `${certificates.folder}/ca.pem`, "-verify_return_error"];
      const names = ["-servername", "localhost", "-verify_hostname", "localhost", "-alpn", "x"];
      const command = ["openssl", "s_client", "-connect", address, ...verify, ...names, "-msg"];
      await using client = start(command);
      await client.until(/Verify return code: 0 \(ok\)/);
      client.write("hello\n");
      await serving;
      await client.until(/you said hello/);
      await client.exited;
      expect(client.output()).toContain("ALPN protocol: x");
      expect(client.output()).toMatch(/<<< TLS 1.3.*Alert.*warning close_notify/);
      expect(client.output()).not.toContain("unexpected eof");
    });
  });

  /** Starts `openssl s_server`, and returns its address. */
  async function startServer(
    ...args: string[]
  ): Promise<AsyncDisposable & { pid: number; until: Program["until"]; address: SocketAddress }> {
    const identity = [
      "-cert",
      `${certificates.folder}/server.pem`,
      "-key",
      `${certificates.folder}/server.key`,
    ];
    const server = start(["openssl", "s_server", "-accept", "127.0.0.1:0", ...identity, ...args]);
    const [, port] = await server.until(/ACCEPT 127\.0\.0\.1:(\d+)/);
    return { ...server, address: { hostname: "127.0.0.1", port: Number(port) } };
  }

  test.each(["TLSv1.3", "TLSv1.2"])(
    "a TlsStream talks %s to openssl s_server, and sees its close_notify",
    async (version) => {
      await guest(async () => {
        await using server = await startServer(
          "-www",
          version === "TLSv1.2" ? "-tls1_2" : "-tls1_3",
        );
        const options = { ca: certificates.ca };
        if (version === "TLSv1.2") {
          const strict = { ...options, minVersion: "TLSv1.3" } as const;
          expect((await errorOf(TlsStream.connect(server.address, strict))).code).toMatch(
            /VERSION/,
          );
        }
        using stream = await TlsStream.connect(server.address, options);
        expect(stream.protocol).toBe(version);
        await stream.writeAll("GET / HTTP/1.0\r\n\r\n");
        expect(await readAll(stream)).toContain("</HTML>");
      });
    },
  );

  test("a TlsStream sees that openssl s_server died without a close_notify", async () => {
    await guest(async () => {
      await using server = await startServer();
      using stream = await TlsStream.connect(server.address, { ca: certificates.ca });
      await stream.writeAll("from us\n");
      await server.until(/from us/);
      process.kill(server.pid, "SIGKILL");
      expect(await errorOf(stream.readChunk())).toBeInstanceOf(TlsTruncatedError);
    });
  });

  const curl = Bun.which("curl");
  if (curl === null) console.log("skipped: curl over TLS: curl is not installed");

  test.skipIf(curl === null)(
    "curl reads a response to its end, and refuses a wrong certificate",
    async () => {
      await guest(async () => {
        using listener = TlsListener.bind("127.0.0.1:0", {
          ...certificates.server,
          alpnProtocols: ["http/1.1"],
        });
        const outcomes: string[] = [];
        const serving = spawn(async () => {
          for await (const accepted of listener) {
            spawn(async () => {
              using stream = accepted;
              try {
                await stream.handshake();
                await stream.readChunk();
                await stream.writeAll("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
                await stream.writeAll("body ".repeat(20_000)); // its end is that of the connection
                outcomes.push("served");
              } catch (error) {
                outcomes.push((error as TlsError).code);
              }
            }).detach();
          }
        });
        const { port: at } = listener.localAddress;
        const ca = ["--cacert", `${certificates.folder}/ca.pem`];
        const get = (url: string, ...args: string[]) =>
          run(["curl", "-sS", "--noproxy", "*", "--max-time", "20", ...args, url]);
        const good = await get(`https://localhost:${at}/`, ...ca);
        expect(good).toEqual({ code: 0, output: "body ".repeat(20_000) });
        const unknown = await get(`https://localhost:${at}/`);
        expect(unknown.code).toBe(60);
        const resolved = ["--resolve", `wrong.test:${at}:127.0.0.1`];
        const wrong = await get(`https://wrong.test:${at}/`, ...ca, ...resolved);
        expect(wrong.code).toBe(60);
        serving.abort();
        await errorOf(serving);
        while (outcomes.length < 3) await sleep(1);
        expect(outcomes).toEqual(["served", expect.stringMatching(/^ERR_/), expect.any(String)]);
      });
    },
  );
});
