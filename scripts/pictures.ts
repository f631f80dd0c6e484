// Makes the pictures of docs/debugging.md: the console of the chat server with each planted bug. Run by
// `bun run pictures`; needs Chromium, and pngquant, which makes the pictures of Chromium a third as large.

import { fileURLToPath } from "node:url";
import type { BrowserContextOptions, Page } from "playwright-core";
import { startBrowser } from "../test/support/browser.ts";
import { buggyWithConsole, bugs } from "../test/support/buggy-chat.ts";

const folder = fileURLToPath(new URL("../docs/pictures/", import.meta.url));
/** Larger pictures make the repository slow to clone. */
const MAX_BYTES = 80_000;

interface Picture {
  readonly name: string;
  readonly bug: keyof typeof bugs;
  readonly options: BrowserContextOptions;
  /** Goes to what the picture shows, once the culprit is named. */
  readonly show?: (page: Page) => Promise<unknown>;
}

const wide = { viewport: { width: 780, height: 560 } };

const pictures: readonly Picture[] = [
  {
    name: "hang",
    bug: "lock",
    options: { viewport: { width: 780, height: 850 } },
    async show(page) {
      await page.getByRole("button", { name: bugs.lock.culprit }).click();
      await page.locator(".stack li").waitFor();
      await page.locator(".history tbody tr").nth(3).waitFor();
    },
  },
  { name: "slow", bug: "loop", options: wide, show: (page) => page.waitForTimeout(3000) },
  {
    name: "leak",
    bug: "leak",
    options: { viewport: { width: 780, height: 440 } },
    show: (page) => page.getByRole("tab", { name: "Groups" }).click(),
  },
  {
    name: "phone",
    bug: "lock",
    options: { viewport: { width: 390, height: 640 }, colorScheme: "dark" },
    show: (page) => page.getByRole("row").nth(3).waitFor(),
  },
];

/** Returns the picture with a palette of at most 256 colors. See pngquant(1). */
function smaller(picture: Uint8Array): Uint8Array {
  const { stdout, stderr, success } = Bun.spawnSync(["pngquant", "--strip", "-"], {
    stdin: picture,
  });
  if (!success) throw new Error(`pngquant: ${stderr}`);
  return stdout;
}

const browser = await startBrowser("--disable-lcd-text", "--font-render-hinting=none");
for (const { name, bug, options, show } of pictures) {
  const { program, port, url } = await buggyWithConsole(bug);
  await using _ = program;
  const page = await browser.newPage(options);
  await page.goto(url);
  await page.getByText("live", { exact: true }).waitFor();
  await page.waitForTimeout(3000); // a chart with something on it
  await bugs[bug].provoke(port);
  await page.getByRole("listitem").filter({ hasText: bugs[bug].culprit }).waitFor();
  await show?.(page);
  await page.waitForTimeout(700);
  // The folders of this machine, and which process it was, tell nothing.
  await page.evaluate(`
    globalThis.fetch = () => new Promise(() => {}); // no update brings them back
    for (const frame of document.querySelectorAll(".stack li"))
      frame.textContent = frame.textContent.replace(/\\(\\S*\\//, "(");
    document.getElementById("program").textContent = "buggy-chat.ts (pid 4711)";
  `);
  const path = `${folder}${name}.png`;
  const picture = smaller(await page.screenshot());
  await Bun.write(path, picture);
  await page.close();
  console.log(`docs/pictures/${name}.png`, picture.length);
  if (picture.length > MAX_BYTES)
    throw new Error(`${name}.png must have at most ${MAX_BYTES} bytes`);
}
await browser.close();
