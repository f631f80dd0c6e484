// A bounded pipeline: three stages with channels between them. Backpressure slows each stage to the pace of the
// next one.
//
//   bun run examples/pipeline.ts           # until Ctrl-C
//   bun run examples/pipeline.ts fail      # until the middle stage fails at 20
//
// You will see: numbers made, and their squares printed, with the first stage only a few numbers ahead. On
// Ctrl-C, the numbers already made are printed before the end. On the failure, the other stages are
// cancelled, and the error is printed.

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

/** Makes numbers until Ctrl-C. */
function* make(sender: Sender<number>) {
  using _ = sender; // closing it ends the next stage
  const stop = spawn(ctrlC()); // a handle, because it is awaited once per number
  for (let number = 1; !sender.isClosed; number++) {
    // The loser is dropped: a send that has sent nothing, or a wait for the handle.
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
      yield* sleep(10); // the slowest stage; backpressure slows the others
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
