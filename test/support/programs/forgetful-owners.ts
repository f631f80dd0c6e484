// A program of test/runtime/observability.test.ts, run with GUILLOTINE_DEBUG=1: futures are forgotten while the
// channel or the socket that created them stays open.

import { mpsc, Runtime, UdpSocket } from "../../../src/index.ts";

using runtime = new Runtime();
const channels = Array.from({ length: 10 }, () => mpsc<number>(1));
const sockets = Array.from({ length: 10 }, () => UdpSocket.bind("127.0.0.1:0"));

function sending(): void {
  for (const { sender } of channels) sender.send(1);
}
function receiving(): void {
  for (const { receiver } of channels) receiver.recv();
}
function hearing(): void {
  for (const socket of sockets) socket.recv(new Uint8Array(1));
}

runtime.blockOn(function* () {
  sending();
  receiving();
  hearing();
});
for (const { sender, receiver } of channels) {
  sender.close();
  receiver.close();
}
for (const socket of sockets) socket.close();
