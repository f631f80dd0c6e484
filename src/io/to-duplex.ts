// toDuplex: a byte stream as a Duplex of node:stream, for packages that expect a socket of Node.
//
// Facts about Duplex, and what they mean for this code:
// - It calls `read` again only after a `push`, and `write` only after the callback of the previous write. So at most
//   one operation per direction is in progress, and backpressure works both ways.
// - It calls `destroy` once: after an error, or after both sides have ended. That is where the stream is closed.

import type { Duplex } from "node:stream";
import { checkObject } from "../base/check.ts";
import type { Future } from "../core/future.ts";
import type { ByteStream } from "./bytes.ts";
import { CallbackFutures, STOPPED } from "./callback-futures.ts";
import { checkMethod } from "./to-web.ts";

/** Options of `toDuplex`. */
export interface ToDuplexOptions {
  /**
   * True: the writable side stays open after the peer has ended its side. False (the default, as of a `net.Socket`): it
   * then ends too, and the Duplex closes.
   */
  readonly allowHalfOpen?: boolean;
}

/** Options of the socket, which a TcpStream has. */
export interface MaybeSocket {
  setNoDelay?(isOn: boolean): void;
  setKeepAlive?(options: { readonly idleMs: number } | null): void;
}

/** The idle time of Linux before the first keepalive probe. `net.Socket` leaves it unless the caller sets a delay. */
const DEFAULT_IDLE_MS = 7_200_000;

type Callback = (error?: Error | null) => void;

/**
 * Returns a Duplex of node:stream over `stream`, which it owns: `destroy()` closes it, and so does the end of both
 * sides. `end()` calls `shutdown` after the last write. It reads one chunk ahead, up to the high-water mark of the
 * Duplex, and each write waits for `writeAll` (or `writev`). An error of `stream` destroys the Duplex with that error.
 *
 * Many clients call `setNoDelay` and `setKeepAlive` of their socket. The Duplex has both: they reach a TcpStream, and do
 * nothing on another stream.
 *
 * Its operations run on the runtime that `toReadable` describes: under `blockOn` it makes progress, except for what
 * the package that uses it needs from Bun's own loop. Throws TypeError if `stream` has no `readChunk`.
 *
 * @example
 * const socket = toDuplex(await TcpStream.connect("127.0.0.1:7000"));
 * socket.on("data", (data) => console.log(data.length));
 * socket.on("close", () => console.log("closed"));
 * socket.write("hello\n");
 * socket.destroy();
 */
export function toDuplex(stream: ByteStream & MaybeSocket, options: ToDuplexOptions = {}): Duplex {
  checkMethod(stream, "readChunk", "toDuplex: stream");
  checkObject(options, "toDuplex: options");
  const futures = new CallbackFutures();
  // `start` may throw at once, as an operation on a closed stream does.
  const perform = async <T>(
    start: () => Future<T>,
    onValue: (value: T) => void,
    fail: Callback,
  ) => {
    let value: T | typeof STOPPED;
    try {
      value = await futures.run(start());
    } catch (error) {
      fail(error as Error);
      return;
    }
    if (value !== STOPPED) onValue(value);
  };
  const duplex: Duplex = new (process.getBuiltinModule("node:stream").Duplex)({
    allowHalfOpen: options.allowHalfOpen ?? false,
    read() {
      void perform(
        () => stream.readChunk(),
        (chunk) => duplex.push(chunk),
        (error) => duplex.destroy(error ?? undefined),
      );
    },
    write(chunk: Uint8Array, _encoding, callback: Callback) {
      void perform(
        () => stream.writeAll(chunk),
        () => callback(),
        callback,
      );
    },
    ...(stream.writev && {
      writev(pieces: readonly { readonly chunk: Uint8Array }[], callback: Callback) {
        const chunks = pieces.map(({ chunk }) => chunk);
        void perform(
          () => stream.writev!(chunks),
          () => callback(),
          callback,
        );
      },
    }),
    final(callback: Callback) {
      try {
        stream.shutdown();
        callback();
      } catch (error) {
        callback(error as Error);
      }
    },
    destroy(error: Error | null, callback: Callback) {
      futures.stopAll();
      stream.close();
      callback(error);
    },
  });
  return Object.assign(duplex, {
    setNoDelay(isOn = true) {
      stream.setNoDelay?.(isOn);
      return duplex;
    },
    setKeepAlive(isOn = false, idleMs = 0) {
      stream.setKeepAlive?.(isOn ? { idleMs: idleMs || DEFAULT_IDLE_MS } : null);
      return duplex;
    },
  });
}
