// Echo server written by hand: epoll.c in TypeScript, with the same syscalls as this library. It is faster than this
// library by the cost of tasks, futures and sources. C is faster still by the cost of Bun's FFI and of JavaScript.

import { EAGAIN } from "../../../src/sys/errno.ts";
import { Connection, LARGE, SMALL, serve, sys } from "./by-hand-loop.ts";

class EchoConnection extends Connection {
  private buffer = new Uint8Array(SMALL);
  /** The bytes of `buffer` that are not written yet: from `sent` to `length`. */
  private length = 0;
  private sent = 0;

  protected override resume(): void {
    if (this.echo()) this.close();
  }

  /** Echoes until the socket would block. Returns true when the connection has ended. Same as in epoll.c. */
  private echo(): boolean {
    for (;;) {
      while (this.sent < this.length) {
        const rest = this.sent === 0 ? this.buffer : this.buffer.subarray(this.sent);
        const count = sys.send(this.fd, rest, 0, this.length - this.sent);
        if (count < 0) return count !== -EAGAIN;
        this.sent += count;
      }
      const isFull = this.length === SMALL && this.buffer.length === SMALL;
      this.length = this.sent = 0;
      if (isFull) this.buffer = Buffer.allocUnsafeSlow(LARGE);
      const count = this.recv(this.buffer);
      if (count <= 0) return count !== -EAGAIN;
      this.length = count;
    }
  }
}

serve(
  (fd) => new EchoConnection(fd),
  () => {},
);
