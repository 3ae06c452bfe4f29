/** An NVMe controller from open() to close(), through resets, and after its process is killed. */
import { randomFillSync } from "node:crypto";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { Feature } from "../../../src/doors/nvme.js";
import { NvmeController } from "../../../src/index.js";
import { ControllerRegisters } from "../../../src/nvme/memory/registers.js";
import { QueuePair } from "../../../src/nvme/queues/queue-pair.js";
import { ControllerConfig } from "../../../src/nvme/spec/registers.js";
import { Child, runChild } from "../../support/child.js";
import { nvmeBdf } from "../../support/functions.js";
import { guestProgram } from "../../support/guest-programs.js";
import { expectNothingLeftSoon } from "../../support/holdings-soon.js";
import { backends, bindGroup, completions, ways } from "../../support/nvme-machine.js";
import { skewClock } from "../../support/skewed-clock.js";

const DAY_MS = 24 * 60 * 60 * 1000;

let binding: { close(): void };
beforeAll(() => {
  binding = bindGroup(nvmeBdf());
});
afterAll(() => binding.close());
expectNothingLeftSoon();

describe.each(ways)("an idle open controller, $backend, $completion", (way) => {
  test("has no pending timer or immediate, and doesn't keep the process alive", async () => {
    // A timer for lost interrupts would run for minutes after the last command, if it held the process.
    const options = JSON.stringify({ ...way, timeoutMs: 600_000 });
    const child = await runChild(guestProgram("nvme-idle"), nvmeBdf(), options);
    expect(child.stderr).toBe("");
    expect(await child.ended).toBe(0);
    expect(JSON.parse(child.stdout)).toEqual({ timers: "some", startedWhenIdle: [], closed: false });
  });
});

describe.each(backends)("close() through %s", (backend) => {
  afterEach(() => {
    vi.restoreAllMocks();
  });

  test("deletes the queues, shuts down and stops the controller, before it unmaps queue memory", async () => {
    const nvme = await NvmeController.open(nvmeBdf(), { backend });
    const ns = await nvme.namespace(1);
    using buffer = nvme.dma.alloc(4096);
    await ns.read(0n, buffer);

    // The real methods run; what they find in the real registers is written down.
    const steps: string[] = [];
    const submit = QueuePair.prototype.submit;
    vi.spyOn(QueuePair.prototype, "submit").mockImplementation(async function (this: QueuePair, command) {
      const completion = await submit.call(this, command);
      steps.push(command.name ?? "");
      return completion;
    });
    for (const step of ["shutdown", "disable"] as const) {
      const method = ControllerRegisters.prototype[step];
      vi.spyOn(ControllerRegisters.prototype, step).mockImplementation(async function (
        this: ControllerRegisters,
        timeoutMs: number,
      ) {
        await method.call(this, timeoutMs);
        const { ready, shutdownComplete } = this.state();
        const enabled = (this.config & ControllerConfig.EN) !== 0;
        steps.push(`${step}: EN ${enabled}, RDY ${ready}, shutdown complete ${shutdownComplete}`);
      });
    }
    const close = QueuePair.prototype.close;
    vi.spyOn(QueuePair.prototype, "close").mockImplementation(function (this: QueuePair) {
      const mapped = !this.sqMemory.closed && !this.cqMemory.closed;
      close.call(this);
      steps.push(`memory of queue ${this.id}: mapped ${mapped}, then ${!this.sqMemory.closed}`);
    });

    await nvme.close();
    expect(steps).toEqual([
      "Delete I/O Submission Queue",
      "Delete I/O Completion Queue",
      "shutdown: EN true, RDY true, shutdown complete true",
      expect.stringMatching(/^disable: EN false, RDY false/),
      "memory of queue 1: mapped true, then false",
      "memory of queue 0: mapped true, then false",
    ]);
    expect(buffer.closed).toBe(true);
  });

  test("can be followed by open() at once", async () => {
    const written = randomFillSync(new Uint8Array(4096));
    for (let round = 0; round < 10; round++) {
      await using nvme = await NvmeController.open(nvmeBdf(), { backend });
      const ns = await nvme.namespace(1);
      using buffer = nvme.dma.alloc(written.length);
      if (round === 0) {
        buffer.bytes.set(written);
        await ns.write(100n, buffer);
      } else {
        await ns.read(100n, buffer);
        expect(Buffer.compare(buffer.bytes, written)).toBe(0);
      }
    }
  });
});

describe.each(backends)("features that a program set, through %s", (backend) => {
  test.each(["controller", "function"] as const)("are set again after a reset of the %s", async (kind) => {
    await using nvme = await NvmeController.open(nvmeBdf(), { backend });
    const { features } = nvme;
    const lost: unknown[] = [];
    nvme.lifecycle.on("featureLost", (...told) => lost.push(told));
    const all = async () => ({
      cache: await features.volatileWriteCache(),
      over: await features.temperatureThreshold(),
      events: await features.read(Feature.asyncEventConfiguration),
      recovery: await features.read(Feature.errorRecovery, { nsid: 1 }),
      behavior: await features.structures.hostBehavior(),
    });
    const fresh = await all();
    const start = Date.UTC(2001, 8, 9);
    const clock = skewClock();
    await features.setTimestamp(new Date(start));
    await features.setVolatileWriteCache(!fresh.cache);
    await features.setTemperatureThreshold(fresh.over + 7);
    await features.write(Feature.asyncEventConfiguration, { ...fresh.events, temperature: true });
    await features.write(Feature.errorRecovery, { timeLimit: 42 }, { nsid: 1 });
    await features.structures.setHostBehavior({ lbafee: 1 });
    const before = await all();
    expect(before).toMatchObject({ cache: !fresh.cache, over: fresh.over + 7, recovery: { timeLimit: 42 } });

    clock.advance(DAY_MS);
    await nvme.reset(kind);
    expect(await all()).toEqual(before);
    expect(lost).toEqual([]);
    // A controller that starts begins at 1970.
    const now = (await features.timestamp()).getTime();
    expect(now).toBeGreaterThanOrEqual(start + DAY_MS);
    expect(now).toBeLessThan(start + 2 * DAY_MS);

    // For whoever comes next.
    await features.setVolatileWriteCache(fresh.cache);
    await features.setTemperatureThreshold(fresh.over);
  });
});

describe("a timestamp that a program set", () => {
  test("is lost after a reset if restoreFeatures is false", async () => {
    await using nvme = await NvmeController.open(nvmeBdf(), { restoreFeatures: false });
    const start = Date.UTC(2001, 8, 9);
    await nvme.features.setTimestamp(new Date(start));
    expect((await nvme.features.timestamp()).getTime()).toBeGreaterThanOrEqual(start);
    await nvme.reset();
    expect((await nvme.features.timestamp()).getTime()).toBeLessThan(start);
  });
});

/** IOVA_KILLS=50 for a hundred over both backends, which takes three seconds of a processor each. */
const KILLS = Number(process.env["IOVA_KILLS"] ?? 5);

describe.each(backends)("processes killed in the middle of their I/O through %s", (backend) => {
  test(
    "leave a controller that the next process can open and use, with its data",
    async () => {
      const program = guestProgram("nvme-killed");
      const start = (round: number): Child => {
        const way = JSON.stringify({ backend, completion: completions[round % completions.length] });
        return new Child(program, nvmeBdf(), round === 0 ? "first" : "next", way);
      };
      // Each starts while the one before it works: Node takes longer to start here than all the rest.
      let next = start(0);
      for (let round = 0; round < KILLS; round++) {
        const child = next;
        await child.says("ready");
        child.tell("\n");
        if (round + 1 < KILLS) next = start(round + 1);
        await child.says("running");
        child.kill();
        expect(await child.ended).toBe("SIGKILL");
        expect(child.stderr).toBe("");
      }
      await using nvme = await NvmeController.open(nvmeBdf(), { backend });
      const ns = await nvme.namespace(1);
      using source = nvme.dma.alloc(64 * 1024);
      using target = nvme.dma.alloc(64 * 1024);
      randomFillSync(source.bytes);
      await ns.write(0n, source);
      await ns.read(0n, target);
      expect(Buffer.compare(target.bytes, source.bytes)).toBe(0);
    },
    60_000 + KILLS * 30_000,
  );
});
