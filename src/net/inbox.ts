// Inbox: datagrams that one call took from a socket together, until they are asked for.
//
// A system call costs as much as all else that a small datagram does (1 us of 7). And a call that brings
// fewer than there was room for has drained the socket: the one that says EAGAIN is not made.
//
// What must hold: the kernel's readiness and the inbox are two things. A socket may be drained while the
// inbox is not empty, and an edge that comes meanwhile is not lost: it makes the source readable again.

import type { Source } from "../io/source.ts";
import { Datagrams } from "../sys/datagrams.ts";
import type { SocketAddress } from "../sys/sockaddr.ts";
import { MSG_TRUNC } from "../sys/socket.ts";
import { incoming } from "./socket.ts";

/** So many datagrams at once, in 1 MB of address space; what is touched of it is what comes in. */
const AT_ONCE = 16;
/** A socket that receives no more than this (a client with a question or two) needs no such room. */
const ONE_BY_ONE = 8;

export class Inbox {
  #batch: Datagrams | null = null;
  #received = 0;
  /** Of the batch: the next to be given out, and how many there are. */
  #next = 0;
  #count = 0;
  /** Who sent the latest that was given out. */
  address: SocketAddress | null = null;

  get isEmpty(): boolean {
    return this.#next === this.#count;
  }

  /** The call that fills it now. */
  get call(): string {
    return this.#batch === null ? "recvfrom" : "recvmmsg";
  }

  /** The next datagram, into `buffer`: its own length, or the negative errno. */
  receive(source: Source, buffer: Uint8Array): number {
    if (this.isEmpty) {
      if (this.#received < ONE_BY_ONE) return this.#receiveOne(source, buffer);
      const count = this.#fill(source);
      if (count < 0) return count;
    }
    const batch = this.#batch!; // not empty
    const index = this.#next++;
    batch.copy(index, buffer);
    this.address = batch.from(index);
    return batch.length(index);
  }

  /** With MSG_TRUNC the result is the datagram's own length. */
  #receiveOne({ sys, fd }: Source, buffer: Uint8Array): number {
    const length = sys.recvfrom(fd, buffer, MSG_TRUNC, incoming());
    if (length < 0) return length;
    this.#received++;
    this.address = incoming().decode();
    return length;
  }

  #fill(source: Source): number {
    this.#batch ??= new Datagrams(AT_ONCE);
    const count = source.sys.recvmmsg(source.fd, this.#batch);
    if (count < 0) return count;
    if (count < AT_ONCE) source.onShortRead();
    this.#next = 0;
    this.#count = count;
    return count;
  }
}
