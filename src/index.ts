// All that the package exports, by name.

export { fromPromise } from "./combine/from-promise.ts";
export { join, joinAll } from "./combine/join.ts";
export { race, select } from "./combine/race.ts";
export { shield } from "./combine/shield.ts";
export { TimeoutError, timeout } from "./combine/timeout.ts";
export { withSignal } from "./combine/with-signal.ts";
export { Context } from "./core/context.ts";
export { AbortError, type Coroutine, Future } from "./core/future.ts";
export { type IntoFuture, intoFuture, type Output } from "./core/into-future.ts";
export { type Next, Pending, type Poll } from "./core/poll.ts";
export { Waker, type WakerHandle, WakeTarget } from "./core/waker.ts";
export { AsyncFd } from "./io/async-fd.ts";
export { ClosedError } from "./io/source.ts";
export { type ListenOptions, TcpListener } from "./net/tcp-listener.ts";
export { TcpStream } from "./net/tcp-stream.ts";
export { type Received, type UdpOptions, UdpSocket } from "./net/udp.ts";
export { ctrlC, signal } from "./process/signals.ts";
export { DeadlockError, UncaughtTaskError } from "./runtime/errors.ts";
export { JoinHandle } from "./runtime/join-handle.ts";
export type {
  Metrics,
  OnUncaught,
  RuntimeOptions,
  SpawnOptions,
  TaskInfo,
} from "./runtime/options.ts";
export { Runtime } from "./runtime/runtime.ts";
export type { TaskState } from "./runtime/task.ts";
export { Barrier } from "./sync/barrier.ts";
export { BroadcastReceiver, BroadcastSender, broadcast, Lagged } from "./sync/broadcast.ts";
export { ChannelClosedError } from "./sync/closed.ts";
export { mpsc, Receiver, Sender, UnboundedSender, unboundedMpsc } from "./sync/mpsc.ts";
export { Mutex, MutexGuard } from "./sync/mutex.ts";
export { Notify } from "./sync/notify.ts";
export { OnceCell } from "./sync/once-cell.ts";
export { OneshotReceiver, OneshotSender, oneshot } from "./sync/oneshot.ts";
export type { SyncOptions } from "./sync/options.ts";
export { ReadGuard, RwLock, WriteGuard } from "./sync/rw-lock.ts";
export { Permit, Semaphore } from "./sync/semaphore.ts";
export { WatchReceiver, WatchSender, watch } from "./sync/watch.ts";
export { SysError } from "./sys/errno.ts";
export { UnsupportedPlatformError } from "./sys/libc.ts";
export { isSupported } from "./sys/linux.ts";
export type { AddressLike, SocketAddress } from "./sys/sockaddr.ts";
export type { Sys } from "./sys/sys.ts";
export { JoinSet, type JoinSetOptions, type SetTask } from "./task/join-set.ts";
export { type Scope, scope } from "./task/scope.ts";
export { spawn, spawnBlocking, yieldNow } from "./task/spawn.ts";
export { Interval, interval } from "./time/interval.ts";
export { sleep, sleepUntil } from "./time/sleep.ts";
