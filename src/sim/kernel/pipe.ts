// A pipe and its two ends. See pipe(7).
//
// Facts about Linux's pipes, and what they mean for this code:
// - A pipe is a ring of 16 pages. A write joins the last page only if its odd part (its length modulo the page size) fits
//   there, and then takes new pages. So a pipe may be full with far fewer than 65,536 bytes.
// - A write of at most 4096 bytes happens whole or not at all.
// - The ends are blocking until the program changes that. Here a call never blocks: it returns EAGAIN either way.
// - A read wakes the writers only if the pipe was full before it.

import { EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT } from "../../sys/epoll.ts";
import { EAGAIN, EBADF, EPIPE } from "../../sys/errno.ts";
import { O_WRONLY } from "../../sys/socket.ts";
import { ANY, concatenate, SimFile } from "./file.ts";

const O_RDONLY = 0;
const PAGE_SIZE = 4096;
const PAGES = 16;

interface Page {
  readonly bytes: Uint8Array;
  start: number;
  end: number;
}

/** The bytes between the two ends. */
class Pipe {
  readonly pages: Page[] = [];
  reader: PipeReader | null = null;
  writer: PipeWriter | null = null;

  get isFull(): boolean {
    return this.pages.length >= PAGES;
  }

  wakeBoth(): void {
    this.reader?.wake(ANY);
    this.writer?.wake(ANY);
  }
}

export class PipeReader extends SimFile {
  private readonly pipe: Pipe;

  constructor(pipe: Pipe) {
    super(O_RDONLY);
    this.pipe = pipe;
  }

  override poll(): number {
    const { pages, writer } = this.pipe;
    return (pages.length > 0 ? EPOLLIN : 0) | (writer === null ? EPOLLHUP : 0);
  }

  override read(buffer: Uint8Array): number {
    const { pipe } = this;
    const { pages } = pipe;
    const wasFull = pipe.isFull;
    let count = 0;
    while (count < buffer.length && pages.length > 0) {
      const page = pages[0]!;
      const length = Math.min(page.end - page.start, buffer.length - count);
      buffer.set(page.bytes.subarray(page.start, page.start + length), count);
      page.start += length;
      count += length;
      if (page.start === page.end) pages.shift();
    }
    if (count === 0 && buffer.length > 0) return pipe.writer === null ? 0 : -EAGAIN;
    if (wasFull) pipe.writer?.wake(EPOLLOUT);
    return count;
  }

  override write(): number {
    return -EBADF;
  }

  override writev(): number {
    return -EBADF;
  }

  override close(): void {
    this.pipe.reader = null;
    if (this.pipe.writer !== null) this.pipe.wakeBoth();
  }
}

export class PipeWriter extends SimFile {
  private readonly pipe: Pipe;

  constructor(pipe: Pipe) {
    super(O_WRONLY);
    this.pipe = pipe;
  }

  override poll(): number {
    const { pipe } = this;
    return (pipe.isFull ? 0 : EPOLLOUT) | (pipe.reader === null ? EPOLLERR : 0);
  }

  override read(): number {
    return -EBADF;
  }

  override write(data: Uint8Array): number {
    const { pipe } = this;
    if (data.length === 0) return 0;
    if (pipe.reader === null) return -EPIPE;
    let count = this.join(data);
    while (count < data.length && !pipe.isFull) {
      const bytes = new Uint8Array(PAGE_SIZE);
      const length = Math.min(PAGE_SIZE, data.length - count);
      bytes.set(data.subarray(count, count + length));
      pipe.pages.push({ bytes, start: 0, end: length });
      count += length;
    }
    pipe.reader.wake(EPOLLIN); // also after a write that found no room
    return count === 0 ? -EAGAIN : count;
  }

  override writev(pieces: readonly Uint8Array[]): number {
    return this.write(concatenate(pieces));
  }

  override close(): void {
    this.pipe.writer = null;
    if (this.pipe.reader !== null) this.pipe.wakeBoth();
  }

  /** Appends the odd part of `data` to the last page if it fits. Returns its length, or 0. */
  private join(data: Uint8Array): number {
    const odd = data.length % PAGE_SIZE;
    const last = this.pipe.pages.at(-1);
    if (odd === 0 || last === undefined || last.end + odd > PAGE_SIZE) return 0;
    last.bytes.set(data.subarray(0, odd), last.end);
    last.end += odd;
    return odd;
  }
}

export function openPipe(): [PipeReader, PipeWriter] {
  const pipe = new Pipe();
  pipe.reader = new PipeReader(pipe);
  pipe.writer = new PipeWriter(pipe);
  return [pipe.reader, pipe.writer];
}
