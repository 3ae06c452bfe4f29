/** Tests of the poller. */
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { type PolledWork, Poller } from "../../../../../src/emulator/nvme/queues/poller.js";

class Work implements PolledWork {
  pumps = 0;
  sleeps = 0;
  pending = 0;
  due = Number.POSITIVE_INFINITY;

  pump(): number {
    this.pumps++;
    const done = this.pending;
    this.pending = 0;
    return done;
  }

  beforeSleep(): void {
    this.sleeps++;
  }

  dueInMs(): number {
    return this.due;
  }
}

const options = { spinMs: 0.05, idleAfterMs: 5, idlePollMs: undefined };

describe("a poller", () => {
  test("looks only while there is work, if work is announced", async () => {
    const work = new Work();
    const poller = new Poller(work, options);
    expect(work.pumps).toBe(0);
    poller.wake();
    await expect.poll(() => work.sleeps).toBe(1);
    const { pumps } = work;
    await sleep(30);
    expect(work.pumps).toBe(pumps);
    work.pending = 1;
    poller.wake();
    await expect.poll(() => work.sleeps).toBe(2);
    expect(work.pending).toBe(0);
    poller.stop();
  });

  test("finds work by itself, if work isn't announced", async () => {
    const work = new Work();
    const poller = new Poller(work, { ...options, idlePollMs: 2 });
    poller.wake();
    await expect.poll(() => work.sleeps).toBeGreaterThan(2);
    work.pending = 1;
    await expect.poll(() => work.pending).toBe(0);
    poller.stop();
  });

  test("wakes when work is due, and stops when it is told to", async () => {
    const work = new Work();
    const poller = new Poller(work, options);
    work.due = 10;
    poller.wake();
    await expect.poll(() => work.sleeps).toBeGreaterThan(1);
    poller.stop();
    await sleep(5);
    const { pumps } = work;
    await sleep(30);
    expect(work.pumps).toBe(pumps);
  });
});
