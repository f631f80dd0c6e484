// Prints the memory of an EpollEvents with the layout of another architecture. Usage: bun epoll-layout.ts <arch>

Object.defineProperty(process, "arch", { value: process.argv[2] });
const { EpollEvents } = await import("../../../src/sys/index.ts");
const events = new EpollEvents(2);
events.set(0, 7, 5, 6);
console.log(JSON.stringify([...events.memory.subarray(0, 4)]));

export {};
