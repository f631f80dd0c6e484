// TCP proxy on node:net, with two pipes per connection.
//
//   node.mjs PORT

import { connect, createServer } from "node:net";

const port = Number(process.argv[2]);

const server = createServer({ noDelay: true, allowHalfOpen: true }, (client) => {
  const upstream = connect({ host: "127.0.0.1", port, noDelay: true, allowHalfOpen: true });
  client.on("error", () => upstream.destroy());
  upstream.on("error", () => client.destroy());
  client.pipe(upstream).pipe(client);
});
server.listen({ host: "127.0.0.1", port: 0, backlog: 4096 }, () =>
  console.log(`port ${server.address().port}`),
);
