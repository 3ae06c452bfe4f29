/** Steps of which all are done or none. */
import { expect, test } from "vitest";
import { allOrNone } from "../../../../src/cli/binding/all-or-none.js";
import { Interrupted } from "../../../../src/cli/binding/interrupted.js";
import { BindError } from "../../../../src/pci/bind.js";
import { caught } from "../../../support/caught.js";

/** Steps that note what they do. */
function noting(notes: string[], fails: { step?: string; undo?: string; signal?: NodeJS.Signals } = {}) {
  return (name: string) => {
    if (name === fails.step) throw new Error(`${name} fails`);
    notes.push(name);
    if (name === "b" && fails.signal !== undefined) process.kill(process.pid, fails.signal);
    return {
      name,
      undo: () => {
        if (name === fails.undo) throw new Error(`${name} stays`);
        notes.push(`not ${name}`);
      },
    };
  };
}

test("all are done, in order", async () => {
  const notes: string[] = [];
  await allOrNone(["a", "b", "c"], noting(notes));
  expect(notes).toEqual(["a", "b", "c"]);
});

test("an error undoes those before, the last first", async () => {
  const notes: string[] = [];
  const error = await caught(allOrNone(["a", "b", "c"], noting(notes, { step: "c" })));
  expect(error.message).toBe("c fails");
  expect(notes).toEqual(["a", "b", "not b", "not a"]);
});

test("what can't be undone is named, and the rest is undone", async () => {
  const notes: string[] = [];
  const error = await caught(allOrNone(["a", "b", "c"], noting(notes, { step: "c", undo: "b" })));
  expect(error).toBeInstanceOf(BindError);
  expect(error.message).toBe("c fails; could not be undone: b: b stays");
  expect(notes).toEqual(["a", "b", "not a"]);
});

test.each(["SIGINT", "SIGTERM", "SIGHUP"] as const)(
  "%s after a step undoes it and those before",
  async (signal) => {
    const notes: string[] = [];
    const listeners = process.listenerCount(signal);
    const error = await caught(allOrNone(["a", "b", "c"], noting(notes, { signal })));
    expect(error).toBeInstanceOf(Interrupted);
    expect(error.message).toBe(`interrupted by ${signal}: everything is as it was before`);
    expect(notes).toEqual(["a", "b", "not b", "not a"]);
    expect(process.listenerCount(signal)).toBe(listeners);
  },
);
