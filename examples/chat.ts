// A chat server: rooms, nicknames, and a policy for slow clients.
//
//   bun run examples/chat.ts [port]     # 127.0.0.1:7001 by default; 0 picks a free port
//   nc 127.0.0.1 7001                   # in two other terminals
//
// Lines go to everyone in the room. Commands: /nick NAME, /join ROOM, /who, /quit.
//
// You will see: the address it listens on, then a line with + for each client that connects, and one with - and the
// reason for each that leaves. Ctrl-C stops it.

import {
  BufReader,
  ctrlC,
  isDisconnect,
  LineTooLongError,
  mpsc,
  type Receiver,
  Runtime,
  race,
  type Sender,
  scope,
  serve,
  TcpListener,
  type TcpStream,
  yieldNow,
} from "../src/index.ts";

const port = process.argv[2] === undefined ? 7001 : Number(process.argv[2]);

/** The longest line a client may send. */
const MAX_LINE_BYTES = 1024;
/** The number of lines that may wait for a slow client. With one more, the client is disconnected. */
const MAX_WAITING_LINES = 1000;

const rooms = new Map<string, Set<Client>>();
let connections = 0;

class Client {
  nick = `guest${++connections}`;
  room = "";
  /** Why the server disconnects this client; null while it does not. */
  reason: string | null = null;
  readonly #stream: TcpStream;
  readonly #outbox: Sender<string>;

  constructor(stream: TcpStream, outbox: Sender<string>) {
    this.#stream = stream;
    this.#outbox = outbox;
  }

  /** Queues a line for this client. Never waits: one slow client must not delay the others. */
  tell(line: string): void {
    if (this.reason !== null || this.#outbox.trySend(`${line}\n`)) return;
    this.reason = "too slow";
    this.#stream.close(); // what is queued would never be sent
  }

  /** Sends what is queued, then disconnects. */
  disconnect(reason: string): void {
    if (this.reason !== null) return;
    this.reason = reason;
    this.#outbox.close();
  }

  join(room: string): void {
    this.leave();
    this.room = room;
    const clients = rooms.get(room) ?? new Set();
    rooms.set(room, clients.add(this));
    this.say(`* ${this.nick} joins ${room}`);
  }

  leave(): void {
    const clients = rooms.get(this.room);
    if (clients === undefined) return;
    this.say(`* ${this.nick} leaves ${this.room}`);
    clients.delete(this);
    if (clients.size === 0) rooms.delete(this.room);
    this.room = "";
  }

  /** Sends a line to everyone in the room. */
  say(line: string): void {
    for (const client of rooms.get(this.room) ?? []) client.tell(line);
  }

  onLine(line: string): void {
    const [command = "", argument = ""] = line.split(" ", 2);
    if (!line.startsWith("/")) this.say(`<${this.nick}> ${line}`);
    else if (command === "/nick" && isName(argument)) this.rename(argument);
    else if (command === "/join" && isName(argument)) this.join(argument);
    else if (command === "/who") this.tell(`* ${this.roomNicks().join(" ")}`);
    else if (command === "/quit") this.disconnect("quit");
    else this.tell("* commands: /nick NAME, /join ROOM, /who, /quit");
  }

  rename(nick: string): void {
    this.say(`* ${this.nick} is now ${nick}`);
    this.nick = nick;
  }

  roomNicks(): string[] {
    return [...(rooms.get(this.room) ?? [])].map(({ nick }) => nick).sort();
  }
}

const isName = (text: string): boolean => /^[\w-]{1,20}$/.test(text);

/** Handles the client's lines. Its end, for whatever reason, closes the outbox, which ends `writeLines`. */
function* readLines(stream: TcpStream, client: Client) {
  const reader = new BufReader(stream);
  try {
    for (;;) {
      const line = yield* reader.readLine({ maxBytes: MAX_LINE_BYTES });
      if (line === null) return client.disconnect("left");
      // A terminal shows control characters as they come: one client could clear the screen of another.
      if (line.trim() !== "") client.onLine(line.replaceAll(/\p{Cc}/gu, "?"));
      yield* yieldNow(); // a client that sends many lines at once must not fill an outbox before its writer runs
    }
  } catch (error) {
    if (error instanceof LineTooLongError) client.disconnect("sent a line that is too long");
    else if (isDisconnect(error)) client.disconnect("lost");
    else throw error;
  }
}

function* writeLines(stream: TcpStream, lines: Receiver<string>) {
  for (;;) {
    const batch = yield* lines.recvMany(MAX_WAITING_LINES);
    if (batch.length === 0) return;
    yield* stream.writev(batch);
  }
}

function* talk(stream: TcpStream) {
  const { hostname, port } = stream.remoteAddress;
  console.log(`+ ${hostname}:${port}`);
  const { sender, receiver } = mpsc<string>(MAX_WAITING_LINES);
  const client = new Client(stream, sender);
  try {
    client.tell(`* welcome, ${client.nick}`);
    client.join("lobby");
    yield* scope(function* (tasks) {
      const reading = tasks.spawn(readLines(stream, client));
      yield* writeLines(stream, receiver);
      reading.abort(); // a client that quits may never send another line
    });
  } finally {
    client.leave();
    console.log(`- ${hostname}:${port} (${client.reason ?? "cancelled"})`);
  }
}

using runtime = new Runtime();
runtime.blockOn(function* () {
  using listener = TcpListener.bind({ hostname: "127.0.0.1", port });
  const { hostname, port: bound } = listener.localAddress;
  console.log(`listening on ${hostname}:${bound}`);
  // A failed connection is reported, and the others go on. On Ctrl-C all are cancelled.
  yield* race(ctrlC(), serve(listener, talk));
});
