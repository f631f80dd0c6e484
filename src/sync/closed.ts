// ChannelClosedError: the error of a channel that is closed.

/**
 * A message cannot be delivered, or no message will arrive: the other side of the channel is closed, or this sender
 * of a broadcast or watch is.
 */
export class ChannelClosedError extends Error {
  override readonly name = "ChannelClosedError";
  readonly code = "ERR_CHANNEL_CLOSED";
}
