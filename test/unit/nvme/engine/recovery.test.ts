/** Failure, reset, recovery and shutdown, on an emulated controller with injected faults. */
import { randomFillSync } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { describe, expect, test, vi } from "vitest";
import { ClosedError, StateError } from "../../../../src/core/errors.js";
import type { NvmeState } from "../../../../src/doors/nvme.js";
import type { FaultOptions } from "../../../../src/emulator/nvme/faults.js";
import {
  DeviceGoneError,
  NvmeController,
  NvmeProtocolError,
  NvmeResetError,
  TimeoutError,
} from "../../../../src/index.js";
import { IoOpcode } from "../../../../src/nvme/spec/opcodes.js";
import { caught } from "../../../support/caught.js";
import {
  alsoClose,
  MIB,
  openController,
  startController,
  useEmulatedNvme,
} from "../../../support/emulated-nvme.js";
import { socketPath } from "../../../support/emulators.js";

useEmulatedNvme();

const BYTES = 64 * 1024;
const BLOCKS = 32;

/** Faults that leave commands in an unknown state. The 40th write triggers them. */
const faults: readonly (readonly [fault: FaultOptions, error: new (...given: never[]) => Error])[] = [
  [{ kind: "drop" }, TimeoutError],
  [{ kind: "wrong-phase" }, TimeoutError],
  [{ kind: "unknown-cid" }, NvmeProtocolError],
  [{ kind: "duplicate-cid" }, NvmeProtocolError],
  [{ kind: "wrong-sqid" }, NvmeProtocolError],
  [{ kind: "fatal" }, NvmeProtocolError],
  [{ kind: "all-ones", durationMs: 300 }, DeviceGoneError],
];
const at40 = (fault: FaultOptions): FaultOptions => ({ ...fault, opcode: IoOpcode.write, nth: 40 });

/** Names of a controller's lifecycle events. */
function told(nvme: NvmeController): string[] {
  const names: string[] = [];
  for (const name of ["failure", "recovering", "recovered", "failed"] as const) {
    nvme.lifecycle.on(name, () => names.push(name));
  }
  return names;
}

/** Writes 64 pieces side by side. @returns how each ended */
async function writeAll(nvme: NvmeController): Promise<{
  readonly content: Buffer;
  readonly ends: readonly PromiseSettledResult<void>[];
}> {
  const ns = await nvme.namespace(1);
  const source = nvme.dma.alloc(64 * BYTES);
  randomFillSync(source.bytes);
  const content = Buffer.from(source.bytes);
  const writes = Array.from({ length: 64 }, (_, i) =>
    ns.write(BigInt(i * 2 * BLOCKS * 2), source, { offset: i * BYTES, length: BYTES }),
  );
  const ends = await Promise.allSettled(writes);
  // Nothing is in flight any more in any case.
  source.close();
  return { content, ends };
}

async function readAll(nvme: NvmeController): Promise<Buffer> {
  const ns = await nvme.namespace(1);
  using target = nvme.dma.alloc(64 * BYTES);
  for (let i = 0; i < 64; i++) {
    await ns.read(BigInt(i * 2 * BLOCKS * 2), target, { offset: i * BYTES, length: BYTES });
  }
  return Buffer.from(target.bytes);
}

describe("a controller that breaks down", () => {
  test.each(faults)(
    "rejects everything, keeps nothing in flight, and works after a reset: $kind",
    async (fault, kind) => {
      const nvme = await openController({ faults: [at40(fault)] }, { timeoutMs: 500, queues: 2 });
      const names = told(nvme);
      const { ends } = await writeAll(nvme);
      const errors = ends.flatMap((end) => (end.status === "rejected" ? [end.reason] : []));
      // A duplicate completion may come when all is done.
      while (nvme.lifecycle.state !== "failed") await setTimeout(1);
      const { failure } = nvme.lifecycle;
      expect(failure).toBeInstanceOf(kind);
      for (const error of errors) expect(error).toBe(failure);
      expect(await caught(nvme.namespaceIds())).toBe(failure);
      expect(names).toEqual(["failure", "failed"]);
      if (fault.kind === "all-ones") await setTimeout(500);
      await nvme.reset();
      expect(nvme.lifecycle.state).toBe("live");
      expect(nvme.queues.map(({ id }) => id)).toEqual([1, 2]);
      const { content, ends: again } = await writeAll(nvme);
      expect(again.every(({ status }) => status === "fulfilled")).toBe(true);
      expect(Buffer.compare(await readAll(nvme), content)).toBe(0);
    },
  );

  test.each(faults)(
    "completes everything with recovery, and reports its failure and recovery: $kind",
    async (fault) => {
      const nvme = await openController(
        { faults: [at40(fault)] },
        { timeoutMs: 500, queues: 2, recovery: { attempts: 5, retry: "all" } },
      );
      const names = told(nvme);
      const { content, ends } = await writeAll(nvme);
      for (const end of ends) expect(end).toEqual({ status: "fulfilled", value: undefined });
      expect(Buffer.compare(await readAll(nvme), content)).toBe(0);
      while (names.at(-1) !== "recovered") await setTimeout(1);
      expect(names[0]).toBe("failure");
      expect(nvme.lifecycle.state).toBe("live");
    },
  );

  test("has reads sent again, but not writes, if that is the policy", async () => {
    const nvme = await openController(
      {
        faults: [
          { kind: "latency", queue: "io", count: 20, latencyMs: 600_000 },
          { kind: "fatal", opcode: IoOpcode.flush },
        ],
      },
      { recovery: { retry: "reads" } },
    );
    const ns = await nvme.namespace(1);
    using buffer = nvme.dma.alloc(20 * 512);
    const range = (i: number) => ({ offset: i * 512, length: 512 });
    const reads = Array.from({ length: 10 }, (_, i) => ns.read(BigInt(i), buffer, range(i)));
    const writes = Array.from({ length: 10 }, (_, i) => caught(ns.write(BigInt(i), buffer, range(10 + i))));
    const flush = caught(ns.flush());
    for (const error of await Promise.all(writes)) expect(error).toBeInstanceOf(NvmeProtocolError);
    expect(await flush).toBeInstanceOf(NvmeProtocolError);
    await Promise.all(reads);
  });

  test("has everything rejected after the last attempt if it doesn't recover", async () => {
    const nvme = await openController(
      { faults: [{ kind: "all-ones", opcode: IoOpcode.flush }] },
      { recovery: { attempts: 3, delayMs: 10, retry: "all" } },
    );
    const names = told(nvme);
    const ns = await nvme.namespace(1);
    using buffer = nvme.dma.alloc(512);
    const failure = once(nvme.lifecycle, "failure");
    const flush = caught(ns.flush());
    await failure;
    const meanwhile = caught(ns.read(0n, buffer));
    expect(await flush).toBeInstanceOf(DeviceGoneError);
    expect(await meanwhile).toBeInstanceOf(DeviceGoneError);
    expect(names).toEqual(["failure", "recovering", "recovering", "recovering", "failed"]);
    expect(await caught(nvme.reset())).toBeInstanceOf(DeviceGoneError);
    expect(nvme.lifecycle.state).toBe("failed");
  });

  test("is noticed without a command if its server ends while it is idle", async () => {
    const running = await startController();
    const nvme = alsoClose(await NvmeController.open(running.address));
    const failed = once(nvme.lifecycle, "failed");
    await running.close();
    expect((await failed)[0]).toBeInstanceOf(DeviceGoneError);
    const ns = caught(nvme.namespace(1));
    expect(await ns).toBeInstanceOf(DeviceGoneError);
  });

  test("recovers even if a listener throws", async () => {
    const nvme = await openController({ faults: [at40({ kind: "fatal" })] }, { recovery: { retry: "all" } });
    const uncaught = vi.fn();
    const others = process.listeners("uncaughtException");
    process.removeAllListeners("uncaughtException");
    process.once("uncaughtException", uncaught);
    nvme.lifecycle.on("failure", () => {
      throw new Error("the listener's own");
    });
    const { ends } = await writeAll(nvme);
    expect(ends.every(({ status }) => status === "fulfilled")).toBe(true);
    for (const other of others) process.on("uncaughtException", other);
    expect(uncaught).toHaveBeenCalledOnce();
  });

  test("can be closed in the middle of a recovery", async () => {
    const nvme = await openController(
      { faults: [{ kind: "all-ones", opcode: IoOpcode.flush }] },
      { recovery: { attempts: 100, delayMs: 20, retry: "all" } },
    );
    const ns = await nvme.namespace(1);
    const recovering = once(nvme.lifecycle, "recovering");
    const flush = caught(ns.flush());
    await recovering;
    await nvme.close();
    expect(await flush).toBeInstanceOf(Error);
    expect(nvme.lifecycle.state).toBe("closed");
  });

  test("continues I/O when its server was started again", async () => {
    const folder = mkdtempSync(join(tmpdir(), "iova-recovery-"));
    const socket = socketPath();
    const medium = { file: join(folder, "disk"), sizeBytes: 16 * MIB };
    let running = await startController(medium, socket);
    const nvme = alsoClose(
      await NvmeController.open(running.address, {
        queues: 2,
        vfioUser: { reconnect: true },
        recovery: { attempts: 10, retry: "all" },
      }),
    );
    const ns = await nvme.namespace(1);
    using source = nvme.dma.alloc(64 * 4096);
    using target = nvme.dma.alloc(64 * 4096);
    randomFillSync(source.bytes);
    let done = 0;
    let stop = false;
    const load = Promise.all(
      Array.from({ length: 64 }, async (_, i) => {
        const range = { offset: i * 4096, length: 4096 };
        while (!stop) {
          await ns.write(BigInt(i * 8), source, range);
          await ns.read(BigInt(i * 8), target, range);
          done++;
        }
      }),
    );
    for (let round = 0; round < 3; round++) {
      const before = done;
      while (done < before + 200) await setTimeout(1);
      const recovered = once(nvme.lifecycle, "recovered");
      await running.close();
      running = await startController(medium, socket);
      await recovered;
    }
    const before = done;
    while (done < before + 200) await setTimeout(1);
    stop = true;
    await load;
    expect(Buffer.compare(target.bytes, source.bytes)).toBe(0);
    expect(nvme.lifecycle.state).toBe("live");
    rmSync(folder, { recursive: true });
  });
});

describe("reset()", () => {
  test.each(["controller", "subsystem", "function"] as const)("resets the %s under load", async (kind) => {
    const nvme = await openController({}, { queues: 3, queueEntries: 8 });
    const ns = await nvme.namespace(1);
    using buffer = nvme.dma.alloc(64 * 512);
    const states: NvmeState[] = [];
    const reads = Array.from({ length: 64 }, (_, i) =>
      ns.read(BigInt(i), buffer, { offset: i * 512, length: 512 }),
    );
    const reset = nvme.reset(kind, { outstanding: "reads" });
    states.push(nvme.lifecycle.state);
    expect(await caught(nvme.reset())).toBeInstanceOf(StateError);
    await Promise.all([...reads, reset]);
    states.push(nvme.lifecycle.state);
    expect(states).toEqual(["resetting", "live"]);
    expect(nvme.queues.map(({ id }) => id)).toEqual([1, 2, 3]);
    for (const queue of nvme.queues) await ns.read(0n, buffer, { queue });
  });

  test("rejects outstanding commands and sends the waiting ones", async () => {
    const nvme = await openController(
      { faults: [{ kind: "latency", queue: "io", count: 3, latencyMs: 1000 }] },
      { queueEntries: 4 },
    );
    const ns = await nvme.namespace(1);
    using buffer = nvme.dma.alloc(512);
    const ends = Promise.allSettled(Array.from({ length: 10 }, () => ns.read(0n, buffer)));
    await nvme.reset();
    const all = await ends;
    expect(
      all.slice(0, 3).every((end) => end.status === "rejected" && end.reason instanceof NvmeResetError),
    ).toBe(true);
    expect(all.slice(3).every(({ status }) => status === "fulfilled")).toBe(true);
  });

  test("lets events continue", async () => {
    const nvme = await openController();
    const events = nvme.events[Symbol.asyncIterator]();
    const next = events.next();
    await nvme.reset();
    // Reports a temperature that is already reached.
    await nvme.features.set(0x0b, 2);
    await nvme.features.setTemperatureThreshold(1);
    expect((await next).value).toMatchObject({ type: "smart" });
    await events.return?.();
  });

  test("can be repeated", async () => {
    const nvme = await openController({ doorbells: "messages" }, { queues: 2 });
    const ns = await nvme.namespace(1);
    using buffer = nvme.dma.alloc(512);
    for (let i = 0; i < 20; i++) {
      await nvme.reset();
      await ns.write(BigInt(i), buffer);
    }
  });
});

describe("shutdown()", () => {
  test.each(["normal", "abrupt"] as const)("allows no commands until a reset: %s", async (how) => {
    const nvme = await openController({}, { queues: 2 });
    const ns = await nvme.namespace(1);
    using buffer = nvme.dma.alloc(512);
    randomFillSync(buffer.bytes);
    const before = Buffer.from(buffer.bytes);
    await ns.write(1n, buffer);
    await nvme.shutdown(how);
    expect(nvme.lifecycle.state).toBe("shut down");
    expect(await caught(ns.read(1n, buffer))).toBeInstanceOf(StateError);
    expect(await caught(nvme.shutdown())).toBeInstanceOf(StateError);
    await nvme.reset();
    await ns.read(1n, buffer);
    expect(Buffer.compare(buffer.bytes, before)).toBe(0);
  });

  test("waits for outstanding commands only if it is normal", async () => {
    const slow = { kind: "latency", opcode: IoOpcode.read, count: 1, latencyMs: 500 } as const;
    const nvme = await openController({ faults: [slow, { ...slow, latencyMs: 600_000 }] });
    const ns = await nvme.namespace(1);
    using buffer = nvme.dma.alloc(512);
    const first = ns.read(0n, buffer);
    await nvme.shutdown();
    await first;
    await nvme.reset();
    const second = caught(ns.read(0n, buffer));
    await nvme.shutdown("abrupt");
    expect(await second).toBeInstanceOf(StateError);
    await nvme.close();
    expect(await caught(nvme.reset())).toBeInstanceOf(ClosedError);
    expect(await caught(nvme.reset("subsystem"))).toBeInstanceOf(Error);
  });
});
