// Watches the network devices of this machine and their addresses, by netlink(7): as `ip monitor link address` does.
//
//   bun run examples/netlink.ts
//   sudo ip address add 10.9.8.7/32 dev lo    # in another terminal; then the same with `del`
//
// You will see: each device and each address, then a line per change. Ctrl-C stops it.

import {
  ctrlC,
  Netlink,
  type NetlinkMessage,
  parseNetlinkAttributes,
  Runtime,
  race,
  SysError,
} from "../src/index.ts";

// Numbers of linux/rtnetlink.h, linux/if_link.h and linux/if_addr.h.
const GROUPS = [1, 5, 9]; // RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR
const [RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK] = [16, 17, 18];
const [RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR] = [20, 21, 22];
const NLM_F_DUMP = 0x300;
const [IFINFOMSG_BYTES, IFADDRMSG_BYTES] = [16, 8];
const IFLA_IFNAME = 3;
const [IFA_ADDRESS, IFA_LOCAL] = [1, 2];
const IFF_UP = 1;
const AF_INET = 2;

/** The names of the devices, by index. */
const names = new Map<number, string>();

/** Returns the text of an IP address. A pure function, as all parsers here. */
function formatIp(family: number, bytes: Uint8Array): string {
  if (family === AF_INET) return bytes.join(".");
  const groups = Array.from({ length: 8 }, (_, index) =>
    (((bytes[index * 2] ?? 0) << 8) | (bytes[index * 2 + 1] ?? 0)).toString(16),
  );
  return new URL(`http://[${groups.join(":")}]`).hostname.slice(1, -1);
}

/** Returns the device that a message is about. */
function parseLink({ payload }: NetlinkMessage): { index: number; name: string; isUp: boolean } {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
  const attributes = parseNetlinkAttributes(payload.subarray(IFINFOMSG_BYTES));
  const name = attributes.find(({ type }) => type === IFLA_IFNAME)?.data;
  return {
    index: view.getInt32(4, true),
    name: new TextDecoder().decode(name).replace(/\0+$/, ""),
    isUp: (view.getUint32(8, true) & IFF_UP) !== 0,
  };
}

/** Returns the address that a message is about. */
function parseAddress({ payload }: NetlinkMessage): { index: number; address: string } {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
  const attributes = parseNetlinkAttributes(payload.subarray(IFADDRMSG_BYTES));
  // On a point-to-point link, IFA_ADDRESS is that of the other end.
  const ip =
    attributes.find(({ type }) => type === IFA_LOCAL) ??
    attributes.find(({ type }) => type === IFA_ADDRESS);
  const [family = 0, prefixLength = 0] = payload;
  const address = `${formatIp(family, ip?.data ?? new Uint8Array())}/${prefixLength}`;
  return { index: view.getUint32(4, true), address };
}

function print(message: NetlinkMessage): void {
  const { type } = message;
  if (type === RTM_NEWLINK || type === RTM_DELLINK) {
    const { index, name, isUp } = parseLink(message);
    names.set(index, name);
    console.log(
      `device ${index} ${name}: ${type === RTM_DELLINK ? "removed" : isUp ? "up" : "down"}`,
    );
  } else if (type === RTM_NEWADDR || type === RTM_DELADDR) {
    const { index, address } = parseAddress(message);
    const name = names.get(index) ?? `device ${index}`;
    console.log(`address ${address} on ${name}${type === RTM_DELADDR ? ": removed" : ""}`);
  }
}

function* show() {
  for (const [type, bytes] of [
    [RTM_GETLINK, IFINFOMSG_BYTES],
    [RTM_GETADDR, IFADDRMSG_BYTES],
  ] as const) {
    const payload = new Uint8Array(bytes);
    for (const message of yield* Netlink.request({ type, flags: NLM_F_DUMP, payload })) {
      print(message);
    }
  }
}

function* watch() {
  // Listen first, so that no change between the two is missed.
  using netlink = Netlink.open({ groups: GROUPS });
  yield* show();
  console.log("watching");
  for (;;) {
    try {
      for (const message of yield* netlink.recv()) print(message);
    } catch (error) {
      if (!(error instanceof SysError) || error.code !== "ENOBUFS") throw error;
      console.log("some changes were lost: too many at once");
      yield* show();
    }
  }
}

await using runtime = new Runtime();
await runtime.run(race(ctrlC(), watch()));
