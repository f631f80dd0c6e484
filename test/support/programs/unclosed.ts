// Programs of test/io/unclosed.test.ts. Usage: bun unclosed.ts <name>. All but "shortage" need GUILLOTINE_DEBUG=1.

import {
  copy,
  type JoinHandle,
  pipe,
  Runtime,
  race,
  sleep,
  spawn,
  TcpListener,
  TcpStream,
  UdpSocket,
} from "../../../src/index.ts";
import { countFds } from "../fds.ts";

/** Collects garbage until `isDone`, with turns of Bun's loop in between, in which finalizers run. */
async function collect(isDone: () => boolean): Promise<void> {
  for (let round = 0; round < 30 && !isDone(); round++) {
    for (let count = 0; count < 64; count++) await sleep(0); // debug mode remembers the latest futures
    Bun.gc(true);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

const sockets = (): number => countFds("socket") + countFds("pipe");

const programs: Record<string, () => Promise<void>> = {
  async forgotten() {
    Runtime.ambient();
    const before = sockets();
    const forget = async (): Promise<void> => {
      const listener = TcpListener.bind("127.0.0.1:0");
      const connecting = spawn(TcpStream.connect(listener.localAddress));
      const accepted = await listener.accept();
      const stream = await connecting;
      await stream.writeAll("x");
      await accepted.read(new Uint8Array(8));
      await Promise.race([accepted.read(new Uint8Array(8)), stream.writeAll("y")]);
      UdpSocket.bind("127.0.0.1:0");
      pipe();
    };
    for (let count = 0; count < 5; count++) await forget(); // 30 fds; the engine may still refer to the latest
    const isCollected = (): boolean => sockets() - before < 10;
    await collect(isCollected);
    console.log(`most are closed: ${isCollected()}`);
  },

  async "in use"() {
    const before = sockets();
    const begin = async (): Promise<{
      write: () => void;
      reading: JoinHandle<number>;
      copying: JoinHandle<number>;
    }> => {
      using listener = TcpListener.bind("127.0.0.1:0");
      const connecting = spawn(TcpStream.connect(listener.localAddress));
      const accepted = await listener.accept();
      const stream = await connecting;
      const { reader, writer } = pipe();
      const { reader: end, writer: other } = pipe();
      end.close();
      other.close();
      const reading = spawn(accepted.read(new Uint8Array(8)));
      const copying = spawn(copy(reader, stream, { maxBytes: 2 }));
      return {
        reading,
        copying,
        write: () => void spawn(writer.writeAll("ab")),
      };
    };
    const { write, reading, copying } = await begin();
    await collect(() => false);
    console.log(`open: ${sockets() - before}`);
    write();
    console.log("read", (await reading) >= 1 ? 1 : 0);
    console.log("copied", await copying);
    process.exit(0);
  },

  /** Needs a limit of fds far below the 400 that it forgets. */
  async shortage() {
    const runtime = new Runtime();
    runtime.blockOn(function* () {
      const listener = TcpListener.bind("127.0.0.1:0");
      const pair = function* () {
        const accepting = spawn(listener.accept());
        const stream = yield* TcpStream.connect(listener.localAddress);
        return [stream, yield* accepting] as const;
      };
      const [idle, peer] = yield* pair();
      const [reading, writer] = yield* pair();
      const read = spawn(reading.read(new Uint8Array(8)));
      const forget = function* (isRegistered: boolean) {
        const [stream, accepted] = yield* pair();
        if (isRegistered) yield* race(accepted.read(new Uint8Array(8)), sleep(0));
        else yield* stream.writeAll("x");
      };
      for (let count = 0; count < 200; count++) yield* forget(count % 2 === 0);
      console.log("forgot 400");
      // What the program still refers to is open, and registered as before.
      yield* writer.writeAll("abc");
      console.log("read", yield* read);
      const later = spawn(idle.read(new Uint8Array(8)));
      yield* sleep(1);
      yield* peer.writeAll("ab");
      console.log("read", yield* later);
      writer.close();
      console.log("read", yield* reading.read(new Uint8Array(8)));
      listener.close();
    });
    await new Promise((resolve) => setImmediate(resolve)); // warnings are emitted then
    process.exit(0);
  },
};

await programs[process.argv[2] ?? ""]?.();
