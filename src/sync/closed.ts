// The errors of channels and semaphores that are closed.

/**
 * A message cannot be sent, or no message will arrive, because a side of the channel is closed: the other one, or the
 * sender itself.
 */
export class ChannelClosedError extends Error {
  override readonly name = "ChannelClosedError";
  readonly code = "ERR_CHANNEL_CLOSED";
}

/** No permit can be acquired any more, because the semaphore is closed. */
export class SemaphoreClosedError extends Error {
  override readonly name = "SemaphoreClosedError";
  readonly code = "ERR_SEMAPHORE_CLOSED";
}
