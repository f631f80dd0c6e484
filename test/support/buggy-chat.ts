// The chat server with planted bugs, as docs/debugging.md debugs it, and clients that provoke each bug.

import { type Program, root, start } from "./program.ts";

/** Connects to a program, and sends `text`. Returns what closes the connection. */
export async function client(port: string, text: string): Promise<() => void> {
  const socket = await Bun.connect({
    hostname: "127.0.0.1",
    port: Number(port),
    socket: { data() {} },
  });
  socket.write(text);
  return () => void socket.end();
}

/** Starts the server with a bug. */
export async function buggy(
  bug: string,
  env: Record<string, string>,
): Promise<{ program: Program; port: string }> {
  const program = start(["bun", `${root}test/support/programs/buggy-chat.ts`, bug], env);
  const [, port = ""] = await program.until(/port (\d+)/);
  return { program, port };
}

/** Starts the server with a bug and the console. */
export async function buggyWithConsole(
  bug: string,
): Promise<{ program: Program; port: string; url: string }> {
  const { program, port } = await buggy(bug, { GUILLOTINE_INSPECT: "127.0.0.1:0" });
  return { program, port, url: await consoleOf(program) };
}

/** Returns the URL of a program's console. */
export async function consoleOf(program: Program): Promise<string> {
  const [, url = ""] = await program.until(/inspect this process at (http:\S+)/);
  return url;
}

/** What a client does so that the bug shows, and the lines of the console that name the culprit. */
export const bugs: Readonly<
  Record<
    "lock" | "loop" | "leak",
    { readonly provoke: (port: string) => Promise<unknown>; readonly culprit: RegExp }
  >
> = {
  lock: {
    provoke: (port) => client(port, "\nhello\n"),
    culprit:
      /nobody can wake #\d+ message from 127\.0\.0\.1: it waits on lock "room", held by task message from 127\.0\.0\.1, which has ended/,
  },
  loop: {
    provoke: (port) => client(port, "darn\n"),
    culprit:
      /task #\d+ connection has held the thread for \d+\.\d s: its poll does not return, and no other task runs/,
  },
  leak: {
    /** Connects for some time, because a name that grew once does not leak. */
    async provoke(port) {
      for (let connection = 0; connection < 30; connection++) {
        const close = await client(port, "hello\n");
        close();
        await Bun.sleep(100);
      }
    },
    culprit:
      /\d+ tasks named heartbeat: \d+ more within \d+\.\d s, and none has ended; \d+ outlive the task that spawned them/,
  },
};
