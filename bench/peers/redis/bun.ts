// GET and SET of Redis by hand on Bun.listen. It answers nothing else, and ignores backpressure.

const store = new Map<string, string>();

/** Returns the words of the command at `at` and where it ends; null if it is not complete. */
function decode(text: string, at: number): { words: string[]; end: number } | null {
  let line = text.indexOf("\r\n", at);
  if (line < 0) return null;
  const count = Number(text.slice(at + 1, line));
  const words: string[] = [];
  let end = line + 2;
  for (let index = 0; index < count; index++) {
    line = text.indexOf("\r\n", end);
    if (line < 0) return null;
    const length = Number(text.slice(end + 1, line));
    end = line + 2 + length + 2;
    if (end > text.length) return null;
    words.push(text.slice(line + 2, line + 2 + length));
  }
  return { words, end };
}

function execute([name = "", key = "", value = ""]: string[]): string {
  if (name.toUpperCase() === "SET") {
    store.set(key, value);
    return "+OK\r\n";
  }
  if (name.toUpperCase() !== "GET") return "-ERR unknown command\r\n";
  const found = store.get(key);
  return found === undefined ? "$-1\r\n" : `$${found.length}\r\n${found}\r\n`;
}

const server = Bun.listen<{ rest: string }>({
  hostname: "127.0.0.1",
  port: 0,
  socket: {
    open(socket) {
      socket.data = { rest: "" };
      socket.setNoDelay(true);
    },
    data(socket, data) {
      const text = socket.data.rest + data.toString("latin1");
      let at = 0;
      let replies = "";
      for (let command = decode(text, 0); command !== null; command = decode(text, at)) {
        at = command.end;
        replies += execute(command.words);
      }
      socket.data.rest = text.slice(at);
      socket.write(Buffer.from(replies, "latin1"));
    },
    error() {},
  },
});
console.log(`listening on 127.0.0.1:${server.port}`);
