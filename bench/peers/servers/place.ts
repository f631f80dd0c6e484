// Where a server listens: on a free port; as a Worker of cores.ts, on one port together with the others (SO_REUSEPORT).

import { isMainThread, parentPort, workerData } from "node:worker_threads";

export const reusePort: boolean = !isMainThread;
export const port: number = isMainThread ? 0 : (workerData as number);

/** Says that the server listens: to the benchmark, or to cores.ts. */
export function announce(bound: number): void {
  if (isMainThread) console.log(`port ${bound}`);
  else parentPort?.postMessage("listening");
}
