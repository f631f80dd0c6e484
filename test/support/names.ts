// Names for tests: a Sys whose lookups the test answers.

import { check } from "../../src/sys/errno.ts";
import { AF_UNIX, linux, SOCK_SEQPACKET } from "../../src/sys/index.ts";
import { FaultSys } from "./fault-sys.ts";

/** What a name resolves to: IP literals, or the negative result of getaddrinfo. */
type Answer = readonly string[] | number;

export class Names {
  readonly faults: FaultSys;
  /** The lookups that `Sys` was asked for. */
  readonly asked: { hostname: string; family: number; answer(answer: Answer): void }[] = [];

  /** Answers each lookup of a name in `known` at once. The test answers the others. */
  constructor(known: Readonly<Record<string, Answer>> = {}) {
    this.faults = new FaultSys().on("lookup", (_, hostname, family) => {
      const ends = new Int32Array(2);
      check(linux().socketpair(AF_UNIX, SOCK_SEQPACKET, ends), "socketpair");
      const answer = (answer: Answer): void => {
        const lines = typeof answer === "number" ? [String(answer)] : ["0", ...answer];
        check(linux().write(ends[1]!, Buffer.from(lines.join("\n"))), "write");
        linux().close(ends[1]!);
      };
      this.asked.push({ hostname, family, answer });
      if (hostname in known) answer(known[hostname]!);
      return ends[0]!;
    });
  }
}
