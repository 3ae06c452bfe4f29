/** Completion modes, shadow doorbells, Keep Alive, statistics and traces, on an emulated controller. */
import { randomFillSync } from "node:crypto";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { once } from "node:events";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import type { CommandTrace, CompletionTrace } from "../../../../src/doors/nvme.js";
import { type NvmeController, NvmeError, type NvmeOptions } from "../../../../src/index.js";
import { AdminOpcode, FeatureId, IoOpcode } from "../../../../src/nvme/spec/opcodes.js";
import { caught } from "../../../support/caught.js";
import { openController, useEmulatedNvme } from "../../../support/emulated-nvme.js";
import { eventually } from "../../../support/eventually.js";
import { LibraryTimers } from "../../../support/library-timers.js";

useEmulatedNvme();

/** Writes and reads at several depths, and checks every byte. */
async function exercise(nvme: NvmeController): Promise<void> {
  const ns = await nvme.namespace(1);
  using source = nvme.dma.alloc(128 * 512);
  using target = nvme.dma.alloc(128 * 512);
  for (const depth of [1, 7, 128]) {
    randomFillSync(source.bytes);
    const all = Array.from({ length: depth }, (_, i) => i);
    const range = (i: number) => ({ offset: i * 512, length: 512 });
    await Promise.all(all.map((i) => ns.write(BigInt(i), source, range(i))));
    await Promise.all(all.map((i) => ns.read(BigInt(i), target, range(i))));
    expect(Buffer.compare(target.view(0, depth * 512), source.view(0, depth * 512))).toBe(0);
  }
}

const ways: readonly (readonly [string, NvmeOptions])[] = [
  ["adaptive", { completion: "adaptive" }],
  ["adaptive, without any looking", { completion: "adaptive", spinMicroseconds: 0 }],
  ["shadow doorbells, by interrupt", { shadowDoorbells: true, completion: "interrupt" }],
  ["shadow doorbells, by polling", { shadowDoorbells: true, completion: "poll" }],
];

describe.each(ways)("completion mode %s", (_, options) => {
  test("completes all commands, over resets and with queues that come and go", async () => {
    const nvme = await openController({}, { queues: 2, queueEntries: 32, ...options });
    expect(nvme.usesShadowDoorbells).toBe(options.shadowDoorbells === true);
    await exercise(nvme);
    await nvme.reset();
    await exercise(nvme);
    const queue = await nvme.createQueuePair();
    await exercise(nvme);
    await nvme.deleteQueuePair(queue);
    await nvme.createQueuePair();
    await exercise(nvme);
  });

  test("notices a single command that takes long", async () => {
    const nvme = await openController(
      { faults: [{ kind: "latency", opcode: IoOpcode.flush, latencyMs: 200 }] },
      { timeoutMs: 60_000, ...options },
    );
    const ns = await nvme.namespace(1);
    for (let i = 0; i < 5; i++) await ns.flush();
  });
});

describe.each(["interrupt", "adaptive", "poll"] as const)(
  "an idle open controller in mode %s",
  (completion) => {
    test("has no timer or immediate pending", async () => {
      using timers = new LibraryTimers();
      const nvme = await openController({}, { completion, recovery: { retry: "all" } });
      await exercise(nvme);
      // Without any timer the hook would have seen nothing.
      expect(timers.startedCount > 0).toBe(true);
      expect(await timers.startedWhenIdle()).toEqual([]);
      expect(nvme.lifecycle.state).toBe("live");
    });
  },
);

describe("Keep Alive", () => {
  test("is sent three times per limit, also after a reset", async () => {
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
    onTestFinished(() => {
      vi.useRealTimers();
    });
    const nvme = await openController({}, { keepAliveMs: 600_000 });
    let answered = 0;
    const completed = (message: unknown): void => {
      const { command, status } = message as CompletionTrace;
      if (command.opcode === AdminOpcode.keepAlive && status === 0) answered++;
    };
    subscribe("iova:nvme:complete", completed);
    onTestFinished(() => {
      unsubscribe("iova:nvme:complete", completed);
    });
    for (const reset of [false, true]) {
      if (reset) await nvme.reset();
      expect((await nvme.features.get(FeatureId.keepAliveTimer)).value).toBe(600_000);
      answered = 0;
      vi.advanceTimersByTime(199_999);
      await nvme.namespaceIds();
      expect(answered).toBe(0);
      vi.advanceTimersByTime(1);
      await eventually(() => (answered === 1 ? true : undefined));
      vi.advanceTimersByTime(200_000);
      await eventually(() => (answered === 2 ? true : undefined));
    }
  });

  test("makes the driver notice a controller that stopped because it heard nothing", async () => {
    const nvme = await openController();
    await nvme.features.set(FeatureId.keepAliveTimer, 100);
    const failed = once(nvme.lifecycle, "failed");
    // Only Keep Alive restarts the emulated controller's timer. A command may still come before it has run out.
    const error: unknown = await eventually(() =>
      nvme.namespaceIds().then(
        () => undefined,
        (reason: unknown) => reason,
      ),
    );
    expect(error).toMatchObject({ code: "ERR_IOVA_NVME_PROTOCOL" });
    await failed;
  });
});

describe("statistics", () => {
  test("count commands, errors and bytes and measure latency until they are ended", async () => {
    const nvme = await openController();
    const ns = await nvme.namespace(1);
    using buffer = nvme.dma.alloc(4096);
    await ns.read(0n, buffer);
    const [queue] = nvme.queues;
    const statistics = queue?.collectStatistics();
    expect(statistics).toMatchObject({ commands: 0, errors: 0, bytesRead: 0, bytesWritten: 0 });
    for (let i = 0; i < 10; i++) await ns.read(0n, buffer);
    for (let i = 0; i < 5; i++) await ns.write(0n, buffer, { length: 512 });
    await ns.flush();
    expect(await caught(ns.read(ns.sizeBlocks, buffer))).toBeInstanceOf(NvmeError);
    expect(queue?.collectStatistics()).toBe(statistics);
    expect(statistics).toMatchObject({ commands: 17, errors: 1, bytesRead: 40960, bytesWritten: 2560 });
    expect(statistics?.latency.count).toBe(17);
    expect(statistics?.latency.min).toBeGreaterThan(0);
    queue?.endStatistics();
    await ns.read(0n, buffer);
    expect(statistics?.commands).toBe(17);
    statistics?.reset();
    expect(statistics?.latency.count).toBe(0);
  });
});

describe("traces", () => {
  test("report each command and the lifecycle to subscribers", async () => {
    const nvme = await openController();
    const ns = await nvme.namespace(1);
    using buffer = nvme.dma.alloc(512);
    const told: [string, unknown][] = [];
    const listen = (message: unknown, name: string | symbol): void => {
      told.push([String(name), message]);
    };
    const names = ["iova:nvme:submit", "iova:nvme:complete", "iova:nvme:lifecycle"];
    for (const name of names) subscribe(name, listen);
    try {
      await ns.read(3n, buffer);
      expect(await caught(ns.read(ns.sizeBlocks, buffer))).toBeInstanceOf(NvmeError);
    } finally {
      for (const name of names) unsubscribe(name, listen);
    }
    await ns.read(4n, buffer);
    expect(told.map(([name]) => name)).toEqual([
      "iova:nvme:submit",
      "iova:nvme:complete",
      "iova:nvme:submit",
      "iova:nvme:complete",
    ]);
    const [submitted, completed, , failed] = told.map(([, message]) => message);
    const one: Partial<CommandTrace> = { controller: nvme.bdf, queue: 1 };
    expect(submitted).toMatchObject({ ...one, command: { opcode: 2, cdw10: 3 } });
    const done: Partial<CompletionTrace> = { ...one, status: 0 };
    expect(completed).toMatchObject(done);
    expect((failed as CompletionTrace).status & 0xff).toBe(0x80);
  });
});

test("adaptive completion works with INTx", async () => {
  const nvme = await openController({ vectors: 0 }, { completion: "adaptive" });
  expect(nvme.completion).toBe("adaptive");
  await exercise(nvme);
});
