/** Events of a descriptor as an async iterator that a signal ends. Guest tests use the kernel's event queues. */
import { getEventListeners } from "node:events";
import { setImmediate } from "node:timers/promises";
import { expect, test } from "vitest";
import { ArgumentError } from "../../../src/index.js";
import { EventStream } from "../../../src/sys/event-stream.js";
import { EventFd } from "../../../src/sys/eventfd.js";
import { caught } from "../../support/caught.js";

function countsOf(eventfd: EventFd, signal?: AbortSignal): EventStream<number> {
  const read = (): number[] => {
    const count = eventfd.take();
    return count > 0 ? [count] : [];
  };
  return new EventStream(eventfd.fd, eventfd.lease, read, { signal });
}

test("an iteration whose signal aborts while it waits throws the reason once and ends", async () => {
  using eventfd = new EventFd();
  const controller = new AbortController();
  const stream = countsOf(eventfd, controller.signal);
  const next = caught(stream.next());
  await setImmediate();
  const reason = new Error("enough");
  controller.abort(reason);
  expect(await next).toBe(reason);
  expect(await stream.next()).toEqual({ done: true, value: undefined });
  // The descriptor is free for others.
  const other = countsOf(eventfd);
  eventfd.signal();
  expect(await other.next()).toEqual({ done: false, value: 1 });
});

test("an iteration whose signal aborts in the loop's body throws before the next event", async () => {
  using eventfd = new EventFd();
  const controller = new AbortController();
  const seen: number[] = [];
  const error = await caught(
    (async () => {
      eventfd.signal();
      for await (const count of countsOf(eventfd, controller.signal)) {
        seen.push(count);
        eventfd.signal();
        controller.abort();
      }
    })(),
  );
  expect(error.name).toBe("AbortError");
  expect(seen).toEqual([1]);
  expect(eventfd.take()).toBe(1);
});

test("an iteration whose signal is aborted already throws at once", async () => {
  using eventfd = new EventFd();
  const reason = new Error("too late");
  eventfd.signal();
  expect(await caught(countsOf(eventfd, AbortSignal.abort(reason)).next())).toBe(reason);
  expect(eventfd.take()).toBe(1);
});

test("an iteration leaves no listener on a signal that doesn't abort", async () => {
  using eventfd = new EventFd();
  const { signal } = new AbortController();
  const stream = countsOf(eventfd, signal);
  for (let round = 0; round < 3; round++) {
    const next = stream.next();
    await setImmediate();
    eventfd.signal();
    expect(await next).toEqual({ done: false, value: 1 });
  }
  void stream.next();
  await stream.return();
  expect(getEventListeners(signal, "abort")).toEqual([]);
});

test("an iteration rejects a signal that is no AbortSignal", () => {
  using eventfd = new EventFd();
  const signal: unknown = "soon";
  expect(() => countsOf(eventfd, signal as AbortSignal)).toThrow(ArgumentError);
});
