// A bounded pipeline: three stages with channels between them, each held back by the next.
//
//   bun run examples/pipeline.ts           # until Ctrl-C
//   bun run examples/pipeline.ts fail      # until the middle stage fails at 20
//
// You will see: numbers made, squared and printed, the maker never more than a few ahead; then, on
// Ctrl-C, that what is under way is printed before the end; on a failure, that the other stages are
// ended, and the error.

import {
  ctrlC,
  mpsc,
  type Receiver,
  Runtime,
  type Sender,
  scope,
  select,
  sleep,
  spawn,
} from "../src/index.ts";

const fails = process.argv[2] === "fail";

/** Makes numbers until it is told to stop. */
function* make(sender: Sender<number>) {
  using _ = sender; // its end is the next stage's end
  const stop = spawn(ctrlC()); // a handle: it is awaited once per number
  for (let number = 1; !sender.isClosed; number++) {
    // The loser is dropped: a send that was not done, or the wait for the handle.
    const { key } = yield* select({ stop, sent: sender.send(number) });
    if (key === "stop") break;
    console.log(`made ${number}`);
  }
  console.log("stopping: no more are made");
}

function* square(receiver: Receiver<number>, sender: Sender<number>) {
  using _ = sender;
  for (;;) {
    const next = yield* receiver.recv();
    if (next.done) return;
    if (fails && next.value === 20) throw new Error("20 cannot be squared today");
    yield* sender.send(next.value ** 2);
  }
}

function* print(receiver: Receiver<number>) {
  try {
    for (;;) {
      const next = yield* receiver.recv();
      if (next.done) return;
      yield* sleep(10); // the slowest: it holds back the others
      console.log(`printed ${next.value}`);
    }
  } finally {
    console.log("the printer is done");
  }
}

await using runtime = new Runtime();
try {
  await runtime.run(
    scope(function* (stages) {
      const numbers = mpsc<number>(2, { name: "numbers" });
      const squares = mpsc<number>(2, { name: "squares" });
      stages.spawn(make(numbers.sender), { name: "make" });
      stages.spawn(square(numbers.receiver, squares.sender), { name: "square" });
      stages.spawn(print(squares.receiver), { name: "print" });
    }),
  );
  console.log("the pipeline is empty");
} catch (error) {
  console.log(`the pipeline failed: ${(error as Error).message}`);
}
