// Promises/A+ compliance of futures, compared with Bun's own promises.
//
// The tests run against the promises that `then` returns, of a future that is settled by hand. The suite calls
// `deferred()` of an adapter, and runs under mocha in a process of its own.

import { expect, setDefaultTimeout, test } from "bun:test";
import { root, run } from "../../support/program.ts";

setDefaultTimeout(60_000); // the machine may be slow

const adapters = {
  native: `deferred() { return Promise.withResolvers(); },
  resolved: (value) => Promise.resolve(value), rejected: (reason) => Promise.reject(reason)`,
  future: `deferred() {
    let target = null;
    let isDecided = false;
    const future = new (class extends g.Future {
      outcome = null;
      poll(cx) {
        target = cx.target;
        if (this.outcome === null) return g.Pending;
        if ("error" in this.outcome) throw this.outcome.error;
        return this.outcome.value;
      }
    })();
    const end = (outcome) => { future.outcome ??= outcome; target?.wake(); };
    const once = (decide) => (value) => {
      if (!isDecided) decide(value);
      isDecided = true;
    };
    return {
      promise: future,
      // A thenable is awaited first, as in every resolve function.
      resolve: once((value) => Promise.resolve(value).then((value) => end({ value }), (error) => end({ error }))),
      reject: once((error) => end({ error })),
    };
  }`,
};

async function failures(
  name: keyof typeof adapters,
): Promise<{ passed: number; failed: string[] }> {
  const file = `${root}test/support/aplus.${name}.tmp.ts`;
  await Bun.write(
    file,
    `import * as g from "${root}src/index.ts";
import aplus from "promises-aplus-tests";
process.on("unhandledRejection", () => {});
aplus({ ${adapters[name]} }, { reporter: "json", timeout: 2000 }, () => process.stdout.write("\\n", () => process.exit()));`,
  );
  try {
    const { output } = await run(["timeout", "100", "bun", file]);
    const report = JSON.parse(output.slice(output.indexOf("{\n"))) as {
      stats: { passes: number };
      failures: { fullTitle: string }[];
    };
    return { passed: report.stats.passes, failed: report.failures.map((test) => test.fullTitle) };
  } finally {
    await Bun.file(file).delete();
  }
}

test("futures pass every Promises/A+ test that native promises pass", async () => {
  const [native, future] = await Promise.all([failures("native"), failures("future")]);
  expect(native.passed).toBeGreaterThan(860);
  expect(future.failed.filter((title) => !native.failed.includes(title))).toEqual([]);
  expect(future.passed).toBeGreaterThanOrEqual(native.passed);
});
