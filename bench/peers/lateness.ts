// Preloaded into an echo server's process: runs an interval of 1 ms, and Bun.serve. A request for "/" returns the p99
// gap between two ticks of the interval since the last such request, in µs.

let gaps: number[] = [];
let lastMs = performance.now();
setInterval(() => {
  const nowMs = performance.now();
  gaps.push((nowMs - lastMs) * 1000);
  lastMs = nowMs;
}, 1);

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  fetch(request) {
    if (!request.url.endsWith("/")) return new Response("hello");
    const sorted = gaps.toSorted((a, b) => a - b);
    gaps = [];
    return new Response(`${sorted[Math.floor(sorted.length * 0.99)] ?? 0}`);
  },
});
console.log(`http ${server.port}`);
