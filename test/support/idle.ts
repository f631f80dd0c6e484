// Waits until no task of a runtime is ready, so that tests need not count turns.

import { type Coroutine, Runtime, yieldNow } from "../../src/index.ts";

/** The executor checks epoll after at most 61 polls, so a pass of this length includes at least one check. */
const POLLS = 62;

/**
 * Runs the tasks of a runtime until each of them waits. Events that epoll already has, due timers and
 * microtasks count as ready; a timer in the future does not. Outside a task, pass the runtime. Inside one,
 * `yield* untilIdle()` waits for all the other tasks of that runtime.
 */
export function untilIdle(): Coroutine<void>;
export function untilIdle(runtime: Runtime): void;
export function untilIdle(runtime?: Runtime): Coroutine<void> | void {
  const work = idle();
  return runtime === undefined ? work : runtime.blockOn(work);
}

/** The tasks of one runtime that call `untilIdle`. They are always ready, so they and their polls are subtracted. */
interface Idlers {
  count: number;
  polls: number;
}
const idlersOf = new WeakMap<Runtime, Idlers>();

function* idle(): Coroutine<void> {
  const runtime = Runtime.current();
  const idlers = idlersOf.get(runtime) ?? { count: 0, polls: 0 };
  idlersOf.set(runtime, idlers);
  const othersPolls = (): number => runtime.metrics().polls - idlers.polls;
  idlers.count++;
  try {
    for (let isIdle = false; !isIdle; ) {
      const polls = othersPolls();
      for (let poll = 0; poll < POLLS; poll++) {
        yield* yieldNow();
        idlers.polls++;
      }
      const ready = runtime.tasks().filter((task) => task.state === "ready").length;
      isIdle = othersPolls() === polls && ready < idlers.count;
    }
  } finally {
    idlers.count--;
  }
}

/** Yields to Bun's loop until no task of the ambient runtime is ready. */
export async function untilAmbientIdle(): Promise<void> {
  do await Bun.sleep(0);
  while (
    Runtime.ambient()
      .tasks()
      .some(({ state }) => state === "ready")
  );
}

/** Returns what each task of the ambient runtime waits on. */
export function ambientWaits(): string[] {
  return Runtime.ambient()
    .tasks()
    .map(({ waitsOn }) => waitsOn ?? "");
}
