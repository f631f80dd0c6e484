// Chromium, for the console's page. Debian's package `chromium` has it.

import { type Browser, chromium } from "playwright-core";

/** The path of Chromium; null if it is not installed. */
export const chromiumPath: string | null = Bun.which("chromium") ?? Bun.which("chromium-browser");

/** Starts Chromium. Without its sandbox, because tests may run as root, and it opens only pages of this library. */
export function startBrowser(...args: string[]): Promise<Browser> {
  return chromium.launch({
    executablePath: chromiumPath ?? "chromium",
    args: ["--no-sandbox", ...args],
  });
}
