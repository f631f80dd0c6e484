// Cycles of tasks that wait for each other: none of them can continue.

/**
 * Returns the cycles among `all`, each once, in the order of their waits. `next` returns what a node waits for. A node
 * is in at most one of the cycles.
 */
export function cyclesOf<T>(all: Iterable<T>, next: (node: T) => readonly T[]): T[][] {
  const cycles: T[][] = [];
  const done = new Set<T>();
  for (const root of all) {
    if (done.has(root)) continue;
    // A walk in depth without recursion: a chain of joins may be as long as there are tasks.
    const path: T[] = [root];
    const rest: T[][] = [[...next(root)]];
    const onPath = new Set<T>(path);
    while (path.length > 0) {
      const node = rest.at(-1)?.shift();
      if (node === undefined) {
        rest.pop();
        const left = path.pop() as T; // as long as `rest`
        onPath.delete(left);
        done.add(left);
      } else if (onPath.has(node)) {
        const cycle = path.slice(path.indexOf(node));
        if (!cycle.some((one) => done.has(one))) cycles.push(cycle);
        for (const one of cycle) done.add(one);
      } else if (!done.has(node)) {
        path.push(node);
        rest.push([...next(node)]);
        onPath.add(node);
      }
    }
  }
  return cycles;
}
