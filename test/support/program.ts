// Runs programs as child processes, as a user would run them.

import { fileURLToPath } from "node:url";

/** The folder of the package. */
export const root: string = fileURLToPath(new URL("../../", import.meta.url));

/** A running child process. */
export interface Program extends AsyncDisposable {
  readonly pid: number;
  /** Returns the program's output so far, stdout and stderr. */
  readonly output: () => string;
  /** Resolves with the match once the output matches; rejects if the program ends before that. */
  until(pattern: RegExp): Promise<RegExpExecArray>;
  /** Resolves with the exit code. */
  readonly exited: Promise<number>;
  /** Writes to stdin. */
  write(text: string): void;
  /** Closes stdin. */
  end(): void;
}

/** Starts a program in the package's folder. Disposing it kills the program and waits for its end. */
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
        if (isOver)
          throw new Error(`the program ended before it printed ${pattern}; it printed:\n${output}`);
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

/** Runs a program to its end. Returns its exit code and its output, stdout and stderr. */
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
