// Inbox: holds the datagrams that one recvmmsg received until `recv` calls ask for them.
//
// Batches save syscalls, each of which costs 1 of the 7 µs that a small datagram takes. And a recvmmsg that returns
// fewer datagrams than it had room for has drained the socket, which saves the call that would return EAGAIN.
//
// Invariant: the kernel's readiness and the inbox are independent. A socket may be drained while its inbox holds
// datagrams. An edge that arrives in that state is not lost: it marks the source readable again.

import type { Source } from "../io/source.ts";
import { Datagrams } from "../sys/datagrams.ts";
import type { SocketAddress } from "../sys/sockaddr.ts";
import { MSG_TRUNC } from "../sys/socket.ts";
import { incoming } from "./socket.ts";

/** Datagrams per recvmmsg. Their buffers span 1 MB of address space; only pages that receive data use memory. */
const BATCH_SIZE = 16;
/** The first receives of a socket use recvfrom, so that a client that asks a question or two allocates no batch. */
const SINGLE_RECEIVES = 8;

export class Inbox {
  private batch: Datagrams | null = null;
  private singleReceives = 0;
  /** The index in the batch of the next datagram to return. */
  private next = 0;
  /** The number of datagrams in the batch. */
  private count = 0;
  /** The sender of the datagram that `receive` returned last. */
  address: SocketAddress | null = null;

  get isEmpty(): boolean {
    return this.next === this.count;
  }

  get size(): number {
    return this.count - this.next;
  }

  /** The name of the syscall that refills the inbox, for errors. */
  get syscall(): string {
    return this.batch === null ? "recvfrom" : "recvmmsg";
  }

  /** Copies the next datagram into `buffer`. Returns the datagram's full length, or a negative errno. */
  receive(source: Source, buffer: Uint8Array): number {
    if (this.isEmpty) {
      if (this.singleReceives < SINGLE_RECEIVES) return this.receiveOne(source, buffer);
      const count = this.fill(source);
      if (count < 0) return count;
    }
    const batch = this.batch!; // the inbox is not empty
    const index = this.next++;
    batch.copy(index, buffer);
    this.address = batch.from(index);
    return batch.length(index);
  }

  /** Receives directly into `buffer`. MSG_TRUNC makes recvfrom return the datagram's full length. */
  private receiveOne({ sys, fd }: Source, buffer: Uint8Array): number {
    const length = sys.recvfrom(fd, buffer, MSG_TRUNC, incoming());
    if (length < 0) return length;
    this.singleReceives++;
    this.address = incoming().decode();
    return length;
  }

  /** Receives a batch. Returns the number of datagrams or the negative errno. */
  private fill(source: Source): number {
    this.batch ??= new Datagrams(BATCH_SIZE);
    const count = source.sys.recvmmsg(source.fd, this.batch);
    if (count < 0) return count;
    if (count < BATCH_SIZE) source.onShortRead();
    this.next = 0;
    this.count = count;
    return count;
  }
}
