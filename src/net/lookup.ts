// lookup(): names to IP addresses, as the system resolves them. `Sys.lookup` does the work; its answer arrives at an fd.
// See getaddrinfo(3).
//
// Invariants:
// - Equal lookups in flight on one runtime share one fd and one answer. The last waiter to leave closes the fd.
// - A flight leaves `flights` when its answer arrives, so a later lookup asks again: nothing is cached here.

import { checkObject, checkString, invalidType, outOfRange } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import type { Context } from "../core/context.ts";
import { Future } from "../core/future.ts";
import { Leaf } from "../core/leaf.ts";
import { Pending, type Poll } from "../core/poll.ts";
import type { Waiter } from "../core/wait-queue.ts";
import { receiveBuffer } from "../io/read-chunk.ts";
import { READ, Source } from "../io/source.ts";
import { type Reactor, reactorOf } from "../reactor/reactor.ts";
import { check, EAGAIN, EINTR } from "../sys/errno.ts";
import {
  type AddressLike,
  AF_INET,
  AF_INET6,
  familyOf,
  parseEndpoint,
  type SocketAddress,
} from "../sys/sockaddr.ts";

/** What `lookup` looks for. */
export interface LookupOptions {
  /** Only IPv4 addresses (4), only IPv6 addresses (6), or both: undefined, the default. */
  readonly family?: 4 | 6 | undefined;
}

/** One address of a name. The fields are those of Node's `dns.lookup`. */
export interface LookupAddress {
  /** An IP literal. */
  readonly address: string;
  readonly family: 4 | 6;
}

/** The names and numbers of the failures of getaddrinfo(3), as Node reports them; errno is that of libuv. */
const FAILURES: Readonly<Record<number, readonly [code: string, errno: number]>> = {
  [-2]: ["ENOTFOUND", -3008], // EAI_NONAME
  [-3]: ["EAI_AGAIN", -3001],
  [-4]: ["EAI_FAIL", -3004],
  [-5]: ["ENOTFOUND", -3007], // EAI_NODATA
  [-6]: ["EAI_FAMILY", -3005],
  [-9]: ["ENOTFOUND", -3008], // EAI_ADDRFAMILY
  [-10]: ["EAI_MEMORY", -3006],
};

/**
 * Thrown when a name has no address. `code` is `"ENOTFOUND"` if the name does not exist or has no address of the family,
 * and `"EAI_AGAIN"` if no server answered in time; the other codes are those of getaddrinfo(3). Has the fields of Node's
 * error.
 */
export class LookupError extends Error {
  override readonly name = "LookupError";
  readonly code: string;
  readonly errno: number;
  readonly syscall = "getaddrinfo";
  readonly hostname: string;

  /** `result` is what getaddrinfo returned. */
  constructor(result: number, hostname: string) {
    const [code, errno] = FAILURES[result] ?? ["EAI_FAIL", -3004];
    super(`getaddrinfo ${code} ${hostname}`);
    this.code = code;
    this.errno = errno;
    this.hostname = hostname;
  }
}

const NO_NAME = -2;

/**
 * Resolves `hostname` as the system does: /etc/hosts, DNS and whatever else nsswitch.conf(5) lists. Returns its addresses
 * in the order in which they should be tried (RFC 6724); an IP literal is its own address. The caller may give up at any
 * time: the system's call, which cannot be interrupted, runs in a helper thread, and its answer is then discarded.
 * Throws LookupError (`ENOTFOUND`, `EAI_AGAIN`, ...), SysError (`EMFILE`), TypeError if `hostname` cannot be a name, and
 * RangeError if `family` is neither 4, 6 nor undefined. Cancel safe. See getaddrinfo(3).
 *
 * @example
 * const [first] = yield* lookup("localhost", { family: 4 });
 * console.log(first); // { address: "127.0.0.1", family: 4 }
 */
export function lookup(
  hostname: string,
  options: LookupOptions = {},
): Future<readonly LookupAddress[]> {
  checkObject(options, "lookup: options");
  const { family } = options;
  if (family !== undefined && family !== 4 && family !== 6) {
    throw outOfRange(`lookup: family must be 4, 6 or undefined; got ${describe(family)}`);
  }
  return new Lookup(checkName(hostname, "lookup: hostname"), family ?? 0);
}

/**
 * Returns `hostname` as getaddrinfo accepts it: an IP literal, or a name in ASCII. Throws TypeError if it can be neither.
 * `what` names the argument.
 */
export function checkName(hostname: unknown, what: string): string {
  checkString(hostname, what);
  if (familyOf(hostname) !== 0) return hostname;
  // Punycode, as in Node. It is empty for what cannot be a name.
  const isAscii = /^[\x21-\x7e]+$/.test(hostname);
  const name = isAscii ? hostname : process.getBuiltinModule("node:url").domainToASCII(hostname);
  // A name ends with a label that is not a number (RFC 1123). getaddrinfo would accept 1.2.3 as 1.2.0.3.
  if (!/^[\w-]+(\.[\w-]+)*\.?$/.test(name) || name.length > 254 || /(^|\.)\d+\.?$/.test(name)) {
    throw invalidType(`${what} must be an IP literal or a host name; got ${describe(hostname)}`);
  }
  return name;
}

/** One lookup that `Sys` performs, and those that wait for its answer. Owns the fd. */
class Flight {
  readonly reactor: Reactor;
  readonly key: string;
  readonly source: Source;
  waiters = 0;
  /** What the fd said; null until then. */
  answer: readonly string[] | null = null;

  constructor(reactor: Reactor, key: string, hostname: string, family: number) {
    const { sys } = reactor;
    this.reactor = reactor;
    this.key = key;
    this.source = new Source(sys, check(sys.lookup(hostname, family), "lookup"));
  }

  /** Reads the answer if it has arrived. Throws SysError. */
  read(): readonly string[] | null {
    const { source } = this;
    if (this.answer !== null || (source.ready & READ) === 0) return this.answer;
    const buffer = receiveBuffer();
    let count: number;
    do count = source.sys.read(source.fd, buffer);
    while (count === -EINTR);
    if (count === -EAGAIN) {
      source.clearReady(READ);
      return null;
    }
    check(count, "read");
    this.answer = Buffer.from(buffer.subarray(0, count)).toString().split("\n");
    this.close();
    return this.answer;
  }

  /** Ends the flight. Wakes its waiters. Idempotent. */
  close(): void {
    flights.get(this.reactor)?.delete(this.key);
    this.source.close();
  }
}

/** The lookups in flight of each runtime, by family and name. */
const flights: WeakMap<Reactor, Map<string, Flight>> = new WeakMap();

/** Returns the flight of a name, with one more waiter. Throws SysError. */
function join(reactor: Reactor, hostname: string, family: number): Flight {
  const key = `${family} ${hostname}`;
  let ofReactor = flights.get(reactor);
  if (ofReactor === undefined) {
    ofReactor = new Map();
    flights.set(reactor, ofReactor);
  }
  let flight = ofReactor.get(key);
  if (flight === undefined) {
    flight = new Flight(reactor, key, hostname, family);
    ofReactor.set(key, flight);
  }
  flight.waiters++;
  return flight;
}

class Lookup extends Leaf<readonly LookupAddress[]> implements Waiter {
  readonly #hostname: string;
  readonly #family: 0 | 4 | 6;
  #flight: Flight | null = null;

  constructor(hostname: string, family: 0 | 4 | 6) {
    super();
    this.#hostname = hostname;
    this.#family = family;
  }

  protected override attempt(cx: Context): Poll<readonly LookupAddress[]> {
    const literal = familyOf(this.#hostname);
    if (literal !== 0) return this.#addressesOf(["0", this.#hostname]);
    const reactor = reactorOf(cx);
    if (this.#flight !== null && this.#flight.reactor !== reactor) this.#leave();
    const family = { 0: 0, 4: AF_INET, 6: AF_INET6 }[this.#family];
    this.#flight ??= join(reactor, this.#hostname, family);
    const answer = this.#flight.read();
    if (answer !== null) return this.#addressesOf(answer);
    this.#flight.source.wait(READ, this, cx);
    return Pending;
  }

  #addressesOf([result, ...literals]: readonly string[]): readonly LookupAddress[] {
    const addresses: LookupAddress[] = [];
    for (const address of literals) {
      const family = familyOf(address);
      if (family === this.#family || (this.#family === 0 && family !== 0)) {
        addresses.push({ address, family: family as 4 | 6 });
      }
    }
    if (addresses.length === 0) throw new LookupError(Number(result) || NO_NAME, this.#hostname);
    return addresses;
  }

  #leave(): void {
    const flight = this.#flight;
    if (flight === null) return;
    this.#flight = null;
    flight.source.leave(READ, this);
    if (--flight.waiters === 0) flight.close();
  }

  protected override release(): void {
    this.#leave();
  }

  override describe(): string {
    return `lookup ${this.#hostname}`;
  }
}

/**
 * Resolves the name in `address`, then calls `use` with its first address, in the same poll. Throws what `lookup` and
 * `use` throw, and at once TypeError and RangeError for an invalid address.
 */
export class ByName<T> extends Future<T> {
  readonly #lookup: Future<readonly LookupAddress[]>;
  readonly #port: number;
  readonly #use: (address: SocketAddress) => T;

  constructor(address: AddressLike, family: 4 | 6 | undefined, use: (to: SocketAddress) => T) {
    super();
    const { hostname, port } = parseEndpoint(address);
    this.#lookup = lookup(hostname, { family });
    this.#port = port;
    this.#use = use;
  }

  override poll(cx: Context): Poll<T> {
    const addresses = this.#lookup.poll(cx);
    if (addresses === Pending) return Pending;
    return this.#use({ hostname: addresses[0]!.address, port: this.#port }); // a lookup returns at least one
  }

  override drop(): void {
    this.#lookup.drop();
  }

  override reclaim(value: T): void {
    (value as Partial<Disposable> | undefined)?.[Symbol.dispose]?.();
  }
}
