/** EventFd, and watches of descriptors on the event loop. */
import { getEventListeners, once } from "node:events";
import { setImmediate } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ArgumentError, BusyError, ClosedError, SysError } from "../../../src/core/errors.js";
import { Lease } from "../../../src/core/lifetime/lease.js";
import { EventFd } from "../../../src/sys/eventfd.js";
import { close, memfd, write } from "../../../src/sys/syscalls.js";
import { watchReadable } from "../../../src/sys/watch.js";
import { setBlocking } from "../../support/blocking.js";
import { type CompiledTree, compileTree } from "../../support/compiled.js";
import { openDescriptors } from "../../support/proc.js";
import { type Outcome, runNode } from "../../support/run.js";

/** The counts that a watch delivers, one after the other. */
class Counts {
  private readonly arrived: number[] = [];
  private waiting: ((count: number) => void) | undefined;

  readonly listener = (count: number): void => {
    if (this.waiting === undefined) this.arrived.push(count);
    else this.waiting(count);
    this.waiting = undefined;
  };

  next(): Promise<number> {
    const count = this.arrived.shift();
    if (count !== undefined) return Promise.resolve(count);
    return new Promise((resolve) => {
      this.waiting = resolve;
    });
  }

  get pending(): readonly number[] {
    return this.arrived;
  }
}

/** Enough turns of the event loop for every event that is due. */
async function turns(): Promise<void> {
  for (let i = 0; i < 10; i++) await setImmediate();
}

describe("EventFd", () => {
  test("counts signals, and starts again from 0 after take()", () => {
    using eventfd = new EventFd();
    expect(eventfd.take()).toBe(0);
    eventfd.signal();
    eventfd.signal();
    expect(eventfd.take()).toBe(2);
    expect(eventfd.take()).toBe(0);
  });

  test("can't be watched any more once its closing has begun, which would abort the process when it ends", async () => {
    const before = openDescriptors();
    const eventfd = new EventFd();
    eventfd.watch(() => {});
    const closing = eventfd.closeAsync();
    expect(() => eventfd.watch(() => {})).toThrow(ClosedError);
    await closing;
    await turns();
    expect(openDescriptors()).toEqual(before);
  });

  test("returns the count from waitSync(), or 0 when the time is over", () => {
    using eventfd = new EventFd();
    expect(eventfd.waitSync(0)).toBe(0);
    eventfd.signal();
    expect(eventfd.waitSync(-1)).toBe(1);
    expect(eventfd.waitSync(0)).toBe(0);
  });

  test("doesn't block even if another user has made its descriptor blocking", async () => {
    using eventfd = new EventFd();
    setBlocking(eventfd.fd);
    expect(eventfd.take()).toBe(0);
    expect(eventfd.waitSync(0)).toBe(0);
    let told = 0;
    using _ = eventfd.watch((count) => {
      told += count;
    });
    // Another reader, who is often quicker: the listener is called where there is nothing any more.
    let taken = 0;
    for (let i = 0; i < 50; i++) {
      eventfd.signal();
      await setImmediate();
      taken += eventfd.take();
    }
    await turns();
    expect(told + taken).toBe(50);
    expect(taken).toBeGreaterThan(0);
    expect(eventfd.take()).toBe(0);
  });

  test("rejects all calls after it is closed, and has released its descriptor", () => {
    const before = openDescriptors();
    const eventfd = new EventFd("vector 3");
    eventfd.close();
    eventfd.close();
    expect(openDescriptors()).toBe(before);
    const uses = [() => eventfd.take(), () => eventfd.signal(), () => eventfd.waitSync(0)];
    for (const use of uses) expect(use).toThrow(new ClosedError("vector 3"));
    expect(() => eventfd.watch(() => {})).toThrow(ClosedError);
  });
});

describe("a watch", () => {
  test("delivers signals with their counts, each once", async () => {
    using eventfd = new EventFd();
    const counts = new Counts();
    eventfd.watch(counts.listener);
    eventfd.signal();
    expect(await counts.next()).toBe(1);
    eventfd.signal();
    eventfd.signal();
    eventfd.signal();
    expect(await counts.next()).toBe(3);
    await turns();
    expect(counts.pending).toEqual([]);
  });

  test("isn't called if another reader has taken the count already", async () => {
    using one = new EventFd();
    using other = new EventFd();
    const called: string[] = [];
    // Both become readable in the same turn of the loop; the first listener takes the count of the other.
    one.watch((count) => called.push(`one ${count}, other ${other.take()}`));
    other.watch((count) => called.push(`other ${count}, one ${one.take()}`));
    one.signal();
    other.signal();
    await turns();
    expect(called).toHaveLength(1);
    expect(called[0]).toMatch(/^(one|other) 1, (one|other) 1$/);
  });

  test("is called again as long as something is left to read", async () => {
    using eventfd = new EventFd();
    let calls = 0;
    const twice = new Promise<void>((resolve) => {
      watchReadable(eventfd.fd, eventfd.lease, () => {
        if (++calls === 2) {
          eventfd.take();
          resolve();
        }
      });
    });
    eventfd.signal();
    await twice;
    await turns();
    expect(calls).toBe(2);
  });

  test("runs an async listener to its end", async () => {
    using eventfd = new EventFd();
    const finished = new Promise<void>((resolve) => {
      eventfd.watch(async () => {
        await Promise.resolve();
        await setImmediate();
        resolve();
      });
    });
    eventfd.signal();
    await finished;
  });

  test("ends when it is closed, and another one can follow", async () => {
    using eventfd = new EventFd();
    const first = new Counts();
    const second = new Counts();
    const watch = eventfd.watch(first.listener);
    eventfd.signal();
    // Closed while the event is on its way.
    watch.close();
    await turns();
    expect(eventfd.closed).toBe(false);
    eventfd.watch(second.listener);
    expect(await second.next()).toBe(1);
    expect(first.pending).toEqual([]);
  });

  test("isn't called after the listener of another one, readable at the same time, has closed it", async () => {
    using one = new EventFd();
    using other = new EventFd();
    const called: string[] = [];
    const watches = [one, other].map((eventfd, i) =>
      eventfd.watch(() => {
        called.push(`watch ${i}`);
        for (const watch of watches) watch.close();
      }),
    );
    one.signal();
    other.signal();
    await turns();
    expect(called).toHaveLength(1);
  });

  test("ignores ref() and unref() after it is closed", () => {
    using eventfd = new EventFd();
    const watch = eventfd.watch(() => {});
    watch.close();
    watch.ref().unref().close();
    expect(watch.closed).toBe(true);
  });

  test("allows its listener to close the eventfd", async () => {
    const eventfd = new EventFd();
    const closed = new Promise<void>((resolve) => {
      eventfd.watch(() => {
        eventfd.close();
        resolve();
      });
    });
    eventfd.signal();
    await closed;
    expect(eventfd.closed).toBe(true);
  });

  test("ends when its signal aborts, and leaves no listener on a signal that doesn't abort", async () => {
    using eventfd = new EventFd();
    const controller = new AbortController();
    const { signal } = controller;
    eventfd.watch(() => {}, { signal }).close();
    expect(getEventListeners(signal, "abort")).toEqual([]);
    const counts = new Counts();
    const watch = eventfd.watch(counts.listener, { signal });
    eventfd.signal();
    expect(await counts.next()).toBe(1);
    controller.abort();
    expect(watch.closed).toBe(true);
    eventfd.signal();
    await turns();
    expect(counts.pending).toEqual([]);
    expect(eventfd.watch(counts.listener, { signal }).closed).toBe(true);
    expect(() => eventfd.watch(counts.listener, { signal: Object(1) })).toThrow(ArgumentError);
    using _ = eventfd.watch(counts.listener);
    expect(await counts.next()).toBe(1);
  });

  test("shares one exit listener of the process with all others", () => {
    const before = process.listenerCount("exit");
    const eventfds = Array.from({ length: 12 }, () => new EventFd());
    const watches = eventfds.map((eventfd) => eventfd.watch(() => {}));
    // None is added where an earlier test has made a watch.
    expect(process.listenerCount("exit") - before).toBeLessThan(2);
    for (const each of [...watches, ...eventfds]) each.close();
  });

  test("ends before its eventfd, also if descriptor numbers are reused many times", async () => {
    const before = openDescriptors();
    const numbers = new Set<number>();
    for (let round = 0; round < 200; round++) {
      const eventfd = new EventFd();
      const counts = new Counts();
      const watch = eventfd.watch(counts.listener);
      numbers.add(eventfd.fd);
      eventfd.signal();
      if (round % 2 === 0) expect(await counts.next()).toBe(1);
      eventfd.close();
      expect(watch.closed).toBe(true);
    }
    await turns();
    expect(numbers.size).toBeLessThan(20);
    expect(openDescriptors()).toBe(before);
  });
});

describe("a watch that libuv would abort the process for", () => {
  async function expectLoopAlive(): Promise<void> {
    using eventfd = new EventFd();
    const counts = new Counts();
    eventfd.watch(counts.listener);
    eventfd.signal();
    expect(await counts.next()).toBe(1);
  }

  test("is an error if it is the second one of a descriptor, and the loop goes on", async () => {
    using eventfd = new EventFd("vector 0");
    const counts = new Counts();
    eventfd.watch(counts.listener);
    expect(() => eventfd.watch(() => {})).toThrow(BusyError);
    expect(() => eventfd.watch(() => {})).toThrow(`vector 0 (descriptor ${eventfd.fd}) is watched already`);
    eventfd.signal();
    expect(await counts.next()).toBe(1);
    await expectLoopAlive();
  });

  test.each([
    [
      "a memfd, which can't be polled",
      "(/memfd:iova-watch-test (deleted)): EPERM (files and folders can't be watched",
      () => memfd("iova-watch-test", 4096),
    ],
    ["a descriptor that is closed", ": EBADF (it isn't open", () => -1],
  ])("is an error if it is of %s, and the loop goes on", async (_what, how, make) => {
    const before = openDescriptors();
    const fd = make();
    const owner = new Lease("owner", () => (fd < 0 ? undefined : close(fd)));
    const attempt = () => watchReadable(fd, owner, () => {});
    expect(attempt).toThrow(SysError);
    expect(attempt).toThrow("epoll_ctl on descriptor ");
    expect(attempt).toThrow(how);
    owner.close();
    expect(openDescriptors()).toBe(before);
    await expectLoopAlive();
  });
});

describe("a watch in a program", () => {
  const programs = {
    throws: "test/unit/fixtures/watch-throws.ts",
    ref: "test/unit/fixtures/watch-ref.ts",
    forgotten: "test/unit/fixtures/watch-forgotten.ts",
    worker: "test/unit/fixtures/watch-worker.ts",
  };
  let tree: CompiledTree;
  beforeAll(() => {
    tree = compileTree(...Object.values(programs));
  });
  afterAll(() => tree[Symbol.dispose]());

  const start = (program: string, ...args: string[]): Promise<Outcome> =>
    runNode("--expose-gc", tree.file(program), ...args);

  test("goes on after an error of its listener, which is an uncaught exception", async () => {
    expect(await start(programs.throws, "handled")).toEqual({
      status: 0,
      signal: null,
      stdout: "uncaughtException: thrown by a listener\nthe watch goes on\n",
      stderr: "",
    });
  });

  test("ends the process with status 1 if its listener throws and the program doesn't handle that", async () => {
    const outcome = await start(programs.throws);
    expect(outcome).toMatchObject({ status: 1, signal: null, stdout: "" });
    expect(outcome.stderr).toContain("Error: thrown by a listener");
  });

  test.each(["ref", "unref and ref"])(
    "keeps the process alive until it is closed, after %s",
    async (mode) => {
      expect(await start(programs.ref, mode)).toMatchObject({
        status: 0,
        stdout: "signalled\nexit, closed\n",
        stderr: "",
      });
    },
  );

  test("lets the process end cleanly after unref", async () => {
    expect(await start(programs.ref, "unref")).toMatchObject({
      status: 0,
      signal: null,
      stdout: "exit, open\n",
      stderr: "",
    });
  });

  test("survives garbage collection if the program keeps no reference to it", async () => {
    expect(await start(programs.forgotten)).toEqual({
      status: 0,
      signal: null,
      stdout: "received 20\n",
      stderr: "",
    });
  });

  test("runs on the worker's event loop in a worker", async () => {
    const worker = new Worker(tree.file(programs.worker));
    const message = async (): Promise<{ fd: number; count: number }> => (await once(worker, "message"))[0];
    const { fd } = await message();
    // Threads share descriptors: this thread acts as the device.
    for (const signals of [1n, 5n]) {
      const received = message();
      write(fd, BigUint64Array.of(signals));
      expect((await received).count).toBe(Number(signals));
    }
    worker.postMessage("close");
    expect(await once(worker, "exit")).toEqual([0]);
  });
});
