// A Worker that ends while a runtime of its own is open. Usage: new Worker(url, { argv: [name] })

import { Runtime, sleep } from "../../../src/index.ts";

const programs = {
  async "with an ambient runtime"(): Promise<void> {
    await sleep(1);
  },
  async "by process.exit"(): Promise<void> {
    await sleep(1);
    process.exit();
  },
  async "while a runtime has work"(): Promise<void> {
    new Runtime().run(sleep(1));
  },
  async "by process.exit within blockOn"(): Promise<void> {
    new Runtime().blockOn(function* () {
      yield* sleep(1);
      process.exit();
    });
  },
};

export type EndingWorker = keyof typeof programs;

await programs[process.argv[2] as EndingWorker]();
