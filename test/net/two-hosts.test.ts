// Two hosts with a cable between them: multicast, sockets that are bound to one interface, and the errors that another host
// reports.

import { expect, setDefaultTimeout, test } from "bun:test";
import { hasTwoHosts, runOnTwoHosts } from "../support/namespace.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

/** What both programs begin with. */
const prelude = `
  import { orUndefined, race, Runtime, UdpSocket } from "./src/index.ts";
  using runtime = new Runtime();
  const buffer = new Uint8Array(64);
  const textOf = ({ bytes }) => Buffer.from(buffer.subarray(0, bytes)).toString();`;

/** Defines \`ask\`: sends a text until its reply arrives. \`replies\` are those to any text, each once. */
const asking = `
  const replies = new Set();
  function* ask(socket, text, address) {
    for (;;) {
      yield* socket.sendTo(Buffer.from(text), address);
      const reply = yield* orUndefined(100, socket.recvFrom(buffer));
      if (reply === undefined) continue;
      replies.add(textOf(reply) + " from " + reply.address.hostname);
      if (textOf(reply).startsWith(text)) return;
    }
  }`;

test.skipIf(!hasTwoHosts).each([
  ["0.0.0.0", "239.1.2.3", "239.1.2.4", "10.9.0.2"],
  ["::", "ff15::1234", "ff15::1235", "fd09::2"],
])(
  "on %s, a multicast datagram reaches the member on the other host",
  async (any, group, other, host) => {
    const member = `${prelude}
    using socket = UdpSocket.bind({ hostname: "${any}", port: 7000, options: { packetInfo: true } });
    socket.joinMulticast("${group}", { interface: "right" });
    runtime.blockOn(function* () {
      for (;;) {
        const message = yield* socket.recvMessage(buffer);
        const text = textOf(message);
        if (text === "leave") socket.leaveMulticast("${group}", { interface: "right" });
        yield* socket.sendTo(Buffer.from(text + " " + message.destination), message.address);
        if (text === "end") return;
      }
    });`;
    const sender = `${prelude}${asking}
    using socket = UdpSocket.bind({ hostname: "${any}", port: 0 });
    socket.setMulticastInterface("left");
    const [group, other, host] = ${JSON.stringify([group, other, host])}.map((hostname) => ({ hostname, port: 7000 }));
    runtime.blockOn(function* () {
      yield* ask(socket, "begin", host); // the member has joined by then
      yield* socket.sendTo(Buffer.from("to a group without a member"), other);
      yield* ask(socket, "member", group);
      yield* ask(socket, "leave", host);
      yield* socket.sendTo(Buffer.from("to a group that it left"), group);
      yield* ask(socket, "end", host);
    });
    console.log([...replies].join("\\n"));`;
    const { code, output } = await runOnTwoHosts(sender, member);
    expect(output.trim().split("\n")).toEqual([
      `begin ${host} from ${host}`,
      `member ${group} from ${host}`,
      `leave ${host} from ${host}`,
      `end ${host} from ${host}`,
    ]);
    expect(code).toBe(0);
  },
);

test.skipIf(!hasTwoHosts)("a socket that is bound to a device uses no other one", async () => {
  const bound = `${prelude}
    function* serve(socket) {
      const { device } = socket.options;
      for (;;) {
        const message = yield* socket.recvFrom(buffer);
        const text = textOf(message);
        yield* cable.sendTo(Buffer.from(text + " to " + device), message.address);
        if (text === "end") return;
      }
    }
    const open = (device) =>
      UdpSocket.bind({ hostname: "0.0.0.0", port: 7000, reuseAddress: true, options: { device } });
    using cable = open("right");
    using loopback = open("lo");
    using local = UdpSocket.bind("127.0.0.1:0");
    runtime.blockOn(function* () {
      // Both sockets have the port. (A datagram to 10.9.0.2 would count as one of the device of that address.)
      yield* local.sendTo(Buffer.from("local"), "127.0.0.1:7000");
      console.log(textOf(yield* loopback.recvFrom(buffer)), "to", loopback.options.device);
      yield* race(serve(cable), serve(loopback));
    });`;
  const sender = `${prelude}${asking}
    using socket = UdpSocket.bind("0.0.0.0:0");
    using confined = UdpSocket.bind({ hostname: "0.0.0.0", port: 0, options: { device: "lo" } });
    runtime.blockOn(function* () {
      yield* ask(socket, "begin", "10.9.0.2:7000");
      yield* confined.sendTo(Buffer.from("by lo"), "10.9.0.2:7000");
      yield* confined.sendTo(Buffer.from("here"), "127.0.0.1:" + confined.localAddress.port);
      console.log(textOf(yield* confined.recvFrom(buffer)), "by", confined.options.device);
      yield* ask(socket, "end", "10.9.0.2:7000");
    });
    console.log([...replies].join("\\n"));`;
  const { code, output } = await runOnTwoHosts(sender, bound);
  expect(output.trim().split("\n").sort()).toEqual([
    "begin to right from 10.9.0.2",
    "end to right from 10.9.0.2",
    "here by lo",
    "local to lo",
  ]);
  expect(code).toBe(0);
});

test.skipIf(!hasTwoHosts)(
  "recvError names the host that reported an error, and the MTU of the path",
  async () => {
    const answering = `${prelude}
    using socket = UdpSocket.bind("0.0.0.0:7000");
    runtime.blockOn(function* () {
      let text = "";
      while (text !== "end") {
        const message = yield* socket.recvFrom(buffer);
        text = textOf(message);
        yield* socket.sendTo(Buffer.from(text), message.address);
      }
    });`;
    const sender = `${prelude}${asking}
    using asker = UdpSocket.bind("0.0.0.0:0");
    using socket = UdpSocket.bind({ hostname: "0.0.0.0", port: 0, options: { receiveErrors: true } });
    socket.setOption(0, 10, 2); // IP_MTU_DISCOVER: IP_PMTUDISC_DO
    runtime.blockOn(function* () {
      yield* ask(asker, "begin", "10.9.0.2:7000");
      yield* socket.sendTo(Buffer.from("x"), "10.9.0.2:7001");
      const refused = yield* socket.recvError();
      console.log(refused.error.message, refused.icmp.type, refused.icmp.code);
      try {
        yield* socket.sendTo(new Uint8Array(3000), "10.9.0.2:7000");
      } catch (error) {
        console.log(error.message);
      }
      const { error, mtuBytes, reporter, icmp } = yield* socket.recvError();
      console.log(error.message, mtuBytes, reporter, icmp);
      yield* ask(asker, "end", "10.9.0.2:7000");
    });`;
    const { code, output } = await runOnTwoHosts(sender, answering);
    expect(output.trim().split("\n")).toEqual([
      "send ECONNREFUSED 10.9.0.2:7001: reported by 10.9.0.2 3 3",
      "sendto EMSGSIZE 10.9.0.2:7000",
      "send EMSGSIZE 10.9.0.2:0 1500 null null", // the kernel does not keep the port,
    ]);
    expect(code).toBe(0);
  },
);
