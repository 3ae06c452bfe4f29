/** Holds all threads of Node's pool, so that a test can look at a call while it has to wait for one of them. */
import { read } from "node:fs";
import { promisify } from "node:util";
import { EventFd } from "../../src/sys/eventfd.js";
import { setBlocking } from "./blocking.js";

const readAsync = promisify(read);
const COUNT_BYTES = 8;
const TURNS = 10;

/** As many as libuv starts. */
function threadCount(): number {
  return Number(process.env["UV_THREADPOOL_SIZE"] ?? 4);
}

/**
 * Starts a call while every thread of the pool is busy, lets the event loop turn, and frees the threads.
 *
 * A call that did its work on the JavaScript thread would be done by then; `whileHeld` looks at what it must not have
 * done yet.
 * @returns what the call resolves to
 * @throws where the call settled before it could have a thread
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
