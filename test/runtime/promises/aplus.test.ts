// Promises/A+ on futures, beside Bun's own promises: no failure that those do not have.
//
// Under test are the promises that `then` gives, of a future that was settled by hand. The suite wants
// a `deferred()`; it is run by mocha's interface, which a few lines here stand in for.

import { expect, setDefaultTimeout, test } from "bun:test";
import { root, run } from "../../support/program.ts";

setDefaultTimeout(60_000); // a slow machine is no failure

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
      // A value that is a thenable is awaited first, as by any resolve function.
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

test("no failure that native promises do not have", async () => {
  const [native, future] = await Promise.all([failures("native"), failures("future")]);
  expect(native.passed).toBeGreaterThan(860);
  expect(future.failed.filter((title) => !native.failed.includes(title))).toEqual([]);
  expect(future.passed).toBeGreaterThanOrEqual(native.passed);
});
