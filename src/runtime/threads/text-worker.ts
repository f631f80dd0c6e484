// Workers from text: an executable made by `bun build --compile` does not find a worker's file unless
// it is listed; one from a blob: URL needs no file.

/** Fds that must be free to start a Worker: more than it opens. Else Bun ends the process, or it never begins. */
export const WORKER_FDS = 8;

const urls = new Map<string, string>();

/** Starts a Worker. It keeps the process alive until it is unref'd. */
export function startWorker(source: string): Worker {
  // Not revoked: a Worker loads its URL some time after it was made.
  let url = urls.get(source);
  if (url === undefined) {
    url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    urls.set(source, url);
  }
  return new Worker(url);
}
