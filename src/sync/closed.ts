// The error of a channel whose other side is gone.

/** The other side of a channel is closed: what was to be sent is lost, or nothing will come. */
export class ChannelClosedError extends Error {
  override readonly name = "ChannelClosedError";
  readonly code = "ERR_CHANNEL_CLOSED";
}
