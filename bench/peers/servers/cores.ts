// Runs a server of this folder in several Workers, which listen on one port.
//
//   cores.ts WORKERS SERVER [its arguments]

import { Worker } from "node:worker_threads";
import { freePort } from "../../processes.ts";

const [workers = "1", server = "", ...argv] = process.argv.slice(2);
const port = freePort();
const all = Array.from({ length: Number(workers) }, () => {
  return new Worker(new URL(server, import.meta.url), { argv, workerData: port });
});
await Promise.all(all.map((worker) => new Promise((resolve) => worker.once("message", resolve))));
console.log(`port ${port}`);
