// A job queue as many programs write it: one job at a time, each started in the async context of the job before.

export class JobQueue {
  #isBusy = false;
  readonly #jobs: (() => Promise<void>)[] = [];

  add<T>(job: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#jobs.push(async () => {
        try {
          resolve(await job());
        } catch (error) {
          reject(error);
        } finally {
          this.#isBusy = false;
          this.#next();
        }
      });
      this.#next();
    });
  }

  #next(): void {
    const job = this.#isBusy ? undefined : this.#jobs.shift();
    if (job === undefined) return;
    this.#isBusy = true;
    void job();
  }
}
