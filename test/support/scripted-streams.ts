// A ByteReader and a ByteWriter that follow a script, for tests that poll by hand: they suspend, fail and accept bytes
// where the script says so.

import {
  type ByteReader,
  type ByteWriter,
  type Context,
  type Future,
  Leaf,
  Pending,
  type Poll,
  type ReadChunkOptions,
} from "../../src/index.ts";

/** A chunk that arrives, a read that suspends once, or a read that throws. */
export type ReadStep = Uint8Array | "wait" | Error;

/** Delivers the steps in order, and then the end of the stream. */
export class ScriptReader implements ByteReader {
  readonly steps: ReadStep[];
  /** How many reads are waiting, and how many were made. */
  waiting = 0;
  reads = 0;

  constructor(steps: Iterable<ReadStep>) {
    this.steps = [...steps];
  }

  read(): Future<number> {
    throw new Error("a BufReader reads by readChunk");
  }

  readChunk({ maxBytes = 65_536 }: ReadChunkOptions = {}): Future<Uint8Array | null> {
    this.reads++;
    return new ScriptRead(this, maxBytes);
  }
}

class ScriptRead extends Leaf<Uint8Array | null> {
  readonly #reader: ScriptReader;
  readonly #maxBytes: number;
  #isWaiting = false;

  constructor(reader: ScriptReader, maxBytes: number) {
    super();
    this.#reader = reader;
    this.#maxBytes = maxBytes;
  }

  protected override attempt(cx: Context): Poll<Uint8Array | null> {
    const { steps } = this.#reader;
    const step = steps[0];
    if (step === undefined) return null;
    if (step === "wait") {
      steps.shift();
      if (!this.#isWaiting) this.#reader.waiting++;
      this.#isWaiting = true;
      cx.target.wake();
      return Pending;
    }
    if (step instanceof Error) {
      steps.shift();
      throw step;
    }
    if (step.length <= this.#maxBytes) steps.shift();
    else steps[0] = step.slice(this.#maxBytes);
    return step.slice(0, this.#maxBytes);
  }

  protected override release(): void {
    if (this.#isWaiting) this.#reader.waiting--;
  }

  override describe(): string {
    return "a scripted read";
  }
}

/** A write that accepts up to this many bytes, suspends once, or throws. */
export type WriteStep = number | "wait" | Error;

/** Follows the steps, and then accepts all bytes. */
export class ScriptWriter implements ByteWriter {
  readonly steps: WriteStep[];
  /** The bytes that were accepted. */
  readonly written: number[] = [];
  waiting = 0;
  writes = 0;
  isShutDown = false;

  constructor(steps: Iterable<WriteStep> = []) {
    this.steps = [...steps];
  }

  write(data: Uint8Array): Future<number> {
    this.writes++;
    return new ScriptWrite(this, data);
  }

  writeAll(): Future<void> {
    throw new Error("a BufWriter writes by write, which is cancel safe");
  }

  shutdown(): void {
    this.isShutDown = true;
  }

  get text(): string {
    return Buffer.from(this.written).toString();
  }
}

class ScriptWrite extends Leaf<number> {
  readonly #writer: ScriptWriter;
  readonly #data: Uint8Array;
  #isWaiting = false;

  constructor(writer: ScriptWriter, data: Uint8Array) {
    super();
    this.#writer = writer;
    this.#data = data;
  }

  protected override attempt(cx: Context): Poll<number> {
    const { steps, written } = this.#writer;
    const step = steps.shift() ?? this.#data.length;
    if (step === "wait") {
      if (!this.#isWaiting) this.#writer.waiting++;
      this.#isWaiting = true;
      cx.target.wake();
      return Pending;
    }
    if (step instanceof Error) throw step;
    const count = Math.min(step, this.#data.length);
    written.push(...this.#data.subarray(0, count));
    return count;
  }

  protected override release(): void {
    if (this.#isWaiting) this.#writer.waiting--;
  }

  override describe(): string {
    return "a scripted write";
  }
}
