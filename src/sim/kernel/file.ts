// SimFile: an open file of the simulated kernel, as epoll and the fd table know it. Watch: one registration of it.
//
// A file lives as long as it has references: the fds that are open on it, and the messages that carry it (SCM_RIGHTS).
//
// Facts about Linux's epoll, and what they mean for this code:
// - A file wakes its wait queue with a *key*: the events that may have begun; 0 stands for any. The key only decides
//   whether a registration goes to the ready list. What `epoll_wait` reports is the file's state at that time. So
//   an edge of one kind (data) also reports every other condition that holds (room for writes).
// - A registration belongs to a file and to the fd that was registered. It ends with the file: while a message or another
//   fd refers to the file, a registration goes on to report after its own fd was closed.
// - A wait queue is last in, first out: of two registrations of one file, the later one is woken first.
// - Wakes coalesce: a registration is in the ready list at most once, and stays in the place of its first wake.

import { EPOLLERR, EPOLLHUP } from "../../sys/epoll.ts";
import { EINVAL, ENOTSOCK } from "../../sys/errno.ts";

/** The wake of a change that has no event of its own: it wakes every registration. */
export const ANY = 0;

/** What a Watch reports to: an epoll instance. */
export interface WatchOwner {
  onReady(watch: Watch): void;
  /** The file is about to close. */
  onFileClose(watch: Watch): void;
}

/** One file that is registered with an epoll instance. */
export class Watch {
  readonly owner: WatchOwner;
  readonly file: SimFile;
  readonly fd: number;
  events = 0;
  slot = 0;
  generation = 0;
  /** In the ready list. */
  isListed = false;
  isRemoved = false;

  constructor(owner: WatchOwner, file: SimFile, fd: number) {
    this.owner = owner;
    this.file = file;
    this.fd = fd;
  }

  /** The events to report: what holds now and was asked for. */
  get current(): number {
    return this.file.poll(this.events) & (this.events | EPOLLERR | EPOLLHUP);
  }
}

export abstract class SimFile {
  /** The registrations of this file, the latest first. */
  readonly watches: Watch[] = [];
  private references = 1;
  /** What F_GETFL returns. */
  flags: number;

  constructor(flags: number) {
    this.flags = flags;
  }

  /** Returns the conditions that hold now, as epoll bits. `requested` are those that the caller waits for. */
  abstract poll(requested: number): number;

  /** Called when the last reference ends, after epoll has forgotten the file. */
  protected abstract close(): void;

  addReference(): void {
    this.references++;
  }

  /** Ends a reference unless it is the last one. Returns whether it did. */
  dropSharedReference(): boolean {
    if (this.references === 1) return false;
    this.references--;
    return true;
  }

  /** Ends a reference. The last one closes the file. */
  dropReference(): void {
    if (--this.references > 0) return;
    for (const watch of [...this.watches]) watch.owner.onFileClose(watch);
    this.close();
  }

  read(_buffer: Uint8Array): number {
    return -EINVAL;
  }

  write(_data: Uint8Array): number {
    return -EINVAL;
  }

  /** Writes one piece after the other, as the kernel does for files that know no vectors. */
  writev(pieces: readonly Uint8Array[]): number {
    let count = 0;
    for (const piece of pieces.slice(0, MAX_PIECES)) {
      const written = this.write(piece);
      if (written < 0) return count > 0 ? count : written;
      count += written;
      if (written < piece.length) break;
    }
    return count;
  }

  /** Returns -ENOTSOCK for a file that is not a socket. */
  shutdown(_how: number): number {
    return -ENOTSOCK;
  }

  /** Wakes the registrations that wait for one of the events in `key`. */
  wake(key: number): void {
    const { watches } = this;
    for (let index = 0; index < watches.length; index++) {
      const watch = watches[index]!;
      if (key !== ANY && (key & (watch.events | EPOLLERR | EPOLLHUP)) === 0) continue;
      watch.owner.onReady(watch);
    }
  }
}

/** The most pieces of one call, as in the real Sys. */
const MAX_PIECES = 64;

/** Returns the first 64 pieces as one. */
export function concatenate(pieces: readonly Uint8Array[]): Uint8Array {
  return pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces.slice(0, MAX_PIECES));
}
