// Pings each host of its arguments, and prints the replies and the errors: for a network namespace in which that is
// allowed.

import { ping, Runtime } from "../../../src/index.ts";

using runtime = new Runtime();
for (const host of process.argv.slice(2)) {
  try {
    const { address, ttl, dataBytes, rttMs } = runtime.blockOn(ping(host, { timeoutMs: 5000 }));
    console.log(
      `${address} ttl ${ttl}, ${dataBytes} bytes, ${rttMs > 0 ? "some time" : "no time"}`,
    );
  } catch (error) {
    console.log(`${host}: ${(error as Error).message}`);
  }
}
