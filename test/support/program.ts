// Programs run by tests, as a stranger would run them: other processes, with real clients.

import { fileURLToPath } from "node:url";

export const root: string = fileURLToPath(new URL("../../", import.meta.url));

export interface Program extends AsyncDisposable {
  readonly pid: number;
  /** All it has written so far, stdout and stderr. */
  readonly output: () => string;
  /** Resolves when the output matches; rejects when the program ends without. */
  until(pattern: RegExp): Promise<RegExpExecArray>;
  /** Resolves with its exit code. */
  readonly exited: Promise<number>;
  write(text: string): void;
  end(): void;
}

/** Starts a program with piped stdio. Disposing kills it, and waits for its end. */
export function start(command: string[], env: Record<string, string> = {}): Program {
  const child = Bun.spawn(command, {
    cwd: root,
    env: { ...process.env, ...env },
    stdin: "pipe",
    stdout: "pipe",
    stderr: "pipe",
  });
  let output = "";
  let isOver = false;
  let wake = (): void => {};
  const collect = async (stream: ReadableStream<Uint8Array>): Promise<void> => {
    const decoder = new TextDecoder();
    for await (const chunk of stream) {
      output += decoder.decode(chunk, { stream: true });
      wake();
    }
  };
  const exited = Promise.all([collect(child.stdout), collect(child.stderr), child.exited]).then(
    ([, , code]) => {
      isOver = true;
      wake();
      return code;
    },
  );
  return {
    pid: child.pid,
    output: () => output,
    exited,
    async until(pattern) {
      for (;;) {
        const match = pattern.exec(output);
        if (match !== null) return match;
        if (isOver) throw new Error(`it ended before ${pattern} came; it wrote:\n${output}`);
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    },
    write(text) {
      child.stdin.write(text);
      child.stdin.flush();
    },
    end() {
      child.stdin.end();
    },
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await exited;
    },
  };
}

/** Runs a program to its end. */
export async function run(
  command: string[],
  options: { env?: Record<string, string>; input?: string } = {},
): Promise<{ code: number; output: string }> {
  await using program = start(command, options.env);
  if (options.input !== undefined) program.write(options.input);
  program.end();
  const code = await program.exited;
  return { code, output: program.output() };
}
