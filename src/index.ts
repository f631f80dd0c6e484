// The public API of bun-guillotine: named re-exports only. bun-guillotine/sys is in sys/index.ts.

export type { HistogramCounts } from "./base/histogram.ts";
export { abortSignal } from "./combine/abort-signal.ts";
export { allSettled } from "./combine/all-settled.ts";
export { CancelToken } from "./combine/cancel-token.ts";
export { type FromPromiseOptions, fromPromise } from "./combine/from-promise.ts";
export { type HedgeOptions, hedge } from "./combine/hedge.ts";
export { join, joinAll, type Outputs } from "./combine/join.ts";
export { type ForEachOptions, forEach, type MapOptions, map } from "./combine/map.ts";
export { race, type Selected, select, type Winner } from "./combine/race.ts";
export type { Repeatable } from "./combine/repeatable.ts";
export { type RetryOptions, retry } from "./combine/retry.ts";
export { shield } from "./combine/shield.ts";
export { deadline, orUndefined, TimeoutError, timeout } from "./combine/timeout.ts";
export { withSignal } from "./combine/with-signal.ts";
export { type Blocker, Context, type TaskRef, type WaitingFd } from "./core/context.ts";
export { AbortError, type Coroutine, Future } from "./core/future.ts";
export { type IntoFuture, intoFuture, type Output } from "./core/into-future.ts";
export { Leaf } from "./core/leaf.ts";
export { Again, type Next, Pending, type Poll } from "./core/poll.ts";
export { type WakerHandle, WakeTarget } from "./core/wake-target.ts";
export { Waker } from "./core/waker.ts";
export type { RuntimeDump, TaskDump } from "./inspect/dump.ts";
export { AsyncFd, pipe } from "./io/async-fd.ts";
export {
  BufReader,
  type BufReaderOptions,
  type MaxBytesOptions,
  type ReadLineOptions,
} from "./io/buf-reader.ts";
export { BufWriter, type BufWriterOptions } from "./io/buf-writer.ts";
export type { TextEncoding } from "./io/buffered-read.ts";
export type { ByteReader, ByteStream, ByteWriter, ReadChunkOptions } from "./io/bytes.ts";
export { type CopyCounts, CopyError, type CopyOptions, copy } from "./io/copy.ts";
export {
  type CopyBidirectionalOptions,
  copyBidirectional,
  IdleTimeoutError,
} from "./io/copy-bidirectional.ts";
export { isDisconnect } from "./io/disconnect.ts";
export { type DuplexOptions, DuplexStream, duplex } from "./io/duplex.ts";
export { type Decode, type DecodedFrame, Frames } from "./io/frames.ts";
export {
  delimited,
  delimitedWriter,
  type Encode,
  FrameWriter,
  frames,
  frameWriter,
  type LengthDelimitedOptions,
  lengthDelimited,
  lengthDelimitedWriter,
} from "./io/framing.ts";
export {
  fromReadable,
  fromWritable,
  WebReader,
  type WebSink,
  type WebSource,
  WebWriter,
} from "./io/from-web.ts";
export { type FdLike, OwnedFd } from "./io/owned-fd.ts";
export { ClosedError } from "./io/source.ts";
export { ReadHalf, split, WriteHalf } from "./io/split.ts";
export {
  ConcurrentUseError,
  LineTooLongError,
  MessageTooLongError,
  UnexpectedEofError,
  UnflushedError,
} from "./io/stream-errors.ts";
export { type MaybeSocket, type ToDuplexOptions, toDuplex } from "./io/to-duplex.ts";
export { type MaybeClosable, type ToWebOptions, toReadable, toWritable } from "./io/to-web.ts";
export type { Socket } from "./net/base-socket.ts";
export {
  type CanFilter,
  type CanFrame,
  type CanOptions,
  CanSocket,
  type ReceivedCanFrame,
} from "./net/can.ts";
export type {
  CanControllerProblem,
  CanErrorClass,
  CanErrorReport,
  CanProtocolViolation,
} from "./net/can-error.ts";
export { ConnectError, type ConnectOptions } from "./net/connect.ts";
export type { FinishOptions } from "./net/finish.ts";
export type { SocketKind } from "./net/from-fd.ts";
export {
  type InheritedSocket,
  inheritedSockets,
  type NotifyOptions,
  notify,
} from "./net/inherited.ts";
export type { ListenerSocket } from "./net/listener-socket.ts";
export { type LookupAddress, LookupError, type LookupOptions, lookup } from "./net/lookup.ts";
export type { MulticastOptions } from "./net/multicast.ts";
export { Netlink, type NetlinkOptions } from "./net/netlink.ts";
export {
  encodeNetlinkPayload,
  type NetlinkAttribute,
  type NetlinkMessage,
  type OutgoingNetlinkMessage,
  parseNetlinkAttributes,
  parseNetlinkMessages,
} from "./net/netlink-message.ts";
export type { IpOptions, OptionValues, SocketOptions, UdpSocketOptions } from "./net/options.ts";
export { type PingOptions, type PingReply, ping } from "./net/ping.ts";
export type { RawMessage } from "./net/raw-operations.ts";
export { type RawSendOptions, RawSocket } from "./net/raw-socket.ts";
export type { StreamSocket } from "./net/stream-socket.ts";
export { type ListenOptions, TcpListener } from "./net/tcp-listener.ts";
export type { KeepAliveOptions, TcpInfo, TcpOptions } from "./net/tcp-options.ts";
export { TcpStream } from "./net/tcp-stream.ts";
export { TlsError, TlsTruncatedError } from "./net/tls-error.ts";
export { TlsListener } from "./net/tls-listener.ts";
export type { Pem, TlsConnectOptions, TlsOptions, TlsServerOptions } from "./net/tls-options.ts";
export { TlsStream } from "./net/tls-stream.ts";
export {
  type Datagram,
  type OutgoingDatagram,
  type ReceivedDatagram,
  type UdpOptions,
  UdpSocket,
} from "./net/udp.ts";
export type { UdpSendError } from "./net/udp-error.ts";
export type { SendMessageOptions, UdpMessage } from "./net/udp-message.ts";
export type { UnixBindOptions } from "./net/unix-address.ts";
export { UnixDatagram } from "./net/unix-datagram.ts";
export {
  UnixListener,
  type UnixListenerSocket,
  type UnixListenOptions,
  UnixSeqpacketListener,
} from "./net/unix-listener.ts";
export {
  PassedFdsError,
  type PeerCredentials,
  type ReceiveFdsOptions,
  type SendFdsOptions,
  type UnixMessage,
} from "./net/unix-message.ts";
export type { UnixPackets } from "./net/unix-packets.ts";
export { UnixSeqpacket } from "./net/unix-seqpacket.ts";
export { type UnixConnectOptions, UnixStream } from "./net/unix-stream.ts";
export {
  type VsockConnectOptions,
  VsockListener,
  type VsockListenOptions,
  VsockStream,
} from "./net/vsock.ts";
export { ctrlC, type SignalName, signal } from "./process/signals.ts";
export { AbortHandle } from "./runtime/abort-handle.ts";
export type { SpawnBlocking } from "./runtime/blocking/call.ts";
export { DeadlockError, UncaughtTaskError } from "./runtime/errors.ts";
export { JoinHandle } from "./runtime/join-handle.ts";
export type {
  Metrics,
  ObservedMetrics,
  OnUncaught,
  RuntimeOptions,
  SpawnOptions,
} from "./runtime/options.ts";
export { Runtime } from "./runtime/runtime.ts";
export type { TaskInfo, TaskState } from "./runtime/task-info.ts";
export { Barrier } from "./sync/barrier.ts";
export { BroadcastReceiver, BroadcastSender, broadcast, LaggedError } from "./sync/broadcast.ts";
export { ChannelClosedError, SemaphoreClosedError } from "./sync/closed.ts";
export type { ExclusiveGuard, Guard } from "./sync/guard.ts";
export { MpmcReceiver, mpmc, unboundedMpmc } from "./sync/mpmc.ts";
export { mpsc, Receiver, unboundedMpsc } from "./sync/mpsc.ts";
export { Mutex, MutexGuard } from "./sync/mutex.ts";
export { type Notified, Notify } from "./sync/notify.ts";
export { OnceCell } from "./sync/once-cell.ts";
export { OneshotReceiver, OneshotSender, oneshot } from "./sync/oneshot.ts";
export type { SyncOptions } from "./sync/options.ts";
export type { AnyReceiver } from "./sync/receiver.ts";
export { ReadGuard, RwLock, WriteGuard } from "./sync/rw-lock.ts";
export { Permit, Semaphore } from "./sync/semaphore.ts";
export { type AnySender, Sender, SendPermit, UnboundedSender } from "./sync/sender.ts";
export { WatchReceiver, WatchSender, watch } from "./sync/watch.ts";
export type { Clock } from "./sys/clock.ts";
export { type ErrorAddress, SysError } from "./sys/errno.ts";
export { UnsupportedPlatformError } from "./sys/libc.ts";
export { isSupported } from "./sys/linux.ts";
export type { ControlMessage } from "./sys/message.ts";
export type { AddressLike, SocketAddress, UnixAddress, VsockAddress } from "./sys/sockaddr.ts";
export type { Sys } from "./sys/sys.ts";
export { JoinSet, type JoinSetOptions } from "./task/join-set.ts";
export { type Scope, type ScopeOptions, scope } from "./task/scope.ts";
export { type Acceptor, type ServeOptions, serve } from "./task/serve.ts";
export { type Lazy, type LazyOptions, lazy, shared, singleFlight } from "./task/shared.ts";
export { spawn, spawnBlocking } from "./task/spawn.ts";
export { yieldNow } from "./task/yield-now.ts";
export { timeRemaining } from "./time/deadline.ts";
export { Interval, interval } from "./time/interval.ts";
export { RateLimiter, type RateLimiterOptions } from "./time/rate-limiter.ts";
export { now, sleep, sleepUntil } from "./time/sleep.ts";
