// What a call throws, where a test wants the error itself.

export function caught(call: () => unknown): unknown {
  try {
    call();
  } catch (error) {
    return error;
  }
  return "nothing was thrown";
}
