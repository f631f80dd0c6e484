// Line server on node:net and node:readline.
//
//   node.mjs event|for-await

import { createServer } from "node:net";
import { createInterface } from "node:readline";

const isForAwait = process.argv[2] === "for-await";

async function echo(socket, lines) {
  for await (const line of lines) socket.write(`${line}\n`);
}

const server = createServer({ noDelay: true }, (socket) => {
  socket.on("error", () => {});
  const lines = createInterface({ input: socket, crlfDelay: Number.POSITIVE_INFINITY });
  if (isForAwait) echo(socket, lines).catch(() => {});
  else lines.on("line", (line) => socket.write(`${line}\n`));
});
server.listen({ host: "127.0.0.1", port: 0, backlog: 4096 }, () =>
  console.log(`port ${server.address().port}`),
);
