// SimEventfd and SimTimerfd: the counters behind eventfd(2) and timerfd_create(2).

import { EPOLLERR, EPOLLIN, EPOLLOUT } from "../../sys/epoll.ts";
import { EAGAIN, EINVAL } from "../../sys/errno.ts";
import { O_NONBLOCK } from "../../sys/socket.ts";
import type { Agenda, Appointment } from "./agenda.ts";
import { SimFile } from "./file.ts";

const O_RDWR = 2;
/** The largest count of an eventfd is one less than this. */
const FULL = 0xffff_ffff_ffff_ffffn;

function store(buffer: Uint8Array, count: bigint): number {
  if (buffer.length < 8) return -EINVAL;
  new DataView(buffer.buffer, buffer.byteOffset).setBigUint64(0, count, true);
  return 8;
}

export class SimEventfd extends SimFile {
  private count = 0n;

  constructor() {
    super(O_RDWR | O_NONBLOCK);
  }

  override poll(): number {
    const { count } = this;
    let events = count > 0n ? EPOLLIN : 0;
    if (count === FULL) events |= EPOLLERR;
    if (count < FULL - 1n) events |= EPOLLOUT;
    return events;
  }

  override read(buffer: Uint8Array): number {
    if (buffer.length < 8) return -EINVAL;
    if (this.count === 0n) return -EAGAIN;
    store(buffer, this.count);
    this.count = 0n;
    this.wake(EPOLLOUT);
    return 8;
  }

  override write(data: Uint8Array): number {
    if (data.length !== 8) return -EINVAL;
    const added = new DataView(data.buffer, data.byteOffset).getBigUint64(0, true);
    if (added === FULL) return -EINVAL;
    if (this.count + added >= FULL) return -EAGAIN;
    this.count += added;
    this.wake(EPOLLIN);
    return 8;
  }

  override close(): void {}
}

export class SimTimerfd extends SimFile {
  private readonly agenda: Agenda;
  private ticks = 0n;
  private appointment: Appointment | null = null;

  constructor(agenda: Agenda) {
    super(O_RDWR | O_NONBLOCK);
    this.agenda = agenda;
  }

  /** Fires once after `delayMs`. (In steps of the virtual clock, which has a fraction, and not of nanoseconds.) */
  set(delayMs: number): number {
    this.appointment?.cancel();
    this.ticks = 0n;
    this.appointment = this.agenda.after(delayMs, () => {
      this.appointment = null;
      this.ticks = 1n;
      this.wake(EPOLLIN);
    });
    return 0;
  }

  override poll(): number {
    return this.ticks > 0n ? EPOLLIN : 0;
  }

  override read(buffer: Uint8Array): number {
    if (buffer.length < 8) return -EINVAL;
    if (this.ticks === 0n) return -EAGAIN;
    store(buffer, this.ticks);
    this.ticks = 0n;
    return 8;
  }

  override close(): void {
    this.appointment?.cancel();
  }
}
