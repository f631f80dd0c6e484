// The console's page: HTML, style and script, in one response.
//
// `consolePage` reaches the browser as source text, so it uses only globals, and imports types alone. It asks the Worker
// for what it shows, twice a second while it is visible.
//
// Invariants:
// - Text from the inspected program is only ever set as textContent: a task may be named `<script>`.
// - An update keeps the focus and does not scroll.
// - Everything works with the keyboard, without a pointer.

import type {
  GroupsView,
  LockView,
  Named,
  ResourcesView,
  TaskPageView,
  TasksView,
  View,
  Warning,
} from "./views.ts";

/** The part of an element that the page uses. (The library's types have no DOM.) */
interface Element {
  textContent: string | null;
  className: string;
  id: string;
  hidden: boolean;
  value: string;
  checked: boolean;
  readonly dataset: Record<string, string | undefined>;
  readonly children: ArrayLike<Element> & Iterable<Element>;
  readonly nextElementSibling: Element | null;
  readonly previousElementSibling: Element | null;
  append(...nodes: (Element | string)[]): void;
  replaceChildren(...nodes: (Element | string)[]): void;
  setAttribute(name: string, value: string): void;
  getAttribute(name: string): string | null;
  removeAttribute(name: string): void;
  addEventListener(name: string, listener: (event: KeyEvent) => void): void;
  focus(options?: { preventScroll: boolean }): void;
  blur(): void;
  select(): void;
  click(): void;
  closest(selector: string): Element | null;
  querySelector(selector: string): Element | null;
  querySelectorAll(selector: string): Iterable<Element>;
}

interface KeyEvent {
  readonly key: string;
  readonly ctrlKey: boolean;
  readonly metaKey: boolean;
  readonly altKey: boolean;
  readonly target: Element;
  preventDefault(): void;
}

interface Browser {
  readonly document: Element & {
    readonly hidden: boolean;
    title: string;
    readonly activeElement: Element | null;
    createElement(name: string): Element;
    createElementNS(namespace: string, name: string): Element;
    getElementById(id: string): Element | null;
  };
  readonly location: { readonly search: string; hash: string };
  addEventListener(name: string, listener: () => void): void;
}

export function consolePage(): void {
  const { document, location, addEventListener } = globalThis as unknown as Browser;
  const REFRESH_MS = 500;
  const SVG = "http://www.w3.org/2000/svg";
  const token = new URLSearchParams(location.search).get("token") ?? "";
  const get = (id: string): Element => document.getElementById(id)!;

  /** What the page shows. The hash of the URL holds it, so that back and reload work. */
  let state = new URLSearchParams(location.hash.slice(1));
  let view: View | null = null;
  let timer: ReturnType<typeof setTimeout> | undefined;
  /** The latest request: an earlier one that ends later shows nothing. */
  let latest = 0;

  function element(name: string, className = "", ...content: (Element | string)[]): Element {
    const created = document.createElement(name);
    if (className !== "") created.className = className;
    created.append(...content); // strings become text nodes
    return created;
  }

  function setText(target: Element, text: string): void {
    if (target.textContent !== text) target.textContent = text;
  }

  function duration(ms: number | null): string {
    if (ms === null) return "–";
    if (ms >= 60_000) return `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1000)} s`;
    if (ms >= 1000) return `${(ms / 1000).toFixed(1)} s`;
    return `${ms >= 10 ? ms.toFixed(0) : Number(ms.toPrecision(2))} ms`;
  }

  function count(number: number | null): string {
    return number === null ? "–" : number.toLocaleString("en-US");
  }

  function some(number: number, what: string): string {
    return `${count(number)} ${what}${number === 1 ? "" : "s"}`;
  }

  // Where the page is.

  function go(changes: Record<string, string | null>): void {
    const next = new URLSearchParams(state);
    for (const [name, value] of Object.entries(changes)) {
      if (value === null || value === "") next.delete(name);
      else next.set(name, value);
    }
    location.hash = next.toString();
    read();
  }

  function read(): void {
    const next = new URLSearchParams(location.hash.slice(1));
    if (next.toString() === state.toString() && view !== null) return;
    state = next;
    refresh();
  }

  function current(): string {
    return state.get("view") ?? "tasks";
  }

  async function refresh(): Promise<void> {
    clearTimeout(timer);
    const mine = ++latest;
    const params = new URLSearchParams(state);
    params.set("token", token);
    let failure = "";
    try {
      const response = await fetch(`data?${params}`);
      const text = await response.text();
      if (mine !== latest) return;
      if (response.ok) {
        view = JSON.parse(text) as View;
        show(view);
      } else failure = text;
    } catch (error) {
      if (mine !== latest) return;
      failure = (error as Error).message;
    }
    if (failure !== "") {
      get("status").className = "bad";
      setText(get("status"), `no answer: has the program ended? (${failure})`);
    }
    if (!document.hidden) timer = setTimeout(refresh, REFRESH_MS);
  }

  // What it shows.

  function show(next: View): void {
    document.title = `${next.stuck === null ? "" : "⚠ "}${next.title} – guillotine`;
    setText(get("program"), next.title);
    showStatus(next);
    showLoad(next);
    showWarnings(next);
    const tab = current();
    for (const button of get("tabs").children) {
      const isCurrent = button.dataset.view === tab;
      button.setAttribute("aria-selected", `${isCurrent}`);
      button.setAttribute("tabindex", isCurrent ? "0" : "-1");
    }
    get("filters").hidden = tab === "task";
    get("tree-label").hidden = tab !== "tasks";
    get("tree").checked = state.has("tree");
    const { content } = next;
    const focused = document.activeElement?.getAttribute("data-key") ?? null;
    if (content === null) get("content").replaceChildren(element("p", "", "No runtime yet."));
    else if (content.view === "tasks") showTasks(content, next);
    else if (content.view === "groups") showGroups(content);
    else if (content.view === "resources") showResources(content);
    else showTask(content, next);
    if (focused !== null && document.activeElement?.getAttribute("data-key") !== focused) {
      for (const found of get("content").querySelectorAll("[data-key]")) {
        if (found.getAttribute("data-key") === focused) found.focus({ preventScroll: true });
      }
    }
  }

  function showStatus({ stuck, answeredMs, runtimes }: View): void {
    const alert = get("stuck");
    setText(alert, stuck === null ? "" : stuck.text);
    alert.hidden = stuck === null;
    const status = get("status");
    status.className = stuck === null ? "good" : "bad";
    if (stuck !== null) {
      const age = answeredMs === null ? "" : `; what follows is ${duration(answeredMs)} old`;
      setText(status, `stuck${age}`);
    } else setText(status, answeredMs === null ? "waiting for the program" : "live");
    const select = get("runtime");
    const ids = runtimes.map(({ id }) => `${id}`).join();
    if (select.dataset.ids !== ids) {
      select.dataset.ids = ids;
      select.replaceChildren(
        ...runtimes.map(({ id }) => {
          const option = element("option", "", `runtime ${id}`);
          option.value = `${id}`;
          return option;
        }),
      );
    }
    select.hidden = runtimes.length < 2;
    if (view?.runtime != null && document.activeElement !== select)
      select.value = `${view.runtime}`;
  }

  function showLoad({ samples, runtimes, runtime }: View): void {
    const maxLagMs = Math.max(10, ...samples.map(({ lagMs }) => lagMs));
    const points = (of: (sample: View["samples"][number]) => number): string =>
      samples
        .map((sample, index) => {
          const x = 240 - 2 * (samples.length - 1 - index);
          return `${x},${(39 - 38 * Math.min(of(sample), 1)).toFixed(1)}`;
        })
        .join(" ");
    get("busy").setAttribute(
      "points",
      points(({ busy }) => busy),
    );
    get("lag").setAttribute(
      "points",
      points(({ lagMs }) => lagMs / maxLagMs),
    );
    const { busy = 0, lagMs = 0 } = samples.at(-1) ?? {};
    setText(get("busy-text"), `busy ${(busy * 100).toFixed(0)} %`);
    setText(get("lag-text"), `lag ${duration(lagMs)} (scale: ${duration(maxLagMs)})`);
    const shown = runtimes.find(({ id }) => id === runtime);
    if (shown === undefined) return;
    const { tasks, timers, fds, jobs, polls } = shown;
    setText(
      get("counts"),
      [
        some(tasks, "task"),
        some(timers, "timer"),
        some(fds, "fd"),
        some(jobs, "job"),
        some(polls, "poll"),
      ].join(", "),
    );
  }

  function showWarnings({ warnings, stuck }: View): void {
    const all = stuck === null ? warnings : [stuck, ...warnings];
    const list = get("warning-list");
    const key = JSON.stringify(all);
    if (list.dataset.shown === key) return;
    list.dataset.shown = key;
    const focused = document.activeElement?.dataset.warning ?? null;
    list.replaceChildren(...all.map(warningItem));
    get("no-warnings").hidden = all.length > 0;
    for (const button of list.querySelectorAll("button")) {
      if (focused !== null && button.dataset.warning === focused)
        button.focus({ preventScroll: true });
    }
  }

  function warningItem(warning: Warning): Element {
    const { kind, runtime, task, group, text } = warning;
    const label = element("span", "kind", kind);
    if (task === 0 && group === undefined) return element("li", "", label, ` ${text}`);
    const button = element("button", "link", text);
    button.dataset.warning = `${kind} ${runtime} ${task} ${group}`;
    button.addEventListener("click", () => {
      if (group === undefined) openTask(task, runtime);
      else openGroup(group, runtime);
    });
    return element("li", "", label, " ", button);
  }

  function openTask(id: number, runtime: number | null = view?.runtime ?? null): void {
    go({
      view: "task",
      task: `${id}`,
      runtime: runtime === null || runtime === 0 ? null : `${runtime}`,
    });
  }

  function openGroup(group: string, runtime: number | null = view?.runtime ?? null): void {
    go({
      view: "tasks",
      group,
      offset: null,
      task: null,
      runtime: runtime === null ? null : `${runtime}`,
    });
  }

  type Column = readonly [key: string, title: string, isNumber: boolean];

  /** Shows a table in `content`, whose rows keep their elements. */
  function showTable(
    name: string,
    columns: readonly Column[],
    rows: readonly {
      readonly key: string;
      readonly label: string;
      readonly cells: readonly string[];
      readonly depth?: number;
      readonly open: () => void;
    }[],
    caption: string,
  ): void {
    const content = get("content");
    if (content.dataset.shown !== name) {
      content.dataset.shown = name;
      const head = element("tr");
      for (const [key, title, isNumber] of columns) {
        const button = element("button", "sort", title);
        button.dataset.sort = key;
        button.setAttribute("data-key", `sort ${key}`);
        button.addEventListener("click", () => {
          const isSame = (state.get("sort") ?? "id") === key;
          const isDescending = isSame ? state.get("order") !== "desc" : isNumber && key !== "id";
          go({ sort: key, order: isDescending ? "desc" : null, offset: null });
        });
        const cell = element("th", isNumber ? `number ${key}` : key, button);
        cell.setAttribute("scope", "col");
        head.append(cell);
      }
      const table = element(
        "table",
        name,
        element("caption"),
        element("thead", "", head),
        element("tbody"),
      );
      content.replaceChildren(table);
      table.addEventListener("keydown", onRowKey);
    }
    setText(content.querySelector("caption")!, caption);
    for (const cell of content.querySelectorAll("th")) {
      const key = cell.querySelector("button")?.dataset.sort;
      const isSorted = (state.get("sort") ?? (name === "tasks" ? "id" : "count")) === key;
      if (isSorted)
        cell.setAttribute("aria-sort", state.get("order") === "desc" ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    }
    const body = content.querySelector("tbody")!;
    const known = new Map([...body.children].map((row) => [row.getAttribute("data-key"), row]));
    const shown = rows.map((row) => {
      let line = known.get(row.key);
      if (line === undefined) {
        line = element(
          "tr",
          "",
          ...columns.map(([key, , isNumber]) => element("td", isNumber ? `number ${key}` : key)),
        );
        line.setAttribute("data-key", row.key);
        line.setAttribute("tabindex", "-1");
        line.addEventListener("click", () => row.open());
      }
      line.setAttribute("aria-label", row.label);
      [...line.children].forEach((cell, index) => {
        setText(cell, row.cells[index] ?? "");
      });
      line.children[0]?.setAttribute("data-depth", `${Math.min(row.depth ?? 0, 12)}`);
      return line;
    });
    const isSame =
      shown.length === body.children.length &&
      shown.every((line, index) => body.children[index] === line);
    if (!isSame) body.replaceChildren(...shown);
    const isAnyTabbable = shown.some((line) => line.getAttribute("tabindex") === "0");
    if (!isAnyTabbable) shown[0]?.setAttribute("tabindex", "0");
  }

  function moveTo(row: Element | null): void {
    if (row === null) return;
    for (const other of get("content").querySelectorAll("tbody tr"))
      other.setAttribute("tabindex", "-1");
    row.setAttribute("tabindex", "0");
    row.focus();
  }

  function onRowKey(event: KeyEvent): void {
    const row = event.target.closest("tbody tr");
    if (row === null) return;
    const rows = [...get("content").querySelectorAll("tbody tr")];
    const moves: Record<string, () => void> = {
      ArrowDown: () => moveTo(row.nextElementSibling),
      ArrowUp: () => moveTo(row.previousElementSibling),
      Home: () => moveTo(rows[0] ?? null),
      End: () => moveTo(rows.at(-1) ?? null),
      Enter: () => row.click(),
    };
    const move = moves[event.key];
    if (move === undefined) return;
    event.preventDefault();
    move();
  }

  function showTasks(
    { rows, total, matching, offset }: TasksView,
    { runtimes, runtime }: View,
  ): void {
    const columns: Column[] = [
      ["name", "task", false],
      ["state", "state", false],
      ["waitsOn", "waits on", false],
      ["polls", "polls", true],
      ["busyMs", "busy", true],
      ["longestPollMs", "longest poll", true],
      ["ageMs", "age", true],
    ];
    const passMs = runtimes.find(({ id }) => id === runtime)?.passMs ?? 0;
    const group = state.get("group");
    const parts = [
      matching === total ? some(total, "task") : `${count(matching)} of ${some(total, "task")}`,
      ...(group === null ? [] : [`named ${group} (Escape shows all)`]),
      ...(passMs > 1500 ? [`rows are up to ${duration(passMs)} old`] : []),
    ];
    showTable(
      "tasks",
      columns,
      rows.map((row) => ({
        key: `task ${row.id}`,
        label: `${row.name}, ${row.state}`,
        depth: row.depth,
        cells: [
          row.name,
          row.state,
          row.state === "waiting" ? row.waitsOn : "",
          count(row.polls),
          duration(row.busyMs),
          duration(row.longestPollMs),
          duration(row.ageMs),
        ],
        open: () => openTask(row.id),
      })),
      parts.join(", "),
    );
    showPager(offset, rows.length, matching);
  }

  function showGroups({ rows, total, offset }: GroupsView): void {
    const columns: Column[] = [
      ["name", "name", false],
      ["count", "tasks", true],
      ["growth", "growth", true],
      ["outlived", "orphans", true],
      ["waiting", "waiting", true],
      ["polls", "polls", true],
      ["busyMs", "busy", true],
      ["longestPollMs", "longest poll", true],
    ];
    showTable(
      "groups",
      columns,
      rows.map((row) => ({
        key: `group ${row.name}`,
        label: `${row.name}: ${some(row.count, "task")}`,
        cells: [
          row.name,
          count(row.count),
          row.growth > 0 ? `+${count(row.growth)}` : "",
          count(row.outlived),
          count(row.waiting),
          count(row.polls),
          duration(row.busyMs),
          duration(row.longestPollMs),
        ],
        open: () => openGroup(row.name),
      })),
      `${some(total, "name")}; growth: since one last ended; orphans outlive their spawner`,
    );
    showPager(offset, rows.length, total);
  }

  function showPager(offset: number, shown: number, total: number): void {
    const content = get("content");
    let pager = content.querySelector("nav");
    if (pager === null) {
      const previous = element("button", "", "previous");
      const next = element("button", "", "next");
      previous.addEventListener("click", () => turn(-100));
      next.addEventListener("click", () => turn(100));
      pager = element("nav", "pager", previous, element("span"), next);
      pager.setAttribute("aria-label", "Pages");
      content.append(pager);
    }
    pager.hidden = total <= shown;
    pager.dataset.total = `${total}`;
    setText(
      pager.querySelector("span")!,
      `${count(offset + 1)} to ${count(offset + shown)} of ${count(total)}`,
    );
  }

  function turn(by: number): void {
    const total = Number(get("content").querySelector("nav")?.dataset.total ?? 0);
    const offset = Number(state.get("offset") ?? 0) + by;
    if (offset >= 0 && offset < total) go({ offset: `${offset}` });
  }

  function taskButton({ id, name, isEnded }: Named): Element {
    const label = `${name}${isEnded ? " (has ended)" : ""}`;
    const button = element("button", isEnded ? "link ended" : "link", label);
    button.setAttribute("data-key", `task ${id}`);
    button.addEventListener("click", () => openTask(id));
    return button;
  }

  function listOf(items: readonly (Element | string)[]): Element {
    return element("ul", "", ...items.map((item) => element("li", "", item)));
  }

  function rest(shown: number, total: number): string[] {
    return total > shown ? [`and ${count(total - shown)} more`] : [];
  }

  function lockBlock({ text, holders, waiting, queue }: LockView): Element {
    const parts: Element[] = [element("h3", "", text)];
    if (holders.length > 0) parts.push(element("p", "", "held by ", ...holders.map(taskButton)));
    const waiters = queue.map((one) => element("span", "", taskButton(one), ` ${one.waitsOn}`));
    parts.push(element("p", "", `${count(waiting)} waiting:`));
    parts.push(listOf([...waiters, ...rest(queue.length, waiting)]));
    return element("section", "lock", ...parts);
  }

  /** Replaces the content, unless it is the same: then the focus and a selection stay. */
  function replaceContent(key: unknown, create: () => readonly Element[]): void {
    const content = get("content");
    const shown = JSON.stringify(key);
    if (content.dataset.shown === shown) return;
    content.dataset.shown = shown;
    content.replaceChildren(...create());
  }

  function showResources(resources: ResourcesView): void {
    const { locks, sockets, timers, offset } = resources;
    replaceContent(resources, () => [
      element("h2", "", `Locks and channels that tasks wait for: ${count(locks.total)}`),
      ...locks.rows.map(lockBlock),
      element("h2", "", `Timers: ${count(timers.total)}`),
      listOf(
        timers.rows.map(({ task, leftMs }) =>
          element("span", "", `${duration(leftMs)} left `, taskButton(task)),
        ),
      ),
      element("h2", "", `Sockets and other fds: ${count(sockets.total)}`),
      listOf(
        sockets.rows.map(({ fd, kind, local, remote, tasks }) => {
          const text = `fd ${fd} ${kind} ${local ?? ""}${remote === null ? "" : ` ← ${remote}`}: `;
          const users = tasks.length === 0 ? ["no task waits for it"] : tasks.map(taskButton);
          return element("span", "", text, ...users);
        }),
      ),
    ]);
    showPager(offset, sockets.rows.length, sockets.total);
  }

  function showTask(page: TaskPageView, { warnings, runtime }: View): void {
    if (!page.isKnown) {
      replaceContent(page, () => [
        element("p", "", `Task #${page.id} has ended, or was not seen yet.`),
      ]);
      return;
    }
    const { task, isEnded, spawner, spawnedAt, stack, fds, waitsFor, resources, children } = page;
    const facts: [string, (Element | string)[]][] = [
      ["state", [isEnded ? "ended" : task.state]],
      ["waits on", [task.state === "waiting" && !isEnded ? task.waitsOn : "nothing"]],
      ["waits for", waitsFor.map(taskButton)],
      ["polls", [`${count(task.polls)}, longest ${duration(task.longestPollMs)}`]],
      ["busy", [duration(task.busyMs)]],
      ["woke itself", [page.selfWakes === null ? "–" : `${count(page.selfWakes)} times`]],
      ["age", [duration(task.ageMs)]],
      ["spawned by", [spawner === null ? "no task" : taskButton(spawner)]],
      ["spawned at", [spawnedAt ?? "unknown outside debug mode"]],
      [
        "fds",
        fds.map(
          ({ fd, local, remote }) =>
            `fd ${fd}: ${local ?? "?"}${remote === null ? "" : `, peer ${remote}`} `,
        ),
      ],
    ];
    replaceContent(page, () => {
      const own = warnings.filter(
        (warning) => warning.task === task.id && warning.runtime === runtime,
      );
      const terms = facts
        .filter(([, values]) => values.length > 0)
        .flatMap(([name, values]) => [element("dt", "", name), element("dd", "", ...values)]);
      const back = element("button", "", "back to the tasks (Escape)");
      back.setAttribute("data-key", "back");
      back.addEventListener("click", leaveTask);
      const heading = element("h2", "", task.name);
      heading.id = "task-name";
      return [
        back,
        heading,
        ...own.map(({ text }) => element("p", "warning", text)),
        element("dl", "", ...terms),
        element("h3", "", "Stack"),
        stack.length === 0
          ? element(
              "p",
              "",
              isEnded
                ? "It has ended."
                : "None: it does not wait, or it is an async function outside debug mode.",
            )
          : element("ol", "stack", ...stack.map((frame) => element("li", "", frame))),
        ...resources.map(lockBlock),
        element("h3", "", `Tasks that it spawned: ${count(children.total)}`),
        listOf([...children.rows.map(taskButton), ...rest(children.rows.length, children.total)]),
        element("h3", "", "History"),
        historyTable(page.history),
      ];
    });
  }

  function historyTable(history: Extract<TaskPageView, { isKnown: true }>["history"]): Element {
    const rows = history.slice(1).map((now, index) => {
      const before = history[index]!;
      const cells = [
        `${((now.ms - history.at(-1)!.ms) / 1000).toFixed(1)} s`,
        now.state,
        `${count(now.polls - before.polls)}`,
        duration(Math.max(0, now.busyMs - before.busyMs)),
      ];
      return element("tr", "", ...cells.map((cell) => element("td", "", cell)));
    });
    const head = ["when", "state", "polls", "busy"].map((title) => element("th", "", title));
    return element(
      "table",
      "history",
      element("thead", "", element("tr", "", ...head)),
      element("tbody", "", ...rows.reverse().slice(0, 12)),
    );
  }

  function leaveTask(): void {
    go({ view: "tasks", task: null });
  }

  // What the user does.

  function onKey(event: KeyEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const isTyping = event.target.id === "filter";
    if (event.key === "Escape") {
      if (isTyping) get("filter").blur();
      if (current() === "task") leaveTask();
      else {
        get("filter").value = "";
        go({ filter: null, group: null, offset: null });
      }
    } else if (isTyping) {
      if (event.key !== "Enter" && event.key !== "ArrowDown") return;
      event.preventDefault();
      moveTo(get("content").querySelector("tbody tr"));
    } else if (event.key === "/") {
      event.preventDefault();
      if (current() === "task") leaveTask();
      get("filters").hidden = false;
      get("filter").focus();
      get("filter").select();
    } else if (event.key === "n") turn(100);
    else if (event.key === "p") turn(-100);
    else if (event.key === "t") go({ tree: state.has("tree") ? null : "1", offset: null });
  }

  function onTabKey(event: KeyEvent): void {
    const { target, key } = event;
    const next =
      key === "ArrowRight"
        ? target.nextElementSibling
        : key === "ArrowLeft"
          ? target.previousElementSibling
          : null;
    if (next === null) return;
    event.preventDefault();
    next.click();
    next.focus();
  }

  function drawGrid(): void {
    const grid = document.createElementNS(SVG, "path");
    grid.setAttribute("class", "grid");
    grid.setAttribute("d", "M0 1H240M0 20H240M0 39H240");
    get("chart").append(grid);
    for (const id of ["busy", "lag"]) {
      const line = document.createElementNS(SVG, "polyline");
      line.id = id;
      get("chart").append(line);
    }
  }

  drawGrid();
  for (const tab of get("tabs").children) {
    tab.addEventListener("click", () => {
      const { view: name = null } = tab.dataset;
      const order =
        name === "groups" ? { sort: "count", order: "desc" } : { sort: null, order: null };
      go({ view: name, task: null, offset: null, ...order });
    });
    tab.addEventListener("keydown", onTabKey);
  }
  get("filter").value = state.get("filter") ?? "";
  get("filter").addEventListener("input", () => go({ filter: get("filter").value, offset: null }));
  get("tree").addEventListener("change", () =>
    go({ tree: get("tree").checked ? "1" : null, offset: null }),
  );
  get("runtime").addEventListener("change", () =>
    go({ runtime: get("runtime").value, task: null, offset: null }),
  );
  document.addEventListener("keydown", onKey);
  document.addEventListener("visibilitychange", () => void refresh());
  addEventListener("hashchange", read);
  void refresh();
}

/** Light and dark; one column on a phone. */
export const style: string = `
:root { color-scheme: light dark; --back: #fff; --text: #1b1f24; --dim: #59636e; --line: #d1d9e0; --row: #f3f5f7; --blue: #0550ae; --red: #b3261e; --redback: #fff0ee; --green: #116329; --orange: #9a4d00; }
@media (prefers-color-scheme: dark) { :root { --back: #0f1318; --text: #e6e9ed; --dim: #9aa4af; --line: #343b44; --row: #191f26; --blue: #7cb7ff; --red: #ff9c93; --redback: #3a1512; --green: #6fd58a; --orange: #f2a65a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 0 1rem 3rem; max-width: 80rem; background: var(--back); color: var(--text); font: 15px/1.45 system-ui, sans-serif; }
header { display: flex; flex-wrap: wrap; gap: .25rem 1rem; align-items: baseline; padding: .75rem 0 .25rem; }
h1 { font-size: 1.1rem; margin: 0; }
h2 { font-size: 1.05rem; margin: 1rem 0 .4rem; overflow-wrap: anywhere; }
h3 { font-size: .95rem; margin: .8rem 0 .2rem; overflow-wrap: anywhere; }
p { margin: .3rem 0; overflow-wrap: anywhere; }
#program { color: var(--dim); overflow-wrap: anywhere; }
.good { color: var(--green); }
.bad { color: var(--red); font-weight: 600; }
#stuck, .warning { padding: .5rem .75rem; border-left: 4px solid var(--red); background: var(--redback); font-weight: 600; overflow-wrap: anywhere; }
#load { display: flex; flex-wrap: wrap; gap: .25rem 1rem; align-items: center; }
#chart { width: 100%; max-width: 30rem; height: 3.2rem; border: 1px solid var(--line); }
.grid { stroke: var(--line); stroke-width: .5; }
polyline { fill: none; stroke-width: 1.5; vector-effect: non-scaling-stroke; }
#busy { stroke: var(--blue); }
#lag { stroke: var(--orange); stroke-dasharray: 4 2; }
#busy-text { color: var(--blue); }
#lag-text { color: var(--orange); }
#counts, #no-warnings { color: var(--dim); }
ul { margin: .2rem 0; padding-left: 1.2rem; }
#warning-list { list-style: none; padding: 0; }
#warning-list li { display: flex; gap: .6rem; align-items: baseline; padding: .15rem 0; }
.kind { flex: none; padding: 0 .4rem; border: 1px solid var(--red); border-radius: .6rem; color: var(--red); font-size: .8rem; }
button, input, select { font: inherit; color: inherit; background: var(--row); border: 1px solid var(--line); border-radius: .3rem; padding: .25rem .6rem; }
button { cursor: pointer; }
.link, .sort { border: 0; background: none; padding: 0; color: var(--blue); text-align: left; overflow-wrap: anywhere; }
.link:hover { text-decoration: underline; }
.sort { color: inherit; font-weight: 600; }
.ended { color: var(--red); }
:focus-visible { outline: 2px solid var(--blue); outline-offset: 1px; }
#tabs { display: flex; gap: .3rem; margin: .75rem 0 .5rem; border-bottom: 1px solid var(--line); }
#tabs button { border-bottom: 0; border-radius: .3rem .3rem 0 0; }
#tabs [aria-selected="true"] { background: var(--back); border-color: var(--dim); font-weight: 600; }
#filters { display: flex; flex-wrap: wrap; gap: .5rem 1rem; align-items: center; }
#filter { width: min(100%, 24rem); }
[hidden] { display: none !important; }
table { width: 100%; border-collapse: collapse; }
caption { text-align: left; color: var(--dim); padding: .3rem 0; overflow-wrap: anywhere; }
th, td { text-align: left; padding: .2rem .5rem .2rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { vertical-align: bottom; }
td.name, td.waitsOn { overflow-wrap: anywhere; min-width: 6rem; }
th[aria-sort="ascending"] button::after { content: " \\2191"; }
th[aria-sort="descending"] button::after { content: " \\2193"; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
td.number { white-space: nowrap; }
.number .sort { text-align: right; }
tbody tr[data-key] { cursor: pointer; }
tbody tr[data-key]:hover, tbody tr[data-key]:focus { background: var(--row); }
DEPTHS
.pager { display: flex; gap: 1rem; align-items: center; padding: .6rem 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: .4rem 0; }
dt { color: var(--dim); }
dd { margin: 0; overflow-wrap: anywhere; }
dd .link { margin-right: .8rem; }
.stack { font-family: ui-monospace, monospace; font-size: .9rem; overflow-wrap: anywhere; }
.lock { border-left: 3px solid var(--line); padding-left: .75rem; }
.history { width: auto; }
.history td { padding-right: 1.5rem; }
footer { color: var(--dim); margin-top: 2rem; font-size: .85rem; }
@media (max-width: 40rem) {
  body { padding: 0 .6rem 2rem; }
  .polls, .longestPollMs, .ageMs, .outlived, .waiting, .growth { display: none; }
  button, input, select { min-height: 2.2rem; }
  #tree { min-height: 0; }
  .link, .sort { min-height: 0; }
  #warning-list li { flex-wrap: wrap; gap: 0 .6rem; }
}
`.replace(
  "DEPTHS",
  Array.from(
    { length: 13 },
    (_, depth) => `td[data-depth="${depth}"] { padding-left: ${depth}rem; }`,
  ).join("\n"),
);

/** The page. `NONCE` stands for the nonce of the response, SCRIPT and STYLE for the parts above. */
export const html: string = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>guillotine</title>
<style nonce="NONCE">STYLE</style>
</head>
<body>
<header>
<h1>guillotine</h1>
<span id="program"></span>
<select id="runtime" aria-label="Runtime" hidden></select>
<span id="status" role="status">connecting</span>
</header>
<p id="stuck" role="alert" hidden></p>
<section id="load" aria-label="Load">
<svg id="chart" viewBox="0 0 240 40" preserveAspectRatio="none" role="img" aria-label="Busy ratio and loop lag over the last minute"></svg>
<div><span id="busy-text"></span><br><span id="lag-text"></span></div>
<p id="counts"></p>
</section>
<section aria-labelledby="warnings-title">
<h2 id="warnings-title">Warnings</h2>
<ul id="warning-list"></ul>
<p id="no-warnings">none</p>
</section>
<nav id="tabs" role="tablist" aria-label="Views">
<button role="tab" data-view="tasks" aria-controls="content">Tasks</button>
<button role="tab" data-view="groups" aria-controls="content">Groups</button>
<button role="tab" data-view="resources" aria-controls="content">Resources</button>
</nav>
<div id="filters">
<input id="filter" type="search" placeholder="filter: press /" aria-label="Filter by name, state or wait" autocomplete="off" spellcheck="false">
<label id="tree-label"><input id="tree" type="checkbox"> below their spawners (t)</label>
</div>
<main id="content" role="tabpanel" aria-label="What the runtime does"></main>
<footer>/ filter, arrow keys and Enter open a task, Escape goes back, n and p turn pages, t tree</footer>
<script nonce="NONCE">SCRIPT</script>
</body>
</html>
`;
