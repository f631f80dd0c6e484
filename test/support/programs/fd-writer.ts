// A Worker that writes 1 to an eventfd. Usage: new Worker(url, { argv: [fd] })

import { writeSync } from "node:fs";

writeSync(Number(process.argv[2]), new Uint8Array(new BigUint64Array([1n]).buffer));
