// Connecting a stream socket: to one address (Connect), or to the best of several (HappyEyeballs, RFC 8305). Knows no
// particular stream class: `wrap` makes one from the connected socket.
//
// Facts about TCP, and what they mean for this code:
// - A socket that connects to a free port of its own host can meet itself: the kernel may choose the destination as its
//   local port, and then its SYN answers itself (simultaneous open, RFC 9293 3.5). Nobody listens there, so we close
//   such a connection with a reset, which frees the port at once, and try again, as Go does.
// - bind(2) with port 0 reserves a local port before the destination is known, so fewer connections fit. With
//   IP_BIND_ADDRESS_NO_PORT the kernel chooses the port in connect(2).

import { checkMilliseconds, checkObject, invalidType } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import { Combinator } from "../combine/combinator.ts";
import { timeout } from "../combine/timeout.ts";
import type { Context } from "../core/context.ts";
import type { Future } from "../core/future.ts";
import { Leaf } from "../core/leaf.ts";
import { Again, Pending, type Poll } from "../core/poll.ts";
import { type Source, WRITE } from "../io/source.ts";
import { reactorOf } from "../reactor/reactor.ts";
import { EALREADY, ECONNREFUSED, EINPROGRESS, EINTR, SysError } from "../sys/errno.ts";
import {
  type AddressLike,
  familyOf,
  parseAddress,
  parseEndpoint,
  type SocketAddress,
} from "../sys/sockaddr.ts";
import { IP_BIND_ADDRESS_NO_PORT, IPPROTO_IP, SOCK_STREAM } from "../sys/socket.ts";
import type { Sys } from "../sys/sys.ts";
import { sleep } from "../time/sleep.ts";
import { checkName, type LookupAddress, lookup } from "./lookup.ts";
import { type OptionValues, setOptions } from "./options.ts";
import {
  addressError,
  checkCall,
  incoming,
  openSocket,
  outgoing,
  resetOnClose,
  resolveScope,
  setOption,
} from "./socket.ts";
import { TcpOptions } from "./tcp-options.ts";

/** How to connect. */
export interface ConnectOptions {
  /**
   * How long a connect to one address of a name may take before the next address is tried as well, in milliseconds.
   * Default 250 (RFC 8305). Infinity tries the next address only after a failure.
   */
  readonly delayMs?: number | undefined;
  /** The local address to connect from. Port 0 lets the kernel choose. Only addresses of the same family are tried. */
  readonly localAddress?: AddressLike | undefined;
  /** Options of the socket, set before the connect: `{ receiveBufferBytes: 1 << 20, mark: 7 }`. */
  readonly options?: OptionValues<TcpOptions> | undefined;
  /** The limit of the whole connect, with the lookup, in milliseconds. Default: the kernel's own limits. */
  readonly timeoutMs?: number | undefined;
}

/** Makes a stream of a connected socket, and becomes its owner. */
type Wrap<S> = (source: Source, address: SocketAddress) => S;

const DEFAULT_DELAY_MS = 250;

/** How often a connect that met itself is tried again. Each try uses another local port, so one is nearly enough. */
const MAX_SELF_CONNECTS = 5;

/**
 * Thrown when a name has several addresses and none accepts a connection. `errors` lists the error of each address, in
 * the order in which they were tried; `code` is that of the first.
 */
export class ConnectError extends AggregateError {
  override readonly name = "ConnectError";
  readonly code: string;
  readonly syscall = "connect";
  readonly hostname: string;
  readonly port: number;
  declare readonly errors: SysError[];

  constructor({ hostname, port }: SocketAddress, errors: readonly SysError[]) {
    const list = errors.map((error) => error.message).join("; ");
    super(errors, `connect ${hostname}:${port}: all ${errors.length} addresses failed: ${list}`);
    this.code = errors[0]?.code ?? "ECONNREFUSED";
    this.hostname = hostname;
    this.port = port;
  }
}

/** Returns the future of a connected TCP stream. Throws TypeError and RangeError for invalid arguments. */
export function connectTcp<S extends Disposable>(
  address: AddressLike,
  options: ConnectOptions,
  wrap: Wrap<S>,
): Future<S> {
  const endpoint = parseEndpoint(address);
  checkObject(options, "connect: options");
  const { delayMs = DEFAULT_DELAY_MS, localAddress, timeoutMs, options: values } = options;
  if (values !== undefined) checkObject(values, "connect: options.options");
  checkMilliseconds(delayMs, "connect: delayMs");
  if (timeoutMs !== undefined) checkMilliseconds(timeoutMs, "connect: timeoutMs");
  const local = localAddress === undefined ? null : parseAddress(localAddress);
  const family = local === null ? 0 : familyOf(local.hostname);
  const start = (to: SocketAddress): Connect<S> => new Connect(to, local, values, wrap);
  const connect = connectFuture(endpoint, family, delayMs, start);
  return timeoutMs === undefined ? connect : timeout(timeoutMs, connect);
}

function connectFuture<S extends Disposable>(
  endpoint: SocketAddress,
  family: 0 | 4 | 6,
  delayMs: number,
  start: (to: SocketAddress) => Future<S>,
): Future<S> {
  const { hostname, port } = endpoint;
  const literal = familyOf(hostname);
  if (literal !== 0) {
    if (family === 0 || family === literal) return start(endpoint);
    throw invalidType(
      `connect: localAddress must be of the family of the address; got IPv${family}, and ${describe(hostname)}`,
    );
  }
  const race = new HappyEyeballs(endpoint, delayMs, start);
  if (hostname === "localhost") {
    const addresses = ["127.0.0.1", "::1"].filter((ip) => family === 0 || family === familyOf(ip));
    race.begin(addresses.map((ip) => ({ hostname: ip, port })));
  } else {
    const name = checkName(hostname, "address.hostname");
    race.lookUp(lookup(name, { family: family === 0 ? undefined : family }));
  }
  return race;
}

/** Connects one socket to one address. Owns the socket until it returns the stream. */
export class Connect<S extends Disposable> extends Leaf<S> {
  readonly #address: SocketAddress;
  readonly #local: SocketAddress | null;
  readonly #values: OptionValues<TcpOptions> | undefined;
  readonly #wrap: Wrap<S>;
  /** The socket; null before the first attempt, and once the stream owns it. */
  #source: Source | null = null;
  #selfConnects = 0;

  constructor(
    address: SocketAddress,
    local: SocketAddress | null,
    values: OptionValues<TcpOptions> | undefined,
    wrap: Wrap<S>,
  ) {
    super();
    this.#values = values;
    this.#address = address;
    this.#local = local;
    this.#wrap = wrap;
  }

  protected override attempt(cx: Context): Poll<S> | Again {
    const address = this.#address;
    this.#source ??= this.#open(reactorOf(cx).sys);
    const source = this.#source;
    if ((source.ready & WRITE) !== 0) {
      // A repeated connect(2) returns the outcome of the first: 0, its error, or EALREADY. (SO_ERROR is 0 both while
      // connecting and after success, so a spurious poll would look like success.) After EINTR the first connect
      // continues in the background: see connect(2).
      const to = resolveScope(source.sys, address);
      const result = source.sys.connect(source.fd, outgoing().encode(to));
      if (result >= 0) return this.#onConnected(source, to);
      if (result !== -EINPROGRESS && result !== -EALREADY && result !== -EINTR) {
        throw addressError(result, "connect", address);
      }
      source.clearReady(WRITE);
    }
    source.wait(WRITE, this, cx);
    return Pending;
  }

  #open(sys: Sys): Source {
    const local = this.#local;
    const source = openSocket(sys, SOCK_STREAM, this.#address);
    if (local === null && this.#values === undefined) return source;
    try {
      setOptions(new TcpOptions(source), this.#values, "connect: options.options");
      if (local === null) return source;
      if (local.port === 0) setOption(source, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT);
      checkCall(sys.bind(source.fd, outgoing().encode(resolveScope(sys, local))), "bind", local);
      return source;
    } catch (error) {
      source.close();
      throw error;
    }
  }

  #onConnected(source: Source, to: SocketAddress): S | Again {
    const isPortChosen = this.#local === null || this.#local.port === 0;
    if (!isPortChosen || !hasMetItself(source)) {
      this.#source = null;
      source.leave(WRITE, this);
      return this.#wrap(source, peerOf(source, to));
    }
    resetOnClose(source);
    source.leave(WRITE, this);
    source.close();
    this.#source = null;
    if (++this.#selfConnects <= MAX_SELF_CONNECTS) return Again;
    throw new SysError(-ECONNREFUSED, "connect", this.#address);
  }

  override reclaim(stream: S): void {
    stream[Symbol.dispose]();
  }

  protected override release(): void {
    this.#source?.leave(WRITE, this);
    this.#source?.close();
    this.#source = null;
  }

  override describe(): string {
    return `connect ${this.#address.hostname}:${this.#address.port}`;
  }
}

/** Returns true if the socket's peer is the socket itself. The caller has just encoded the destination in `outgoing()`. */
function hasMetItself({ sys, fd }: Source): boolean {
  const [own, peer] = [incoming(), outgoing()];
  if (sys.getsockname(fd, own) < 0 || own.port !== peer.port) return false;
  return sys.getpeername(fd, peer) >= 0 && own.isSameAs(peer); // the destination may have been `::`
}

/** Returns the peer of a connect to `to`. A connect to `0.0.0.0` or `::` reaches the host itself, at an address of its own. */
function peerOf({ sys, fd }: Source, to: SocketAddress): SocketAddress {
  const isAny = /^([0:]*:ffff:)?[0:.]+(%|$)/i.test(to.hostname);
  return isAny && sys.getpeername(fd, incoming()) >= 0 ? incoming().decode() : to;
}

const LOOKUP = -1;
/** The keys of the delays: this one and those below it, so that a delay that a failure has cut short is told apart. */
const FIRST_DELAY = -2;

/**
 * Connects to the first of several addresses that accepts, per RFC 8305: alternates between the families, tries the next
 * address after a delay or a failure, and drops the losers, which closes their sockets.
 */
class HappyEyeballs<S extends Disposable> extends Combinator<number, S> {
  readonly #endpoint: SocketAddress;
  readonly #delayMs: number;
  readonly #start: (to: SocketAddress) => Future<S>;
  #addresses: readonly SocketAddress[] = [];
  /** The index of the next address to try. */
  #next = 0;
  /** By address: its error, once it has failed. */
  readonly #errors: SysError[] = [];
  #failures = 0;

  constructor(endpoint: SocketAddress, delayMs: number, start: (to: SocketAddress) => Future<S>) {
    super();
    this.#endpoint = endpoint;
    this.#delayMs = delayMs;
    this.#start = start;
  }

  /** Begins with a lookup of the addresses. */
  lookUp(addresses: Future<readonly LookupAddress[]>): void {
    this.children.add(LOOKUP, addresses);
  }

  /** Begins with known addresses. */
  begin(addresses: readonly SocketAddress[]): void {
    this.#addresses = addresses;
    this.#tryNext();
  }

  #tryNext(): void {
    const address = this.#addresses[this.#next];
    if (address === undefined) return;
    this.children.add(this.#next++, this.#start(address));
    const hasMore = this.#next < this.#addresses.length;
    if (hasMore) this.children.add(FIRST_DELAY - this.#next, sleep(this.#delayMs));
  }

  protected override onValue(key: number, value: unknown): void {
    if (key >= 0) {
      this.outcome = { value: value as S };
    } else if (key === LOOKUP) {
      this.begin(interleave(value as readonly LookupAddress[], this.#endpoint.port));
    } else if (key === FIRST_DELAY - this.#next) {
      this.#tryNext();
    }
  }

  override onChildError(key: number, error: unknown): void {
    if (key < 0 || !(error instanceof SysError)) {
      this.outcome ??= { error };
      return;
    }
    this.#errors[key] = error;
    if (++this.#failures < this.#addresses.length) {
      this.#tryNext();
      return;
    }
    const isOnly = this.#errors.length === 1;
    this.outcome ??= { error: isOnly ? error : new ConnectError(this.#endpoint, this.#errors) };
  }
}

/** Returns the addresses in the order of the system, but alternating between the families: RFC 8305, section 4. */
function interleave(addresses: readonly LookupAddress[], port: number): SocketAddress[] {
  const first = addresses.filter(({ family }) => family === addresses[0]?.family);
  const second = addresses.filter(({ family }) => family !== addresses[0]?.family);
  const result: SocketAddress[] = [];
  for (let index = 0; index < Math.max(first.length, second.length); index++) {
    for (const one of [first[index], second[index]]) {
      if (one !== undefined) result.push({ hostname: one.address, port });
    }
  }
  return result;
}
