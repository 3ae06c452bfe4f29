/** Sequences of steps in kernel files, done on this thread and beside it, and waits for what can't be stopped. */
import { execFileSync } from "node:child_process";
import { constants, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { SysError, TimeoutError } from "../../../../src/core/errors.js";
import { doBeside, doNow, type KernelSteps, waitFor } from "../../../../src/pci/steps/kernel-steps.js";
import { close, O_RDWR, open } from "../../../../src/sys/syscalls.js";
import { caught } from "../../../support/caught.js";

const wait = { timeoutMs: 60_000 };

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "iova-kernel-steps-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const ways: readonly { readonly way: string; readonly run: <T>(steps: KernelSteps<T>) => Promise<T> }[] = [
  { way: "on this thread", run: async (steps) => doNow(steps) },
  { way: "beside it", run: async (steps) => await doBeside(steps) },
];

describe.each(ways)("steps $way", ({ run }) => {
  test("are done in order; a read step's value is what it read, and the sequence's result is returned", async () => {
    const [first, second] = [join(folder, "first"), join(folder, "second")];
    writeFileSync(first, "");
    writeFileSync(second, "");
    const copy = function* (): KernelSteps<string> {
      yield { path: first, text: "one\n", wait };
      const found = yield { path: first, wait };
      yield { path: second, text: found + found, wait };
      return found;
    };
    expect(await run(copy())).toBe("one\n");
    expect(readFileSync(second, "utf8")).toBe("one\none\n");
  });

  test("throw their errors where the sequence waits for them, so that it can undo what it did", async () => {
    const file = join(folder, "file");
    writeFileSync(file, "before\n");
    const failing = function* (): KernelSteps<void> {
      try {
        yield { path: join(folder, "none"), text: "x", wait };
      } catch (error) {
        yield { path: file, text: "undone\n", wait };
        throw error;
      }
    };
    const error = await caught(run(failing()));
    expect(error).toBeInstanceOf(SysError);
    expect(error).toMatchObject({ syscall: "open", code: "ENOENT" });
    expect(readFileSync(file, "utf8")).toBe("undone\n");
  });

  test("can swallow an error and go on", async () => {
    const lenient = function* (): KernelSteps<string> {
      try {
        yield { path: join(folder, "none"), wait };
      } catch {
        return "nothing there";
      }
      return "something there";
    };
    expect(await run(lenient())).toBe("nothing there");
  });
});

test("steps beside the thread end when their signal aborts, with its reason", async () => {
  const path = join(folder, "fifo");
  execFileSync("mkfifo", [path]);
  const fd = open(path, O_RDWR | constants.O_NONBLOCK);
  try {
    const scope = new AbortController();
    const reading = function* (): KernelSteps<string> {
      return yield { path, wait: { ...wait, signal: scope.signal } };
    };
    const read = caught(doBeside(reading()));
    const reason = new Error("enough");
    scope.abort(reason);
    expect(await read).toBe(reason);
  } finally {
    close(fd);
  }
});

describe("waitFor", () => {
  const never = new Promise<void>(() => {});
  const options = { what: "the reset of 0000:01:00.0", timeoutMs: undefined, signal: undefined };

  test("passes on how the operation ends", async () => {
    await waitFor(Promise.resolve(), options);
    const reason = new Error("no");
    expect(await caught(waitFor(Promise.reject(reason), { ...options, timeoutMs: 60_000 }))).toBe(reason);
  });

  test("ends at its time limit, and says that the kernel goes on", async () => {
    const error = await caught(waitFor(never, { ...options, timeoutMs: 1 }));
    expect(error).toBeInstanceOf(TimeoutError);
    expect(error.message).toBe(
      "the reset of 0000:01:00.0: no answer within 1 ms (the kernel still waits, and completes it later)",
    );
  });

  test("ends with the signal's reason, and an operation that fails later is no unhandled rejection", async () => {
    let fail = (_error: Error): void => {};
    const done = new Promise<void>((_resolve, reject) => {
      fail = reject;
    });
    const scope = new AbortController();
    const waited = caught(waitFor(done, { ...options, signal: scope.signal }));
    const reason = new Error("enough");
    scope.abort(reason);
    expect(await waited).toBe(reason);
    fail(new Error("later"));
    await new Promise((resolve) => setImmediate(resolve));
  });
});
