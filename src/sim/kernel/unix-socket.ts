// UnixSocket: what all unix sockets share: addresses, connections, credentials, the queue of what arrived, and its room.
// See unix(7). unix-stream.ts and unix-packets.ts add how bytes and messages travel.
//
// Facts about Linux, and what they mean for this code:
// - What one socket sends is in the queue of the other at once. It counts as the sender's until it has been read. A send
//   fails with EAGAIN once a whole buffer is queued; the sender is writable again when a quarter is.
// - A connect completes at once: the other end exists, and can be written to, before the listener accepts it. A backlog of
//   n holds n + 1 connections; the next connect fails with EAGAIN, and no event says when there is room.
// - A socket that is closed with unread data resets its peer. The peer still knows its name.
// - Many datagram sockets may send to one, whose queue holds 11 messages. A full queue is not writable for those that are
//   connected to it. The others wait for it only if a send or a poll has found it full.

import { EPOLLOUT } from "../../sys/epoll.ts";
import {
  EAGAIN,
  ECONNREFUSED,
  ECONNRESET,
  EINVAL,
  ENOTCONN,
  EOPNOTSUPP,
  EPIPE,
} from "../../sys/errno.ts";
import { AF_UNIX, type SockaddrBuffer, type UnixAddress } from "../../sys/sockaddr.ts";
import { SO_PASSCRED, SOCK_DGRAM, SOL_SOCKET } from "../../sys/socket.ts";
import { EISCONN } from "./errno.ts";
import { ANY, type SimFile } from "./file.ts";
import { BUFFER_BYTES, SHUT_BOTH, SHUT_RECEIVE, SHUT_SEND, SimSocket } from "./sim-socket.ts";
import type { NetStack } from "./stack.ts";
import type { Named } from "./unix-names.ts";

/** The process at one end. */
export interface Credentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

const NO_PEER: Credentials = { pid: 0, uid: -1, gid: -1 };
/** Of a message whose sender and receiver did not ask for credentials: no process, and the overflow ids. */
const UNKNOWN_SENDER: Credentials = { pid: 0, uid: 65_534, gid: 65_534 };
/** What the kernel adds to each message: struct skb_shared_info behind the data, and struct sk_buff. */
const SHARED_INFO_BYTES = 320;
const BUFFER_HEAD_BYTES = 256;
const SMALLEST_ALLOCATION = 512;
const PAGE_BYTES = 4096;
/** net.unix.max_dgram_qlen. */
const MAX_QUEUED = 10;
const SOMAXCONN = 4096;
/** The lengths of struct sockaddr_un without and with a name. */
const FAMILY_BYTES = 2;
const MAX_ADDRESS_BYTES = 110;

/** A message in a queue, or a piece of a stream. Owns a reference to each file. */
export class UnixMessage {
  readonly sender: UnixSocket;
  readonly data: Uint8Array;
  files: readonly SimFile[];
  credentials: Credentials;
  /** How many bytes of a stream have been read. */
  consumed = 0;
  private readonly memory: number;

  constructor(sender: UnixSocket, data: Uint8Array, files: readonly SimFile[]) {
    this.sender = sender;
    this.data = new Uint8Array(data); // not `slice`, which for a Buffer returns a view
    this.files = files;
    this.credentials = UNKNOWN_SENDER;
    this.memory = memoryOf(data.length, sender.maxLinear);
    for (const file of files) file.addReference();
    sender.onSent(this.memory);
  }

  /** Hands the files over. */
  takeFiles(): readonly SimFile[] {
    const { files } = this;
    this.files = [];
    return files;
  }

  /** The message has left its queue: its room is free, and files that nobody took are closed. */
  free(): void {
    this.sender.stack.releaseLater(this.takeFiles());
    this.sender.onFreed(this.memory);
  }
}

/** Returns how many bytes of the sender's buffer a message takes: the kernel allocates powers of two, and then pages. */
function memoryOf(length: number, maxLinear: number): number {
  const pages = (bytes: number): number => Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES;
  const paged = length <= maxLinear ? 0 : Math.min(pages(length - maxLinear), length);
  let linear = SMALLEST_ALLOCATION;
  while (linear < length - paged + SHARED_INFO_BYTES) linear *= 2;
  return linear + BUFFER_HEAD_BYTES + pages(paged);
}

/** What comes along with data. The receiver owns a reference to each file. */
export interface Received {
  name: UnixAddress;
  isTruncated: boolean;
  /** null unless SO_PASSCRED is on. */
  credentials: Credentials | null;
  files: readonly SimFile[];
}

export const nothingReceived = (): Received => ({
  name: "",
  isTruncated: false,
  credentials: null,
  files: [],
});

export abstract class UnixSocket extends SimSocket implements Named {
  override readonly protocol: number = 0;
  name: UnixAddress = "";
  inode = 0;
  /** The process that opened the socket. */
  readonly credentials: Credentials;
  peerCredentials: Credentials = NO_PEER;
  protected state: "closed" | "listen" | "established" = "closed";
  /** Stays when the peer is closed. */
  peer: UnixSocket | null = null;
  protected isDead = false;
  /** Not accepted yet. */
  private isPending = false;
  protected readonly queue: UnixMessage[] = [];
  /** Of a listener: the connections that wait. */
  private readonly pending: UnixSocket[] = [];
  private backlog = MAX_QUEUED;
  /** How many bytes of its buffer the messages of this socket take that are in queues. */
  private sentBytes = 0;
  /** Those that wait for room in the queue, the latest first (peer_wait). */
  private waiters: UnixSocket[] = [];
  /** Whose queue this socket waits for (peer_wake). */
  private awaited: UnixSocket | null = null;

  constructor(stack: NetStack, type: number, credentials: Credentials) {
    super(stack, AF_UNIX, type);
    this.credentials = credentials;
  }

  /** The longest message that the kernel keeps in one piece of memory. */
  abstract readonly maxLinear: number;
  /** Returns a new socket of the same kind. */
  protected abstract create(credentials: Credentials): UnixSocket;
  /** Receives, and writes to `received` what comes along; null drops it. */
  abstract receive(buffer: Uint8Array, flags: number, received: Received | null): number;
  /** What a send checks before it looks at its control messages. Returns 0 or the negative errno. */
  beginSend(): number {
    return 0;
  }

  /** Sends with `files`, which the caller keeps. */
  abstract transmit(data: Uint8Array, to: SockaddrBuffer | null, files: readonly SimFile[]): number;

  get isListening(): boolean {
    return this.state === "listen";
  }

  protected get isConnectionOriented(): boolean {
    return this.type !== SOCK_DGRAM;
  }

  /** Connects two new sockets to each other. */
  static join(a: UnixSocket, b: UnixSocket): void {
    for (const [socket, peer] of [
      [a, b],
      [b, a],
    ] as const) {
      socket.peer = peer;
      socket.state = "established";
      socket.peerCredentials = peer.credentials;
    }
  }

  // Addresses.

  override bind(address: SockaddrBuffer): number {
    const isUnix = address.family === AF_UNIX;
    if (isUnix && address.length[0] === FAMILY_BYTES) return this.stack.unix.bind(this, "");
    const name = nameIn(address);
    return typeof name === "number" ? name : this.stack.unix.bind(this, name);
  }

  override writeName(address: SockaddrBuffer): void {
    address.reset().encodeUnix(this.name);
  }

  override writePeerName(address: SockaddrBuffer): number {
    if (this.peer === null) return -ENOTCONN;
    address.reset().encodeUnix(this.peer.name);
    return 0;
  }

  /** Finds the socket of an address. Returns it, or a negative errno. */
  protected find(name: UnixAddress): UnixSocket | number {
    return this.stack.unix.find(this.type, name) as UnixSocket | number; // nothing else is bound there
  }

  // Connections.

  override listen(backlog: number): number {
    if (!this.isConnectionOriented) return -EOPNOTSUPP;
    if (this.name === "" || this.state === "established") return -EINVAL;
    this.backlog = Math.min(backlog >>> 0, SOMAXCONN);
    this.state = "listen";
    this.peerCredentials = this.credentials;
    return 0;
  }

  override connect(address: SockaddrBuffer): number {
    const name = nameIn(address);
    if (typeof name === "number") return name;
    this.bindForCredentials();
    const other = this.find(name);
    if (typeof other === "number") return other;
    if (other.state !== "listen" || (other.shutdownBits & SHUT_RECEIVE) !== 0) return -ECONNREFUSED;
    if (other.isFull) return -EAGAIN;
    if (this.state !== "closed") return this.state === "established" ? -EISCONN : -EINVAL;
    const child = this.create(other.credentials);
    UnixSocket.join(child, this);
    child.name = other.name;
    child.isPending = true;
    child.options.set(PASSCRED_KEY, other.option(SOL_SOCKET, SO_PASSCRED));
    other.pending.push(child);
    other.onArrival();
    return 0;
  }

  override accept(): UnixSocket | number {
    if (!this.isConnectionOriented) return -EOPNOTSUPP;
    if (this.state !== "listen") return -EINVAL;
    if (this.error !== 0) return this.takeError();
    const child = this.pending.shift();
    if (child === undefined) return -EAGAIN;
    child.isPending = false;
    return child;
  }

  override shutdown(how: number): number {
    const bits = this.shutdownBitsOf(how);
    if (bits < 0) return bits;
    this.shutdownBits |= bits;
    this.wake(ANY);
    const { peer } = this;
    if (peer === null || !this.isConnectionOriented) return 0;
    if ((bits & SHUT_RECEIVE) !== 0) peer.shutdownBits |= SHUT_SEND;
    if ((bits & SHUT_SEND) !== 0) peer.shutdownBits |= SHUT_RECEIVE;
    peer.wake(ANY);
    return 0;
  }

  override close(): void {
    const { peer } = this;
    this.stack.unix.unbind(this);
    this.isDead = true;
    this.shutdownBits = SHUT_BOTH;
    this.state = "closed";
    this.peer = null;
    this.wakeWaiters(ANY);
    if (peer !== null) {
      if (this.isConnectionOriented) {
        peer.shutdownBits = SHUT_BOTH;
        if (this.queue.length > 0 || this.isPending) peer.error = ECONNRESET;
        peer.wake(ANY);
      }
      this.stopWaitingFor(peer);
    }
    for (const child of this.pending.splice(0)) child.close();
    this.clearQueue();
  }

  // Options.

  override setsockopt(level: number, option: number, value: number): number {
    const isFlag = level === SOL_SOCKET && option === SO_PASSCRED;
    return super.setsockopt(level, option, isFlag ? Number(value !== 0) : value);
  }

  protected override checkLevel(level: number): number {
    return level === SOL_SOCKET ? 0 : -EOPNOTSUPP;
  }

  protected get passesCredentials(): boolean {
    return this.option(SOL_SOCKET, SO_PASSCRED) !== 0;
  }

  /** A socket that asks for credentials gets a name before it sends: the receiver can answer. */
  protected bindForCredentials(): void {
    if (this.passesCredentials) this.stack.unix.bind(this, "");
  }

  // Reading and writing.

  override receiveFrom(buffer: Uint8Array, flags: number, from: SockaddrBuffer | null): number {
    if (from === null) return this.receive(buffer, flags, null);
    const received = nothingReceived();
    const count = this.receive(buffer, flags, received);
    this.stack.releaseLater(received.files);
    writeSender(from, received.name);
    return count;
  }

  override sendTo(data: Uint8Array, to: SockaddrBuffer | null): number {
    return this.transmit(data, to, []);
  }

  protected get hasArrivals(): boolean {
    return this.queue.length > 0 || this.pending.length > 0;
  }

  /** True if the queue holds more than the backlog. */
  protected get isFull(): boolean {
    return Math.max(this.queue.length, this.pending.length) > this.backlog;
  }

  protected get isWritable(): boolean {
    return this.state !== "listen" && (this.sentBytes + 1) * 4 <= BUFFER_BYTES;
  }

  /** Returns 0 if a message may be sent now, or the negative errno. */
  protected checkSend(): number {
    if (this.error !== 0) return this.takeError();
    if ((this.shutdownBits & SHUT_SEND) !== 0) return -EPIPE;
    return this.sentBytes < BUFFER_BYTES ? 0 : -EAGAIN;
  }

  /** Puts a message into the queue of this socket. */
  protected enqueue(message: UnixMessage): void {
    const { sender } = message;
    if (sender.passesCredentials || this.passesCredentials || this.isPending) {
      message.credentials = sender.credentials;
    }
    this.queue.push(message);
    this.onArrival();
  }

  protected abstract onArrival(): void;

  /** True if nobody will read what is sent to this socket. */
  protected get isDeaf(): boolean {
    return this.isDead || (this.shutdownBits & SHUT_RECEIVE) !== 0;
  }

  /** Hands the files of a message over to `received`. A peek leaves them in the message, too. */
  protected pass(message: UnixMessage, isPeek: boolean, received: Received | null): void {
    if (received === null) {
      if (!isPeek) this.stack.releaseLater(message.takeFiles());
      return;
    }
    if (isPeek) for (const file of message.files) file.addReference();
    received.files = isPeek ? message.files : message.takeFiles();
  }

  protected clearQueue(): void {
    for (const message of this.queue.splice(0)) message.free();
  }

  onSent(bytes: number): void {
    this.sentBytes += bytes;
  }

  /** A message of this socket was read, or dropped. */
  onFreed(bytes: number): void {
    this.sentBytes -= bytes;
    if (this.isWritable) this.wake(EPOLLOUT);
  }

  // Waiting for room in the queue of another socket.

  /** Waits for room in the queue of `other` if that is full. Returns whether it is. */
  protected awaitsRoomOf(other: UnixSocket): boolean {
    const isNew = this.awaited === null;
    if (isNew) {
      this.awaited = other;
      other.waiters.unshift(this);
    }
    if (other.isFull && !other.isDead) return true;
    if (isNew) this.stopWaitingFor(other);
    return false;
  }

  protected stopWaitingFor(other: UnixSocket): void {
    if (this.awaited !== other) return;
    this.awaited = null;
    other.waiters.splice(other.waiters.indexOf(this), 1);
  }

  protected wakeWaiters(key: number): void {
    for (const waiter of this.waiters.splice(0)) {
      waiter.awaited = null;
      waiter.wake(key);
    }
  }
}

const PASSCRED_KEY = SOL_SOCKET * 1024 + SO_PASSCRED;

/** Returns the name in `address`, or -EINVAL if it has none. */
export function nameIn(address: SockaddrBuffer): UnixAddress | number {
  const length = address.length[0]!;
  if (address.family !== AF_UNIX || length <= FAMILY_BYTES || length > MAX_ADDRESS_BYTES)
    return -EINVAL;
  return address.decodeUnix();
}

/** Writes the sender of a message, as recvmsg(2) does: a sender without a name has an address without bytes. */
export function writeSender(from: SockaddrBuffer, name: UnixAddress): void {
  if (name === "") from.reset().length[0] = 0;
  else from.reset().encodeUnix(name);
}
