// What the page gets from the Worker: the JSON of `/data`.

import type { SocketRow } from "./protocol.ts";

export interface View {
  /** The program and its pid. */
  readonly title: string;
  /** What holds the thread; null if nothing does. */
  readonly stuck: Warning | null;
  /** How long ago the thread last answered; null before its first answer. */
  readonly answeredMs: number | null;
  readonly upMs: number;
  readonly runtimes: readonly RuntimeView[];
  /** The runtime that `content` shows. */
  readonly runtime: number | null;
  /** Two per second: the part of the time spent in polls, and how late the thread answered. */
  readonly samples: readonly { readonly busy: number; readonly lagMs: number }[];
  readonly warnings: readonly Warning[];
  readonly content: TasksView | GroupsView | ResourcesView | TaskPageView | null;
}

export interface RuntimeView {
  readonly id: number;
  readonly tasks: number;
  readonly ended: number;
  readonly polls: number;
  readonly timers: number;
  readonly fds: number;
  readonly jobs: number;
  /** How old the oldest rows are. */
  readonly passMs: number;
}

export interface Warning {
  readonly kind: string;
  readonly runtime: number;
  /** 0 if it is about no single task. */
  readonly task: number;
  /** The name of the tasks that it is about. */
  readonly group?: string;
  readonly text: string;
}

export interface Named {
  readonly id: number;
  readonly name: string;
  readonly isEnded: boolean;
}

export interface TaskView {
  readonly id: number;
  readonly name: string;
  readonly state: string;
  readonly waitsOn: string;
  readonly polls: number | null;
  readonly busyMs: number | null;
  readonly longestPollMs: number | null;
  readonly ageMs: number | null;
  /** How many of its spawners are above it, in a tree. */
  readonly depth: number;
}

export interface TasksView {
  readonly view: "tasks";
  readonly total: number;
  readonly matching: number;
  readonly offset: number;
  readonly rows: readonly TaskView[];
}

export interface GroupView {
  readonly name: string;
  count: number;
  /** How many more there are since one was last seen to end. */
  growth: number;
  /** How many outlive the task that spawned them. */
  readonly outlived: number;
  waiting: number;
  polls: number;
  busyMs: number;
  longestPollMs: number;
}

export interface GroupsView {
  readonly view: "groups";
  readonly total: number;
  readonly offset: number;
  readonly rows: readonly GroupView[];
}

/** A lock or a channel. */
export interface LockView {
  readonly kind: string;
  readonly text: string;
  readonly holders: readonly Named[];
  readonly waiting: number;
  readonly queue: readonly (Named & { readonly waitsOn: string })[];
}

export interface ResourcesView {
  readonly view: "resources";
  /** Of the sockets. */
  readonly offset: number;
  readonly locks: { readonly total: number; readonly rows: readonly LockView[] };
  readonly sockets: {
    readonly total: number;
    readonly rows: readonly (SocketRow & { readonly tasks: readonly Named[] })[];
  };
  readonly timers: {
    readonly total: number;
    readonly rows: readonly { readonly task: Named; readonly leftMs: number }[];
  };
}

export type TaskPageView =
  | { readonly view: "task"; readonly id: number; readonly isKnown: false }
  | {
      readonly view: "task";
      readonly id: number;
      readonly isKnown: true;
      readonly isEnded: boolean;
      readonly task: TaskView;
      readonly spawner: Named | null;
      readonly spawnedAt: string | null;
      readonly stack: readonly string[];
      readonly fds: readonly Omit<SocketRow, "kind">[];
      readonly waitsFor: readonly Named[];
      readonly resources: readonly LockView[];
      readonly children: { readonly total: number; readonly rows: readonly Named[] };
      readonly selfWakes: number | null;
      readonly history: readonly {
        readonly ms: number;
        readonly polls: number;
        readonly busyMs: number;
        readonly state: string;
      }[];
    };
