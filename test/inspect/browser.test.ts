// The console's page in Chromium: with a busy server, with the planted bugs of docs/debugging.md, and with 10,000 tasks.

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { connect } from "node:net";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { Runtime, sleep } from "../../src/index.ts";
import { inspect } from "../../src/inspect/index.ts";
import { chromiumPath, startBrowser } from "../support/browser.ts";
import { buggyWithConsole, bugs, consoleOf } from "../support/buggy-chat.ts";
import { captureConsoleError } from "../support/output.ts";
import { type Program, root, start } from "../support/program.ts";

setDefaultTimeout(120_000); // the machine may be slow

if (chromiumPath === null) {
  console.log("skipped: tests of the console's page, because chromium is not installed");
}

let browser: Browser;

/** A page that fails the test if it logs an error, breaks its policy, or loads anything from elsewhere. */
interface Opened extends AsyncDisposable {
  readonly page: Page;
}

async function open(
  url: string,
  options: BrowserContextOptions = {},
  expected: RegExp = /favicon/,
): Promise<Opened> {
  const context = await browser.newContext(options);
  context.setDefaultTimeout(60_000);
  const page = await context.newPage();
  const problems: string[] = [];
  page.on("console", (message) => problems.push(`${message.type()}: ${message.text()}`));
  page.on("pageerror", (error) => problems.push(`${error}`));
  page.on("dialog", (dialog) => problems.push(`dialog: ${dialog.message()}`));
  page.on("request", (request) => {
    if (new URL(request.url()).origin !== new URL(url).origin) problems.push(request.url());
  });
  await page.goto(url);
  return {
    page,
    async [Symbol.asyncDispose]() {
      await context.close();
      expect(problems.filter((problem) => !expected.test(problem))).toEqual([]);
    },
  };
}

/** The rows of the list, without the numbers of the tasks. */
async function names(page: Page): Promise<string[]> {
  const all = await page.locator("tbody tr td.name").allTextContents();
  return all.map((name) => name.replace(/^#\d+ /, ""));
}

/** The key of the focused element. */
const focused = (page: Page): Promise<unknown> =>
  page.evaluate("document.activeElement.getAttribute('data-key') ?? document.activeElement.id");

/** Chat clients that talk until they are disposed. */
function talk(port: number, count: number): Disposable {
  const sockets = Array.from({ length: count }, () => {
    const socket = connect(port, "127.0.0.1");
    socket.on("error", () => {});
    socket.resume();
    return socket;
  });
  const timer = setInterval(() => {
    for (const socket of sockets) socket.write("hello\n");
  }, 20);
  return {
    [Symbol.dispose]() {
      clearInterval(timer);
      for (const socket of sockets) socket.destroy();
    },
  };
}

async function chat(): Promise<{ program: Program; url: string; port: number }> {
  const program = start(["bun", `${root}examples/chat.ts`, "0"], { GUILLOTINE_INSPECT: "0" });
  const url = await consoleOf(program);
  const [, port] = await program.until(/127\.0\.0\.1:(\d+)\n/);
  return { program, url, port: Number(port) };
}

describe.skipIf(chromiumPath === null)("the page", () => {
  beforeAll(async () => {
    browser = await startBrowser();
  });
  afterAll(() => browser.close());

  test("of a busy server is filtered, sorted and opened with the keyboard alone", async () => {
    const { program, url, port } = await chat();
    await using _ = program;
    using _clients = talk(port, 5);
    await using opened = await open(url);
    const { page } = opened;
    await page
      .getByRole("row", { name: /connection, / })
      .first()
      .waitFor();
    await page.keyboard.press("/");
    expect(await focused(page)).toBe("filter");
    await page.keyboard.type("CONNECTION");
    await page.getByText(/^6 of \d+ tasks/).waitFor();
    // The accept loop joins its connections, so it also matches.
    expect(new Set(await names(page))).toEqual(new Set(["blockOn", "connection"]));
    await page.keyboard.press("ArrowDown"); // into the list
    const first = await focused(page);
    await page.keyboard.press("ArrowDown");
    const second = await focused(page);
    expect([first, second]).toEqual(["task 1", expect.stringMatching(/^task \d+$/)]);
    expect(second).not.toBe(first);
    await page.keyboard.press("ArrowUp");
    expect(await focused(page)).toBe(first);
    await page.keyboard.press("ArrowDown");
    await page.waitForTimeout(1200); // some updates: they keep the focus
    expect(await focused(page)).toBe(second);
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: /^#\d+ connection$/ }).waitFor();
    await page
      .getByRole("listitem")
      .filter({ hasText: /^talk \(.*chat\.ts:\d+/ })
      .waitFor();
    await page.locator(".history tbody tr").nth(1).waitFor();
    await page.keyboard.press("Escape");
    await page.getByText(/^6 of \d+ tasks/).waitFor(); // the filter is as before
    await page.keyboard.press("Escape");
    await page.getByText(/^\d+ tasks$/).waitFor();
    expect(await page.getByLabel("Filter by name, state or wait").inputValue()).toBe("");
    await page.getByRole("button", { name: "polls" }).press("Enter");
    await page.locator('th.polls[aria-sort="descending"]').waitFor();
    await page.keyboard.press("t");
    await page.locator('td[data-depth="1"]').first().waitFor();
    await page.getByRole("tab", { name: "Tasks" }).focus();
    await page.keyboard.press("ArrowRight");
    await page.getByRole("row", { name: "connection: 5 tasks" }).waitFor();
    await page.keyboard.press("ArrowRight");
    await page.getByText(/fd \d+ TcpListener 127\.0\.0\.1:\d+/).waitFor();
    await page.getByText("Locks and channels that tasks wait for").waitFor();
    await page.goBack();
    await page.getByRole("row", { name: "connection: 5 tasks" }).waitFor();
    const picture = await page.screenshot();
    expect(picture.subarray(1, 4).toString()).toBe("PNG");
    expect(picture.length).toBeGreaterThan(10_000);
  });

  test.each(["lock", "loop", "leak"] as const)(
    "names the culprit of the planted %s",
    async (bug) => {
      const { program, port, url } = await buggyWithConsole(bug);
      await using _ = program;
      await using opened = await open(url);
      const { page } = opened;
      await page.getByText("live", { exact: true }).waitFor();
      await bugs[bug].provoke(port);
      const culprit = page.getByRole("listitem").filter({ hasText: bugs[bug].culprit });
      // A name leaks if it grew in several looks. On a slow machine there are few looks in the time of one provocation.
      while (bug === "leak" && (await culprit.count()) === 0) await bugs[bug].provoke(port);
      await culprit.waitFor();
      if (bug === "loop") {
        await page.getByRole("alert").filter({ hasText: bugs[bug].culprit }).waitFor();
        expect(await page.getByRole("status").textContent()).toMatch(
          /^stuck; what follows is .* old$/,
        );
        return;
      }
      await culprit.getByRole("button").click();
      if (bug === "leak") {
        await page.getByText(/^\d+ of \d+ tasks, named heartbeat/).waitFor();
        expect(new Set(await names(page))).toEqual(new Set(["heartbeat"]));
      } else {
        await page
          .getByText('lock "room", held by task message from 127.0.0.1, which has ended')
          .first()
          .waitFor();
        await page.getByText(/^remember \(.*buggy-chat\.ts:19:/).waitFor();
      }
    },
  );

  test("shows the names of tasks as text, also one that is a script", async () => {
    using _errors = captureConsoleError();
    using inspection = inspect();
    using runtime = new Runtime();
    const evil = `<script>alert(1)</script><img src=x onerror=alert(2)>`;
    const task = runtime.spawn(sleep(60_000), { name: evil });
    task.unref().detach();
    // Other tests of this process may have left runtimes.
    await using opened = await open(`${inspection.url}#runtime=${runtime.dumpJson().runtime}`);
    const { page } = opened;
    await page.getByRole("cell", { name: `#1 ${evil}` }).click();
    await page.getByRole("heading", { name: `#1 ${evil}` }).waitFor();
    await page.keyboard.press("Escape");
    await page.getByRole("tab", { name: "Groups" }).click();
    await page.getByRole("cell", { name: evil }).waitFor();
    expect(await page.locator("script, img").count()).toBe(1); // its own
  });

  test("runs no script but its own", async () => {
    using _errors = captureConsoleError();
    using inspection = inspect();
    const context = await browser.newContext();
    const page = await context.newPage();
    await page.goto(inspection.url);
    const ran = await page.evaluate(`
      const script = document.createElement("script");
      script.textContent = "globalThis.ran = true";
      document.body.append(script);
      globalThis.ran === true;
    `);
    expect(ran).toBe(false);
    await context.close();
  });

  test("of a program that has ended says so", async () => {
    const { program, url } = await chat();
    await using opened = await open(url, {}, /ERR_CONNECTION_REFUSED/);
    await opened.page.getByText("live", { exact: true }).waitFor();
    await program[Symbol.asyncDispose]();
    await opened.page.getByText(/^no answer: has the program ended\?/).waitFor();
  });

  test("fits a phone, in the dark, with everything labelled", async () => {
    const { program, url, port } = await chat();
    await using _ = program;
    using _clients = talk(port, 3);
    const options = { viewport: { width: 360, height: 700 }, colorScheme: "dark" } as const;
    await using opened = await open(url, options);
    const { page } = opened;
    await page
      .getByRole("row", { name: /connection, / })
      .first()
      .waitFor();
    for (const view of ["Tasks", "Groups", "Resources"]) {
      await page.getByRole("tab", { name: view }).click();
      await page.waitForTimeout(600);
      expect(await page.evaluate("document.documentElement.scrollWidth")).toBeLessThanOrEqual(360);
    }
    expect(await page.evaluate("getComputedStyle(document.body).backgroundColor")).toBe(
      "rgb(15, 19, 24)",
    );
    const unlabelled = await page.evaluate(`
      [...document.querySelectorAll("button, input, select, svg")].filter((one) =>
        !one.textContent.trim() && !one.getAttribute("aria-label") && !one.closest("label")).length
    `);
    expect(unlabelled).toBe(0);
  });

  // The server keeps no history of more than 5000. The time of the first passes grows with the number of tasks, because the console
  // takes 2.5 % of the thread at most: sampler.test.ts passes over 100,000.
  test("of 10,000 tasks has the rows of one page, and finds one task among them", async () => {
    await using program = start(["bun", `${root}test/support/programs/crowd.ts`, "10000"], {
      GUILLOTINE_INSPECT: "0",
    });
    await using opened = await open(await consoleOf(program));
    const { page } = opened;
    await page.locator("caption", { hasText: /^10,00\d tasks/ }).waitFor();
    expect((await names(page)).length).toBe(100);
    await page.getByRole("button", { name: "next" }).click();
    await page.getByText("101 to 200 of 10,00").waitFor();
    await page.getByLabel("Filter by name, state or wait").fill("#7777 ");
    await page.getByText(/^1 of 10,00\d tasks/).waitFor();
    expect((await names(page)).length).toBe(1);
    await page.locator("tbody tr").click();
    await page.getByRole("heading", { name: /^#7777 idle \d$/ }).waitFor();
    await page.getByText("spawned by").waitFor();
    await page.keyboard.press("Escape"); // leaves the task
    await page.keyboard.press("Escape"); // and the filter
    await page.getByRole("tab", { name: "Groups" }).click();
    await page.getByRole("row", { name: "idle 0: 1,429 tasks" }).waitFor();
  });
});
