import { describe, expect, test } from "bun:test";
import { AsyncIteration, iterateValues } from "../../src/core/async-iteration.ts";
import {
  interval,
  pipe,
  Runtime,
  spawn,
  TcpListener,
  TcpStream,
  timeout,
  UdpSocket,
  unboundedMpsc,
} from "../../src/index.ts";
import { Counting } from "../support/counting.ts";
import { newFds, openFds } from "../support/fds.ts";
import { untilIdle } from "../support/idle.ts";
import { streamPair } from "../support/sockets.ts";

/** The three ways to run an async function. */
const WAYS: readonly (readonly [string, <T>(work: () => Promise<T>) => Promise<T>])[] = [
  [
    "blockOn",
    async (work) => {
      using runtime = new Runtime();
      return runtime.blockOn(work);
    },
  ],
  [
    "run",
    async (work) => {
      await using runtime = new Runtime();
      return await runtime.run(work);
    },
  ],
  ["the ambient runtime", (work) => work()],
];

describe.each(WAYS)("for await, by %s", (_, perform) => {
  test("a listener returns each connection, and leaving the loop keeps it open", async () => {
    const accepted = await perform(async () => {
      using listener = TcpListener.bind("127.0.0.1:0");
      const ports: [number, number][] = [];
      for (let round = 0; round < 2; round++) {
        using client = await TcpStream.connect(listener.localAddress);
        for await (const stream of listener) {
          ports.push([client.localAddress.port, stream.remoteAddress.port]);
          stream.close();
          break;
        }
      }
      return ports;
    });
    expect(accepted).toHaveLength(2);
    for (const [client, remote] of accepted) expect(remote).toBe(client);
  });

  test("a UDP socket returns each datagram in an array of its own, and leaving the loop keeps it open", async () => {
    const received = await perform(async () => {
      using server = UdpSocket.bind("127.0.0.1:0");
      using client = UdpSocket.bind("127.0.0.1:0");
      const datagrams: Uint8Array[] = [];
      for (const text of ["a", "", "ccc"])
        await client.sendTo(Buffer.from(text), server.localAddress);
      for await (const { data, address } of server) {
        expect(address).toEqual(client.localAddress);
        datagrams.push(data);
        if (datagrams.length === 2) break;
      }
      for await (const { data } of server) {
        datagrams.push(data);
        break;
      }
      return datagrams;
    });
    expect(received.map((data) => Buffer.from(data).toString())).toEqual(["a", "", "ccc"]);
    expect(received[2]?.buffer.byteLength).toBe(3);
  });

  test("a stream returns its chunks up to the end, and leaving the loop keeps it open", async () => {
    const received = await perform(async () => {
      const [ours, peer] = await spawn(streamPair());
      const chunks: string[] = [];
      await peer.writeAll("first");
      for await (const chunk of ours) {
        chunks.push(Buffer.from(chunk).toString());
        break;
      }
      await peer.writeAll("second");
      peer.close();
      for await (const chunk of ours) chunks.push(Buffer.from(chunk).toString());
      ours.close();
      return chunks;
    });
    expect(received).toEqual(["first", "second"]);
  });

  test("an AsyncFd returns its chunks up to the end", async () => {
    const received = await perform(async () => {
      const { reader, writer } = pipe();
      await writer.writeAll("through a pipe");
      writer.close();
      const chunks: string[] = [];
      for await (const chunk of reader) chunks.push(Buffer.from(chunk).toString());
      reader.close();
      return chunks;
    });
    expect(received).toEqual(["through a pipe"]);
  });

  test("an error of the socket leaves the loop", async () => {
    const work = async () => {
      using listener = TcpListener.bind("127.0.0.1:0");
      spawn(async () => listener.close()).detach();
      for await (const stream of listener) stream.close();
    };
    await expect(perform(work)).rejects.toMatchObject({ code: "ERR_SOCKET_CLOSED" });
  });
});

test("return() drops the waits that are pending, and settles their steps as done", async () => {
  const futures: Counting<string>[] = [];
  const iteration = iterateValues(() => {
    const future = new Counting<string>();
    futures.push(future);
    return future;
  });
  const steps = [iteration.next(), iteration.next()];
  expect(await iteration.return()).toEqual({ done: true, value: undefined });
  for (const step of steps) expect(await step).toEqual({ done: true, value: undefined });
  expect(futures.map(({ drops }) => drops)).toEqual([1, 1]);
  expect(iteration.steps.size).toBe(0);
  expect(await iteration.next()).toEqual({ done: true, value: undefined });
  expect(futures).toHaveLength(2);
});

test("a step that fails ends the iteration", async () => {
  let starts = 0;
  const iteration = new AsyncIteration<string, string>(
    () => {
      starts++;
      const future = new Counting<string>();
      future.fail(new Error("broken"));
      return future;
    },
    (value) => ({ done: false, value }),
  );
  await expect(iteration.next()).rejects.toThrow("broken");
  expect(await iteration.next()).toEqual({ done: true, value: undefined });
  expect([starts, iteration.steps.size]).toEqual([1, 0]);
});

test("a message that an abandoned step would receive goes to the next receive", async () => {
  await using runtime = new Runtime();
  const { sender, receiver } = unboundedMpsc<number>();
  const received = await runtime.run(async () => {
    const iterator = receiver[Symbol.asyncIterator]();
    const pending = iterator.next();
    await iterator.return?.();
    sender.send(1);
    expect(await pending).toEqual({ done: true, value: undefined });
    return await receiver.recv();
  });
  expect(received).toEqual({ done: false, value: 1 });
});

test("a loop that is cancelled while it waits drops its wait", async () => {
  await using runtime = new Runtime();
  using listener = TcpListener.bind("127.0.0.1:0");
  const before = openFds();
  await runtime.run(function* () {
    const loop = spawn(async () => {
      for await (const stream of listener) stream.close();
    });
    yield* untilIdle();
    loop.abort();
    yield* untilIdle();
    expect(loop.isFinished).toBe(true);
    using client = yield* TcpStream.connect(listener.localAddress);
    using stream = yield* listener.accept();
    expect(stream.remoteAddress.port).toBe(client.localAddress.port);
  });
  expect(newFds(before).filter((target) => target.startsWith("socket"))).toEqual([]);
});

test("a loop over an interval that a timeout cancels leaves no timer", async () => {
  await using runtime = new Runtime();
  const loop = async () => {
    for await (const _ of interval(3_600_000));
  };
  await expect(runtime.run(timeout(1, loop))).rejects.toMatchObject({ name: "TimeoutError" });
  expect(runtime.metrics().timers).toBe(0);
});
