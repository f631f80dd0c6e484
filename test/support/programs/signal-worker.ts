// Prints the error that `signal` throws in a Worker. This file is both the program and its Worker.

import { signal } from "../../../src/index.ts";

declare const self: { postMessage(message: unknown): void };

if (Bun.isMainThread) {
  const worker = new Worker(import.meta.url);
  worker.onmessage = ({ data }) => {
    console.log(data);
    worker.terminate();
  };
} else {
  self.postMessage(await signal("SIGUSR2").then(null, (error: Error) => error.message));
}
