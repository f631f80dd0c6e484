// ChannelClosedError: what all channels throw once their other side is closed.

/** The other side of a channel is closed: a message cannot be delivered, or no message will come. */
export class ChannelClosedError extends Error {
  override readonly name = "ChannelClosedError";
  readonly code = "ERR_CHANNEL_CLOSED";
}
