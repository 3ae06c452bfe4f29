/** Holds all threads of Node's pool, so that a test can observe a call while it waits for a thread. */
import { read } from "node:fs";
import { promisify } from "node:util";
import { EventFd } from "../../src/sys/eventfd.js";
import { setBlocking } from "./blocking.js";

const readAsync = promisify(read);
const COUNT_BYTES = 8;
const TURNS = 10;

/** Number of threads that libuv starts. */
function threadCount(): number {
  return Number(process.env["UV_THREADPOOL_SIZE"] ?? 4);
}

/**
 * Starts a call while every thread of the pool is busy, lets the event loop turn, and frees the threads.
 *
 * A call that works on the JavaScript thread would be done by then. `whileHeld` checks what must not be done yet.
 * @returns what the call resolves to
 * @throws Error if the call settled before it had a thread
 */
export async function withPoolHeld<T>(call: () => Promise<T>, whileHeld: () => void = () => {}): Promise<T> {
  const gates = Array.from({ length: threadCount() }, () => new EventFd("a thread of the pool"));
  const reads = gates.map(({ fd }) => {
    setBlocking(fd);
    return readAsync(fd, new Uint8Array(COUNT_BYTES), 0, COUNT_BYTES, null);
  });
  let isSettled = false;
  let promise: Promise<T>;
  try {
    promise = call();
    const settled = (): void => {
      isSettled = true;
    };
    promise.then(settled, settled);
    for (let turn = 0; turn < TURNS; turn++) await new Promise((resolve) => setImmediate(resolve));
    if (isSettled) throw new Error("the call settled without a thread of the pool");
    whileHeld();
  } finally {
    for (const gate of gates) gate.signal();
    await Promise.all(reads);
    for (const gate of gates) gate.close();
  }
  return await promise;
}
