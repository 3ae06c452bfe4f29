/** Time limits and signals of single commands, and Abort, on an emulated controller. */
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { once } from "node:events";
import { setTimeout } from "node:timers/promises";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { ArgumentError } from "../../../../src/core/errors.js";
import type { CommandTrace, CompletionTrace } from "../../../../src/doors/nvme.js";
import { BusyError, type DmaBuffer, type NvmeController, TimeoutError } from "../../../../src/index.js";
import { AdminOpcode, IoOpcode } from "../../../../src/nvme/spec/opcodes.js";
import { caught } from "../../../support/caught.js";
import { openController, useEmulatedNvme } from "../../../support/emulated-nvme.js";

useEmulatedNvme();

/** Reads take so long that only an Abort ends them. */
const slowRead = { kind: "latency", opcode: IoOpcode.read, nth: 1, latencyMs: 600_000 } as const;

/** Waits until the controller has given a command back, so that its buffer can be closed. */
async function closeSoon(buffer: DmaBuffer): Promise<void> {
  for (;;) {
    try {
      buffer.close();
      return;
    } catch (error) {
      if (!(error instanceof BusyError)) throw error;
      await setTimeout(1);
    }
  }
}

function outstanding(nvme: NvmeController): number {
  return nvme.queues.reduce((sum, queue) => sum + queue.outstanding, 0);
}

/**
 * Waits until nothing is outstanding. A command also counts until its Abort is answered, which may be after its own
 * completion and on another queue.
 */
async function allAbortsAnswered(nvme: NvmeController): Promise<void> {
  while (outstanding(nvme) > 0) await setTimeout(1);
}

describe("a command's time limit", () => {
  test("rejects it and has the controller abort it, after which its buffer is free", async () => {
    const nvme = await openController({ faults: [slowRead] });
    const ns = await nvme.namespace(1);
    const buffer = nvme.dma.alloc(512);
    using other = nvme.dma.alloc(512);
    const error = await caught(ns.read(0n, buffer, { timeoutMs: 50 }));
    expect(error).toBeInstanceOf(TimeoutError);
    expect(error).toMatchObject({ timeoutMs: 50, message: expect.stringContaining("read") });
    // The promise is settled, but the command is outstanding until the controller completes it.
    expect(outstanding(nvme)).toBe(1);
    expect(() => buffer.close()).toThrow(BusyError);
    await closeSoon(buffer);
    await allAbortsAnswered(nvme);
    await ns.read(0n, other);
    expect(nvme.lifecycle.state).toBe("live");
  });

  test("also applies to admin commands", async () => {
    const nvme = await openController({
      faults: [{ kind: "latency", queue: "admin", opcode: 0x02, nth: 1, latencyMs: 600_000 }],
    });
    using buffer = nvme.dma.alloc(4096);
    const smart = { opcode: 0x02, nsid: 0xffff_ffff, cdw10: (127 << 16) | 2, data: { buffer, length: 512 } };
    expect(await caught(nvme.admin(smart, { timeoutMs: 50 }))).toBeInstanceOf(TimeoutError);
    await nvme.admin(smart);
    await nvme.close();
  });

  test("may be longer than the controller's", async () => {
    const nvme = await openController(
      { faults: [{ ...slowRead, latencyMs: 1000 }] },
      { timeoutMs: 250, completion: "interrupt" },
    );
    const ns = await nvme.namespace(1);
    using buffer = nvme.dma.alloc(512);
    await ns.read(0n, buffer, { timeoutMs: 50_000 });
    expect(nvme.lifecycle.state).toBe("live");
  });

  test("stops a controller that never gives the command back, after which the buffer is free", async () => {
    const nvme = await openController(
      { faults: [{ kind: "drop", opcode: IoOpcode.read, nth: 1 }] },
      { timeoutMs: 400 },
    );
    const ns = await nvme.namespace(1);
    using buffer = nvme.dma.alloc(512);
    const failed = once(nvme.lifecycle, "failed");
    expect(await caught(ns.read(0n, buffer, { timeoutMs: 20 }))).toBeInstanceOf(TimeoutError);
    expect(() => buffer.close()).toThrow(BusyError);
    await failed;
    buffer.close();
    expect(nvme.lifecycle.state).toBe("failed");
  });

  test("resolves a command that has completed, although the thread was blocked beyond its time limit", async () => {
    const nvme = await openController();
    const ns = await nvme.namespace(1);
    using buffer = nvme.dma.alloc(4096);
    buffer.bytes.fill(1);
    await ns.write(0n, buffer);
    buffer.bytes.fill(0);
    const limit = 20;
    const read = ns.read(0n, buffer, { timeoutMs: limit });
    // The doorbell is written in a microtask.
    await Promise.resolve();
    const pause = (ms: number): unknown => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
    while (buffer.bytes.at(-1) === 0) pause(1);
    // The completion follows the data.
    pause(10 * limit);
    await read;
  });

  test("rejects an invalid timeoutMs", async () => {
    const nvme = await openController();
    const ns = await nvme.namespace(1);
    using buffer = nvme.dma.alloc(512);
    // Wrong types, as a JavaScript program may pass them.
    const wrong = JSON.parse(
      '[{"timeoutMs":0},{"timeoutMs":-1},{"timeoutMs":2147483648},{"timeoutMs":"50"}]',
    );
    for (const options of [...wrong, { timeoutMs: Number.NaN }, JSON.parse('{"signal":{}}')]) {
      expect(await caught(ns.read(0n, buffer, options))).toBeInstanceOf(ArgumentError);
      expect(await caught(nvme.admin({ opcode: 0x06 }, options))).toBeInstanceOf(ArgumentError);
    }
  });
});

describe("a command's signal", () => {
  test("rejects the command with its reason, and ends no other command", async () => {
    const nvme = await openController({ faults: [{ ...slowRead, count: 3 }] });
    const ns = await nvme.namespace(1);
    const abort = new AbortController();
    const buffers = Array.from({ length: 4 }, () => nvme.dma.alloc(512));
    const [first = nvme.dma.alloc(512), second, third, fourth] = buffers;
    const given = [first, second ?? first, third ?? first].map((buffer) =>
      caught(ns.read(0n, buffer, { signal: abort.signal })),
    );
    const kept = ns.read(0n, fourth ?? first);
    const reason = new Error("enough");
    abort.abort(reason);
    expect(await Promise.all(given)).toEqual([reason, reason, reason]);
    await kept;
    // More commands than the controller takes Aborts at once: all are aborted in the end.
    for (const buffer of buffers) await closeSoon(buffer);
    await allAbortsAnswered(nvme);
    expect(nvme.lifecycle.state).toBe("live");
  });

  test("keeps the command from being sent if it has fired already", async () => {
    const nvme = await openController();
    const ns = await nvme.namespace(1);
    const buffer = nvme.dma.alloc(512);
    expect(await caught(ns.write(0n, buffer, { signal: AbortSignal.abort(new Error("no")) }))).toMatchObject({
      message: "no",
    });
    buffer.close();
    expect((await nvme.logs.smart()).hostWriteCommands).toBe(0n);
  });

  test("removes a waiting command at once", async () => {
    const nvme = await openController({ faults: [{ ...slowRead, latencyMs: 300 }] }, { queueEntries: 2 });
    const ns = await nvme.namespace(1);
    const abort = new AbortController();
    using running = nvme.dma.alloc(512);
    const waiting = nvme.dma.alloc(512);
    const first = ns.read(0n, running);
    const second = caught(ns.write(0n, waiting, { signal: abort.signal }));
    abort.abort(new Error("changed my mind"));
    waiting.close();
    expect(await second).toMatchObject({ message: "changed my mind" });
    await first;
    expect((await nvme.logs.smart()).hostWriteCommands).toBe(0n);
  });

  test("changes nothing after the command's end, and keeps no listener", async () => {
    const nvme = await openController();
    const ns = await nvme.namespace(1);
    using buffer = nvme.dma.alloc(512);
    const abort = new AbortController();
    const remove = vi.spyOn(abort.signal, "removeEventListener");
    for (let i = 0; i < 50; i++) await ns.read(0n, buffer, { signal: abort.signal, timeoutMs: 60_000 });
    expect(remove).toHaveBeenCalledTimes(50);
    abort.abort();
    await ns.read(0n, buffer);
  });

  test("keeps the command's id taken until its Abort is answered, so that no other command is aborted instead", async () => {
    // There is one slot. The read ends before its Abort is carried out.
    const nvme = await openController(
      {
        faults: [
          { ...slowRead, latencyMs: 300 },
          { kind: "latency", queue: "admin", opcode: 0x08, latencyMs: 900 },
        ],
      },
      { queueEntries: 2 },
    );
    const ns = await nvme.namespace(1);
    using buffer = nvme.dma.alloc(512);
    const events: string[] = [];
    const submitted = (message: unknown): void => {
      const { queue } = message as CommandTrace;
      if (queue > 0) events.push("submitted");
    };
    const completed = (message: unknown): void => {
      const { queue, command } = message as CompletionTrace;
      if (queue > 0) events.push("completed");
      else if (command.opcode === AdminOpcode.abort) events.push("Abort answered");
    };
    subscribe("iova:nvme:submit", submitted);
    subscribe("iova:nvme:complete", completed);
    onTestFinished(() => {
      unsubscribe("iova:nvme:submit", submitted);
      unsubscribe("iova:nvme:complete", completed);
    });
    expect(await caught(ns.read(0n, buffer, { timeoutMs: 20 }))).toBeInstanceOf(TimeoutError);
    await ns.read(0n, buffer);
    // The second read waits for the Abort, although the first has completed long before.
    expect(events).toEqual(["submitted", "completed", "Abort answered", "submitted", "completed"]);
  });
});

test("close() ends while commands are being aborted", async () => {
  const nvme = await openController({ faults: [{ ...slowRead, count: 20 }] }, { timeoutMs: 2000 });
  const ns = await nvme.namespace(1);
  const buffers = Array.from({ length: 20 }, () => nvme.dma.alloc(512));
  const reads = buffers.map((buffer, i) => caught(ns.read(0n, buffer, { timeoutMs: 1 + i })));
  await nvme.close();
  for (const error of await Promise.all(reads)) expect(error).toBeInstanceOf(TimeoutError);
});
