// Workers that start from source text.
//
// An executable from `bun build --compile` contains the file of a Worker only if the user lists that file on the
// command line. A blob: URL needs no file.

/**
 * How many fds must be free before a Worker starts: more than it opens. With fewer, Bun ends the process, or the
 * Worker never runs.
 */
export const WORKER_FDS = 8;

const urls = new Map<string, string>();

/** Starts a Worker that runs `program`. The Worker keeps the process alive until it is unref'd. */
export function startWorker(program: string): Worker {
  // Never revoked: a Worker loads its URL some time after its construction.
  let url = urls.get(program);
  if (url === undefined) {
    url = URL.createObjectURL(new Blob([program], { type: "text/javascript" }));
    urls.set(program, url);
  }
  return new Worker(url);
}
