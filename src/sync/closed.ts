// ChannelClosedError: the error of a channel that is closed.

/**
 * A message cannot be delivered, or no message will arrive, because the other side of the channel is closed. A closed
 * sender of a broadcast or watch throws it as well.
 */
export class ChannelClosedError extends Error {
  override readonly name = "ChannelClosedError";
  readonly code = "ERR_CHANNEL_CLOSED";
}
