// A small Redis server: PING ECHO SET GET DEL EXISTS INCR EXPIRE TTL PUBLISH SUBSCRIBE UNSUBSCRIBE QUIT, in RESP2 and as
// inline commands, with pipelining.
//
//   bun run examples/mini-redis.ts [port]      # 127.0.0.1:6380 by default; 0 picks a free port
//   redis-cli -p 6380 set greeting hello       # in another terminal
//   redis-cli -p 6380 subscribe news           # and publish from a third one
//
// You will see: the address it listens on. Ctrl-C stops it.
//
// Text is latin1 in memory, one character per byte, so that keys and values may be any bytes.

import {
  BufReader,
  ctrlC,
  interval,
  isDisconnect,
  MessageTooLongError,
  now,
  type Receiver,
  Runtime,
  race,
  serve,
  spawn,
  TcpListener,
  type TcpStream,
  type UnboundedSender,
  unboundedMpsc,
  yieldNow,
} from "../src/index.ts";

const port = process.argv[2] === undefined ? 6380 : Number(process.argv[2]);

/** The longest command. A longer one is a protocol error. */
const MAX_COMMAND_BYTES = 1024 * 1024;
/** The bytes that may wait for a slow subscriber. With more, it is disconnected, as Redis does. */
const MAX_WAITING_BYTES = 32 * 1024 * 1024;

// The protocol: https://redis.io/docs/latest/develop/reference/protocol-spec/

class ProtocolError extends Error {}

/** Returns all complete commands at the beginning of `bytes`, or null if there is none. A pure function. */
function decodeCommands(bytes: Uint8Array): { value: string[][]; consumed: number } | null {
  // One string for all: then a word is a slice of it, which copies nothing.
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1");
  const commands: string[][] = [];
  let consumed = 0;
  while (consumed < text.length) {
    try {
      const command = decodeCommand(text, consumed);
      if (command === null) break;
      consumed = command.end;
      if (command.words.length > 0) commands.push(command.words);
    } catch (error) {
      if (consumed === 0) throw error;
      break; // the commands before it are answered first
    }
  }
  return consumed === 0 ? null : { value: commands, consumed };
}

function decodeCommand(text: string, start: number): { words: string[]; end: number } | null {
  const newline = text.indexOf("\n", start);
  if (newline < 0) return null;
  if (text[start] !== "*") {
    const line = text.slice(start, newline).replace("\r", "");
    return { words: line.split(" ").filter((word) => word !== ""), end: newline + 1 };
  }
  const count = decodeLength(text, start, newline, "multibulk", 1024);
  const words: string[] = [];
  let at = newline + 1;
  for (let index = 0; index < count; index++) {
    const lineEnd = text.indexOf("\n", at);
    if (lineEnd < 0) return null;
    if (text[at] !== "$") throw new ProtocolError(`expected '$', got '${text.charAt(at)}'`);
    const length = decodeLength(text, at, lineEnd, "bulk", MAX_COMMAND_BYTES);
    at = lineEnd + 1 + length + 2;
    if (at > text.length) return null;
    words.push(text.slice(lineEnd + 1, at - 2));
  }
  return { words, end: at };
}

/** Returns the number in the line `text[start..newline]`, which begins with a sign and ends with LF or CRLF. */
function decodeLength(
  text: string,
  start: number,
  newline: number,
  what: string,
  max: number,
): number {
  const end = text.charCodeAt(newline - 1) === 13 ? newline - 1 : newline;
  let length = 0;
  for (let at = start + 1; at < end; at++) {
    const digit = text.charCodeAt(at) - 48;
    if (digit < 0 || digit > 9) throw new ProtocolError(`invalid ${what} length`);
    length = length * 10 + digit;
  }
  if (end === start + 1 || length > max) throw new ProtocolError(`invalid ${what} length`);
  return length;
}

const OK = "+OK\r\n";
const NIL = "$-1\r\n";
const SYNTAX_ERROR = "-ERR syntax error\r\n";
const NOT_AN_INTEGER = "-ERR value is not an integer or out of range\r\n";

const bulk = (text: string): string => `$${text.length}\r\n${text}\r\n`;
const integer = (number: number | bigint): string => `:${number}\r\n`;
const array = (items: string[]): string => `*${items.length}\r\n${items.join("")}`;

/** Returns the integer that `text` is, if Redis would accept it. */
function toInteger(text: string): bigint | null {
  if (!/^(?:0|-?[1-9]\d{0,18})$/.test(text)) return null;
  const number = BigInt(text);
  return number === BigInt.asIntN(64, number) ? number : null;
}

/** Returns the positive number of milliseconds that `text` is in `unitMs`. */
function toPositiveMs(text: string | undefined, unitMs: number): number | null {
  const number = text === undefined ? null : toInteger(text);
  return number === null || number <= 0n ? null : Number(number) * unitMs;
}

// The data.

/** Keys with values, some of which expire. Expired keys are removed when they are looked up, and by a sweep. */
class Store {
  readonly #values = new Map<string, string>();
  readonly #deadlines = new Map<string, number>();

  get(key: string): string | undefined {
    const deadlineMs = this.#deadlines.get(key);
    if (deadlineMs !== undefined && deadlineMs <= now()) this.delete(key);
    return this.#values.get(key);
  }

  /** Sets a value. Keeps the key's deadline. */
  set(key: string, value: string): void {
    this.#values.set(copyOf(key), copyOf(value));
  }

  delete(key: string): boolean {
    this.#deadlines.delete(key);
    return this.#values.delete(key);
  }

  expireIn(key: string, ms: number | null): void {
    if (ms === null) this.#deadlines.delete(key);
    else this.#deadlines.set(copyOf(key), now() + ms);
  }

  /** Returns the milliseconds until `key` expires; null if it never does. */
  timeLeft(key: string): number | null {
    const deadlineMs = this.#deadlines.get(key);
    return deadlineMs === undefined ? null : deadlineMs - now();
  }

  sweep(): void {
    for (const key of this.#deadlines.keys()) this.get(key);
  }
}

/** Returns a copy that does not keep the chunk alive of which `text` is a slice. */
const copyOf = (text: string): string => Buffer.from(text, "latin1").toString("latin1");

const store = new Store();
const subscribers = new Map<string, Set<Client>>();

// The commands.

/** One connection. */
class Client {
  readonly #stream: TcpStream;
  readonly #channels = new Set<string>();
  /** Once it has subscribed: its replies and messages, which a task of its own writes. */
  #outbox: UnboundedSender<string> | null = null;
  #waitingBytes = 0;
  hasQuit = false;

  constructor(stream: TcpStream) {
    this.#stream = stream;
  }

  /** Executes a command. Returns its reply. */
  execute([name = "", ...args]: string[]): string {
    const upper = name.toUpperCase();
    const command = COMMANDS.get(upper);
    if (command === undefined) {
      const shown = args.map((arg) => `'${oneLine(arg)}' `).join("");
      return `-ERR unknown command '${oneLine(name)}', with args beginning with: ${shown}\r\n`;
    }
    if (this.#channels.size > 0 && !ALLOWED_IN_SUBSCRIBER.has(upper)) {
      return `-ERR Can't execute '${name.toLowerCase()}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT are allowed in this context\r\n`;
    }
    if (args.length < command.min || args.length > command.max) {
      return `-ERR wrong number of arguments for '${name.toLowerCase()}' command\r\n`;
    }
    return command.run(args, this);
  }

  /** Sends `replies`, after everything sent before. */
  *send(replies: string) {
    if (this.#outbox === null) yield* this.#stream.writeAll(Buffer.from(replies, "latin1"));
    else this.deliver(replies);
  }

  subscribe(channels: string[]): string {
    if (this.#outbox === null) {
      const { sender, receiver } = unboundedMpsc<string>();
      this.#outbox = sender;
      spawn(this.#forward(receiver)).detach();
    }
    return channels
      .map((channel) => {
        this.#channels.add(channel);
        const clients = subscribers.get(channel) ?? new Set();
        subscribers.set(channel, clients.add(this));
        return array([bulk("subscribe"), bulk(channel), integer(this.#channels.size)]);
      })
      .join("");
  }

  unsubscribe(channels: string[]): string {
    const all = channels.length > 0 ? channels : [...this.#channels];
    if (all.length === 0) return array([bulk("unsubscribe"), NIL, integer(0)]);
    return all
      .map((channel) => {
        this.#channels.delete(channel);
        const clients = subscribers.get(channel);
        clients?.delete(this);
        if (clients?.size === 0) subscribers.delete(channel);
        return array([bulk("unsubscribe"), bulk(channel), integer(this.#channels.size)]);
      })
      .join("");
  }

  ping(message: string | undefined): string {
    if (this.#channels.size > 0) return array([bulk("pong"), bulk(message ?? "")]);
    return message === undefined ? "+PONG\r\n" : bulk(message);
  }

  /** Delivers a message to a subscriber. Disconnects a subscriber that does not keep up. */
  deliver(message: string): void {
    this.#waitingBytes += message.length;
    if (this.#waitingBytes > MAX_WAITING_BYTES) this.#stream.close();
    else this.#outbox?.send(message);
  }

  /** Writes a subscriber's messages until its connection ends. */
  *#forward(receiver: Receiver<string>) {
    try {
      for (;;) {
        const messages = yield* receiver.recvMany(10_000);
        if (messages.length === 0) return;
        const text = messages.join("");
        yield* this.#stream.writeAll(Buffer.from(text, "latin1"));
        this.#waitingBytes -= text.length;
      }
    } catch (error) {
      if (!isDisconnect(error)) throw error;
      this.#stream.close();
    }
  }

  close(): void {
    this.unsubscribe([]);
    this.#outbox?.close();
  }
}

const oneLine = (text: string): string => text.slice(0, 128).replaceAll(/[\r\n]/g, " ");

interface Command {
  /** The numbers of arguments that are allowed. */
  readonly min: number;
  readonly max: number;
  run(args: string[], client: Client): string;
}

const ALLOWED_IN_SUBSCRIBER: ReadonlySet<string> = new Set([
  "SUBSCRIBE",
  "UNSUBSCRIBE",
  "PING",
  "QUIT",
]);

function set([key = "", value = "", ...options]: string[]): string {
  let lifetimeMs: number | null = null;
  let condition: string | null = null;
  for (let index = 0; index < options.length; index++) {
    const option = options[index]?.toUpperCase() ?? "";
    if ((option === "EX" || option === "PX") && lifetimeMs === null) {
      const amount = options[++index];
      if (amount === undefined) return SYNTAX_ERROR;
      if (toInteger(amount) === null) return NOT_AN_INTEGER;
      lifetimeMs = toPositiveMs(amount, option === "EX" ? 1000 : 1);
      if (lifetimeMs === null) return "-ERR invalid expire time in 'set' command\r\n";
    } else if ((option === "NX" || option === "XX") && condition === null) {
      condition = option;
    } else return SYNTAX_ERROR;
  }
  const exists = store.get(key) !== undefined;
  if (condition === (exists ? "NX" : "XX")) return NIL;
  store.set(key, value);
  store.expireIn(key, lifetimeMs);
  return OK;
}

function incr(key: string): string {
  const old = toInteger(store.get(key) ?? "0");
  if (old === null) return NOT_AN_INTEGER;
  const sum = old + 1n;
  if (sum !== BigInt.asIntN(64, sum)) return "-ERR increment or decrement would overflow\r\n";
  store.set(key, `${sum}`);
  return integer(sum);
}

function expire(key: string, seconds: string): string {
  const number = toInteger(seconds);
  if (number === null) return NOT_AN_INTEGER;
  if (store.get(key) === undefined) return integer(0);
  if (number <= 0n) store.delete(key);
  else store.expireIn(key, Number(number) * 1000);
  return integer(1);
}

function timeToLive(key: string): string {
  if (store.get(key) === undefined) return integer(-2);
  const ms = store.timeLeft(key);
  return integer(ms === null ? -1 : Math.round(ms / 1000));
}

function publish(channel: string, message: string): string {
  const clients = [...(subscribers.get(channel) ?? [])];
  const delivery = array([bulk("message"), bulk(channel), bulk(message)]);
  for (const client of clients) client.deliver(delivery);
  return integer(clients.length);
}

const count = (keys: string[], test: (key: string) => boolean): string =>
  integer(keys.filter(test).length);

const COMMANDS: ReadonlyMap<string, Command> = new Map<string, Command>([
  ["PING", { min: 0, max: 1, run: ([message], client) => client.ping(message) }],
  ["ECHO", { min: 1, max: 1, run: ([message = ""]) => bulk(message) }],
  ["SET", { min: 2, max: 6, run: set }],
  ["GET", { min: 1, max: 1, run: ([key = ""]) => bulkOrNil(store.get(key)) }],
  [
    "DEL",
    { min: 1, max: 1024, run: (keys) => count(keys, (key) => hasKey(key) && store.delete(key)) },
  ],
  ["EXISTS", { min: 1, max: 1024, run: (keys) => count(keys, hasKey) }],
  ["INCR", { min: 1, max: 1, run: ([key = ""]) => incr(key) }],
  ["EXPIRE", { min: 2, max: 2, run: ([key = "", seconds = ""]) => expire(key, seconds) }],
  ["TTL", { min: 1, max: 1, run: ([key = ""]) => timeToLive(key) }],
  ["PUBLISH", { min: 2, max: 2, run: ([channel = "", text = ""]) => publish(channel, text) }],
  ["SUBSCRIBE", { min: 1, max: 1024, run: (channels, client) => client.subscribe(channels) }],
  ["UNSUBSCRIBE", { min: 0, max: 1024, run: (channels, client) => client.unsubscribe(channels) }],
  [
    "QUIT",
    {
      min: 0,
      max: 0,
      run(_args, client) {
        client.hasQuit = true;
        return OK;
      },
    },
  ],
]);

const bulkOrNil = (value: string | undefined): string => (value === undefined ? NIL : bulk(value));
const hasKey = (key: string): boolean => store.get(key) !== undefined;

// The server.

function* talk(stream: TcpStream) {
  stream.setNoDelay();
  const reader = new BufReader(stream);
  const client = new Client(stream);
  // One chunk of the stream may follow an incomplete command.
  const limit = { maxBytes: MAX_COMMAND_BYTES + 128 * 1024 };
  try {
    while (!client.hasQuit) {
      const commands = yield* reader.readFrame(decodeCommands, limit);
      if (commands === null) return;
      let replies = "";
      for (const command of commands) {
        replies += client.execute(command);
        if (client.hasQuit) break;
      }
      // All replies to one chunk leave in one write.
      yield* client.send(replies);
      // A client that always has a chunk ready must not fill a subscriber's outbox before its writer gets a turn.
      yield* yieldNow();
    }
  } catch (error) {
    const isTooLong = error instanceof MessageTooLongError;
    if (!isTooLong && !(error instanceof ProtocolError)) throw error;
    const reason = isTooLong ? "the command is too long" : oneLine(error.message);
    yield* client.send(`-ERR Protocol error: ${reason}\r\n`);
    yield* yieldNow(); // a subscriber's outbox: its writer gets a turn
    // The client may still be sending. A plain close would reset the connection, and the answer with it.
    yield* stream.finish({ timeoutMs: 1000 });
  } finally {
    client.close();
  }
}

using runtime = new Runtime();
runtime.blockOn(function* () {
  using listener = TcpListener.bind({ hostname: "127.0.0.1", port });
  const { hostname, port: bound } = listener.localAddress;
  console.log(`listening on ${hostname}:${bound}`);
  spawn(function* () {
    const seconds = interval(1000);
    for (;;) {
      yield* seconds.tick();
      store.sweep();
    }
  }).detach();
  // A failed connection is reported, and the others go on. On Ctrl-C all are cancelled.
  yield* race(ctrlC(), serve(listener, talk));
});
