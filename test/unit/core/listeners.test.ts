/** The list of an event's listeners, and how a subscription ends. */
import { getEventListeners } from "node:events";
import { setImmediate } from "node:timers/promises";
import { expect, test } from "vitest";
import { Listeners, onAbort } from "../../../src/core/listeners.js";
import { ArgumentError } from "../../../src/index.js";

const never = (): boolean => false;

test("Listeners calls each listener until its subscription is closed", () => {
  const listeners = new Listeners<number>();
  const seen: string[] = [];
  const one = listeners.add((event) => seen.push(`one ${event}`));
  {
    using _ = listeners.add((event) => seen.push(`two ${event}`));
    listeners.call(1, never);
  }
  listeners.call(2, never);
  one.close();
  one.close();
  listeners.call(3, never);
  expect(seen).toEqual(["one 1", "two 1", "one 2"]);
});

test("Listeners calls a function twice if it was added twice", () => {
  const listeners = new Listeners<string>();
  const seen: string[] = [];
  const listener = (event: string): void => void seen.push(event);
  const first = listeners.add(listener);
  listeners.add(listener);
  listeners.call("both", never);
  first.close();
  listeners.call("second", never);
  expect(seen).toEqual(["both", "both", "second"]);
});

test("Listeners doesn't call a listener that an earlier listener of the same event has removed", () => {
  const listeners = new Listeners<number>();
  const seen: string[] = [];
  listeners.add(() => later.close());
  const later = listeners.add(() => seen.push("later"));
  listeners.call(1, never);
  expect(seen).toEqual([]);
});

test("Listeners calls no further listener once the caller's check returns true", () => {
  const listeners = new Listeners<number>();
  let calls = 0;
  listeners.add(() => calls++);
  listeners.add(() => calls++);
  listeners.call(1, () => calls > 0);
  expect(calls).toBe(1);
});

test("Listeners removes a listener when its signal aborts, and removes its handler from the signal when the listener is closed", () => {
  const listeners = new Listeners<number>();
  const controller = new AbortController();
  const { signal } = controller;
  const seen: number[] = [];
  listeners.add((event) => seen.push(event), { signal }).close();
  expect(getEventListeners(signal, "abort")).toEqual([]);
  listeners.add((event) => seen.push(event), { signal });
  listeners.call(1, never);
  controller.abort();
  listeners.call(2, never);
  listeners.add((event) => seen.push(event), { signal });
  listeners.call(3, never);
  expect(seen).toEqual([1]);
});

test("Listeners rejects a signal that is no AbortSignal", () => {
  const signal: unknown = { aborted: false };
  expect(() => new Listeners<number>().add(() => {}, { signal: signal as AbortSignal })).toThrow(
    ArgumentError,
  );
});

test("any number of waits on one signal makes no warning", async () => {
  const warnings: Error[] = [];
  const note = (warning: Error): number => warnings.push(warning);
  process.on("warning", note);
  const { signal } = new AbortController();
  const stops = Array.from({ length: 100 }, () => onAbort(signal, () => {}));
  // Warnings are emitted in a later tick.
  await setImmediate();
  process.off("warning", note);
  for (const stop of stops) stop();
  expect(warnings).toEqual([]);
});
