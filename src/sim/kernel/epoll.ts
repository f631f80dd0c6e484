// SimEpoll: an epoll instance. Reports what Linux reports, in the same order. See epoll(7), and file.ts for the facts.

import { EPOLLET, type EpollEvents } from "../../sys/epoll.ts";
import { EINVAL, ENOENT, EPERM } from "../../sys/errno.ts";
import { EEXIST } from "./errno.ts";
import { SimFile, Watch, type WatchOwner } from "./file.ts";

const O_RDWR = 2;

export class SimEpoll extends SimFile implements WatchOwner {
  private readonly watched = new Set<Watch>();
  /** Registrations that were woken since the last wait, oldest first; level-triggered ones stay. */
  private ready: Watch[] = [];
  private spare: Watch[] = [];

  constructor() {
    super(O_RDWR);
  }

  /** True if the next wait may return events. */
  get hasReady(): boolean {
    return this.ready.length > 0;
  }

  override poll(): number {
    return 0;
  }

  override close(): void {
    for (const watch of this.watched) this.remove(watch);
    this.ready.length = 0;
  }

  add(file: SimFile, fd: number, events: number, slot: number, generation: number): number {
    if (file instanceof SimEpoll) return file === this ? -EINVAL : -EPERM;
    if (this.find(file, fd) !== undefined) return -EEXIST;
    const watch = new Watch(this, file, fd);
    this.watched.add(watch);
    file.watches.unshift(watch);
    return this.set(watch, events, slot, generation);
  }

  modify(file: SimFile, fd: number, events: number, slot: number, generation: number): number {
    const watch = this.find(file, fd);
    return watch === undefined ? -ENOENT : this.set(watch, events, slot, generation);
  }

  delete(file: SimFile, fd: number): number {
    const watch = this.find(file, fd);
    if (watch === undefined) return -ENOENT;
    this.remove(watch);
    return 0;
  }

  /** Fills `events` and returns their number. Never waits. */
  collect(events: EpollEvents): number {
    const list = this.ready;
    this.ready = this.spare;
    let count = 0;
    let index = 0;
    for (; index < list.length && count < events.capacity; index++) {
      const watch = list[index]!;
      watch.isListed = false;
      if (watch.isRemoved) continue;
      const current = watch.current;
      if (current === 0) continue;
      events.set(count++, current, watch.slot, watch.generation);
      if ((watch.events & EPOLLET) === 0) this.onReady(watch);
    }
    if (index < list.length) this.ready.unshift(...list.slice(index));
    list.length = 0;
    this.spare = list;
    return count;
  }

  onReady(watch: Watch): void {
    if (watch.isListed || watch.isRemoved) return;
    watch.isListed = true;
    this.ready.push(watch);
  }

  onFileClose(watch: Watch): void {
    this.remove(watch);
  }

  private find(file: SimFile, fd: number): Watch | undefined {
    return file.watches.find((watch) => watch.owner === this && watch.fd === fd);
  }

  private set(watch: Watch, events: number, slot: number, generation: number): number {
    watch.events = events;
    watch.slot = slot;
    watch.generation = generation;
    if (watch.current !== 0) this.onReady(watch);
    return 0;
  }

  private remove(watch: Watch): void {
    watch.isRemoved = true;
    this.watched.delete(watch);
    const { watches } = watch.file;
    watches.splice(watches.indexOf(watch), 1);
  }
}
