/** Features that a program has set come back after a reset, on an emulated controller: which ones, and in what order. */
import { once } from "node:events";
import { describe, expect, test } from "vitest";
import { Feature, type SetFeature } from "../../../../src/doors/nvme.js";
import type { FaultOptions } from "../../../../src/emulator/nvme/faults.js";
import { type NvmeController, NvmeError } from "../../../../src/index.js";
import { KeptFeatures } from "../../../../src/nvme/engine/feature-restore.js";
import { AdminOpcode, FeatureId, IoOpcode } from "../../../../src/nvme/spec/opcodes.js";
import { NvmeStatus } from "../../../../src/nvme/spec/status.js";
import { caught } from "../../../support/caught.js";
import { MIB, openController, useEmulatedNvme } from "../../../support/emulated-nvme.js";
import { skewClock } from "../../../support/skewed-clock.js";

const DAY_MS = 24 * 60 * 60 * 1000;
useEmulatedNvme();

/** Kelvin; the emulated temperature is another. */
const OVER = 350;
const UNDER = 200;

/** Sets one feature of every kind that the emulated controller has. */
async function setAll(nvme: NvmeController): Promise<void> {
  const { features } = nvme;
  await features.setVolatileWriteCache(false);
  await features.setInterruptCoalescing(4, 300);
  await features.write(Feature.arbitration, { burst: 3, highWeight: 7 });
  await features.write(Feature.asyncEventConfiguration, { temperature: true, namespaceAttributes: true });
  await features.write(Feature.temperatureThreshold, { kelvin: OVER });
  await features.write(Feature.temperatureThreshold, { kelvin: UNDER, type: 1 });
  await features.write(Feature.errorRecovery, { timeLimit: 11 }, { nsid: 1 });
  await features.write(Feature.errorRecovery, { timeLimit: 22 }, { nsid: 2 });
  await features.write(Feature.interruptVectorConfiguration, { vector: 2, coalescingDisabled: true });
  await features.write(Feature.keepAliveTimer, { milliseconds: 600_000 });
  await features.structures.setHostBehavior({ acre: 1, lbafee: 1 });
  // Programs may also use admin().
  await nvme.admin({ opcode: AdminOpcode.setFeatures, cdw10: FeatureId.writeAtomicityNormal, cdw11: 1 });
}

/** The controller's values of all these features. */
async function getAll({ features }: NvmeController): Promise<unknown> {
  return {
    cache: await features.volatileWriteCache(),
    coalescing: await features.interruptCoalescing(),
    arbitration: await features.read(Feature.arbitration),
    events: await features.read(Feature.asyncEventConfiguration),
    over: await features.temperatureThreshold(),
    under: (await features.get(FeatureId.temperatureThreshold, { cdw11: 1 << 20 })).value,
    recovery1: await features.read(Feature.errorRecovery, { nsid: 1 }),
    recovery2: await features.read(Feature.errorRecovery, { nsid: 2 }),
    vector1: await features.read(Feature.interruptVectorConfiguration, { cdw11: 1 }),
    vector2: await features.read(Feature.interruptVectorConfiguration, { cdw11: 2 }),
    keepAlive: await features.read(Feature.keepAliveTimer),
    behavior: await features.structures.hostBehavior(),
    atomicity: await features.read(Feature.writeAtomicityNormal),
  };
}

/** Makes the controller fail at a flush, and waits until it has recovered. */
async function recover(nvme: NvmeController): Promise<void> {
  const recovered = once(nvme.lifecycle, "recovered");
  const ns = await nvme.namespace(1);
  expect(await caught(ns.flush())).toBeInstanceOf(Error);
  await recovered;
}

const fatal: FaultOptions = { kind: "fatal", opcode: IoOpcode.flush, queue: "io", nth: 1 };
/** Calls `action` when the next recovery begins. */
async function meanwhile<T>(nvme: NvmeController, act: () => Promise<T>): Promise<T> {
  return await new Promise<T>((resolve, reject) => {
    nvme.lifecycle.once("recovering", () => act().then(resolve, reject));
  });
}

const resets = {
  "a recovery": recover,
  "a reset of the controller": (nvme: NvmeController) => nvme.reset(),
  "a reset of the subsystem": (nvme: NvmeController) => nvme.reset("subsystem"),
  "a reset of the function": (nvme: NvmeController) => nvme.reset("function"),
  "a shutdown": async (nvme: NvmeController) => {
    await nvme.shutdown();
    await nvme.reset();
  },
} as const;
const ways = Object.entries(resets);

function lostBy(nvme: NvmeController): SetFeature[] {
  const lost: SetFeature[] = [];
  nvme.lifecycle.on("featureLost", (feature, error) => {
    expect(error).toBeInstanceOf(NvmeError);
    lost.push(feature);
  });
  return lost;
}

describe("features that were set", () => {
  test.each(ways)("are set again after %s", async (_, reset) => {
    const nvme = await openController(
      { namespaces: 2, faults: [fatal] },
      { queues: 2, vectors: 3, recovery: { attempts: 3 } },
    );
    const lost = lostBy(nvme);
    const fresh = await getAll(nvme);
    await setAll(nvme);
    const before = await getAll(nvme);
    for (const [name, value] of Object.entries(Object(before))) {
      if (name !== "vector1") expect(value, name).not.toEqual(Object(fresh)[name]);
    }
    for (let round = 0; round < 2; round++) {
      await (round === 0 ? reset(nvme) : nvme.reset());
      expect(await getAll(nvme)).toEqual(before);
    }
    expect(lost).toEqual([]);
  });

  test.each(ways)("are as after power-on after %s, with restoreFeatures: false", async (_, reset) => {
    const nvme = await openController(
      { namespaces: 2, faults: [fatal] },
      { queues: 2, vectors: 3, recovery: { attempts: 3 }, restoreFeatures: false },
    );
    const fresh = await getAll(nvme);
    await setAll(nvme);
    await reset(nvme);
    expect(await getAll(nvme)).toEqual(fresh);
  });

  test("are reported and delay nothing if the controller then rejects them", async () => {
    const nvme = await openController({ namespaces: 2 }, { queues: 2, vectors: 3 });
    const lost = lostBy(nvme);
    await setAll(nvme);
    await nvme.namespaceManagement.detach(2);
    await nvme.reset();
    expect(nvme.lifecycle.state).toBe("live");
    expect(lost).toEqual([{ fid: FeatureId.errorRecovery, nsid: 2, value: 22 }]);
    expect(await nvme.features.read(Feature.errorRecovery, { nsid: 1 })).toMatchObject({ timeLimit: 11 });
    expect(await nvme.features.interruptCoalescing()).toEqual({ completions: 4, timeUs: 300 });
    // It is reported once.
    await nvme.reset();
    expect(lost).toHaveLength(1);
  });

  test("are set again even if they were set while the controller recovered", async () => {
    const nvme = await openController({ faults: [fatal] }, { recovery: { attempts: 3 } });
    await nvme.features.setTemperatureThreshold(OVER);
    const set = meanwhile(nvme, () => nvme.features.setTemperatureThreshold(OVER + 1));
    await recover(nvme);
    await set;
    expect(await nvme.features.temperatureThreshold()).toBe(OVER + 1);
    await nvme.reset();
    expect(await nvme.features.temperatureThreshold()).toBe(OVER + 1);
  });

  test("include a timestamp, which goes on", async () => {
    const nvme = await openController();
    const { features } = nvme;
    const start = Date.UTC(2001, 8, 9);
    const clock = skewClock();
    await features.setTimestamp(new Date(start));
    clock.advance(DAY_MS);
    await nvme.reset();
    // A controller's clock starts at 1970.
    const now = (await features.timestamp()).getTime();
    expect(now).toBeGreaterThanOrEqual(start + DAY_MS);
    expect(now).toBeLessThan(start + 2 * DAY_MS);
  });
});

describe("a host memory buffer", () => {
  const attributes = async (nvme: NvmeController): Promise<{ value: number; data: Uint8Array }> => {
    return await nvme.features.get(FeatureId.hostMemoryBuffer, { sizeBytes: 4096 });
  };

  test.each(ways)("is given back with its contents after %s", async (_, reset) => {
    const nvme = await openController(
      { hostMemoryBytes: MIB, faults: [fatal] },
      { recovery: { attempts: 3 } },
    );
    const lost = lostBy(nvme);
    const memory = await nvme.giveHostMemory();
    expect(memory.sizeBytes).toBe(MIB);
    const before = await attributes(nvme);
    expect(before.value).toBe(1);
    // The controller checks the contents, and rejects other memory.
    await reset(nvme);
    expect(await attributes(nvme)).toEqual(before);
    expect(lost).toEqual([]);
    await memory.restore();
    await memory.close();
    await nvme.reset();
    expect((await attributes(nvme)).value).toBe(0);
  });

  test("can be restored if restoreFeatures: false kept it from being given back", async () => {
    const nvme = await openController({ hostMemoryBytes: MIB }, { restoreFeatures: false });
    await using memory = await nvme.giveHostMemory(MIB / 2);
    await nvme.reset();
    expect((await attributes(nvme)).value).toBe(0);
    await memory.restore();
    expect((await attributes(nvme)).value).toBe(1);
    // The controller would reject it twice, so it isn't asked twice.
    await memory.restore();
    expect(await caught(nvme.giveHostMemory())).toMatchObject({
      statusCode: NvmeStatus.commandSequenceError,
    });
  });

  test("is reported if it is rejected, and can be restored", async () => {
    // 1: Number of Queues; 2: the memory; 3: the memory again.
    const refuse: FaultOptions = {
      kind: "status",
      queue: "admin",
      opcode: AdminOpcode.setFeatures,
      nth: 3,
      status: NvmeStatus.invalidField,
    };
    const nvme = await openController({ hostMemoryBytes: MIB, faults: [refuse] });
    const lost = lostBy(nvme);
    await using memory = await nvme.giveHostMemory();
    await nvme.reset();
    expect(lost).toEqual([{ fid: FeatureId.hostMemoryBuffer, nsid: 0, value: 3 }]);
    expect((await attributes(nvme)).value).toBe(0);
    await memory.restore();
    await nvme.reset();
    expect((await attributes(nvme)).value).toBe(1);
    expect(lost).toHaveLength(1);
  });

  test("can be taken back or given while the controller recovers", async () => {
    const nvme = await openController(
      { hostMemoryBytes: MIB, faults: [{ ...fatal, count: 2 }] },
      { recovery: { attempts: 3 } },
    );
    const lost = lostBy(nvme);
    const given = meanwhile(nvme, () => nvme.giveHostMemory());
    await recover(nvme);
    const memory = await given;
    expect((await attributes(nvme)).value).toBe(1);
    const taken = meanwhile(nvme, () => memory.close());
    await recover(nvme);
    await taken;
    expect((await attributes(nvme)).value).toBe(0);
    expect(memory.closed).toBe(true);
    expect(lost).toEqual([]);
  });
});

describe("the features that are set again", () => {
  interface Sent {
    readonly fid: number;
    readonly nsid?: number;
    readonly value?: number;
    readonly saved?: boolean;
    readonly fails?: boolean;
  }
  const command = ({ fid, nsid = 0, value = 0, saved = false }: Sent) => ({
    opcode: AdminOpcode.setFeatures,
    nsid,
    cdw10: fid + (saved ? 2 ** 31 : 0),
    cdw11: value,
  });

  /** @returns FID, NSID and CDW11 of the features that are set again */
  async function again(sent: readonly Sent[]): Promise<(readonly number[])[]> {
    const kept = new KeptFeatures();
    for (const one of sent) {
      const error = new NvmeError("Set Features", NvmeStatus.invalidField);
      kept.watch(
        command(one),
        one.fails === true ? Promise.reject(error) : Promise.resolve({ dw0: 0, dw1: 0 }),
      );
    }
    const set: (readonly number[])[] = [];
    for (const which of ["others", "vectors"] as const) {
      await kept.restore(
        which,
        performance.now(),
        async ({ cdw10 = 0, cdw11 = 0, nsid = 0 }) => set.push([cdw10, nsid, cdw11]),
        () => {},
        new AbortController().signal,
      );
    }
    return set;
  }

  const threshold = FeatureId.temperatureThreshold;

  test("are in the order in which they were set last, with those of vectors behind all others", async () => {
    const sent = [
      { fid: FeatureId.interruptVectorConfiguration, value: 0x1_0001 },
      { fid: threshold, value: 300 },
      { fid: threshold, value: 0x1_0000 | 301 },
      // All sensors.
      { fid: threshold, value: 0xf_0000 | 302 },
      { fid: threshold, value: 303 },
      { fid: FeatureId.interruptVectorConfiguration, value: 1 },
      { fid: FeatureId.interruptVectorConfiguration, value: 0x1_0002 },
    ];
    expect(await again(sent)).toEqual([
      [threshold, 0, 0x1_0000 | 301],
      [threshold, 0, 0xf_0000 | 302],
      [threshold, 0, 303],
      [FeatureId.interruptVectorConfiguration, 0, 1],
      [FeatureId.interruptVectorConfiguration, 0, 0x1_0002],
    ]);
  });

  test("exclude those that the controller saved or rejected, that outlive a reset, or that the specification doesn't define", async () => {
    const sent = [
      { fid: FeatureId.volatileWriteCache, value: 1 },
      { fid: FeatureId.volatileWriteCache, value: 0, saved: true },
      { fid: FeatureId.interruptCoalescing, value: 3, fails: true },
      { fid: FeatureId.numberOfQueues, value: 0x1_0001 },
      { fid: FeatureId.namespaceWriteProtection, nsid: 1, value: 2 },
      // Host memory that the program gave itself.
      { fid: FeatureId.hostMemoryBuffer, value: 1 },
      { fid: 0xc5, value: 1 },
    ];
    expect(await again(sent)).toEqual([]);
  });

  test("are told apart by namespace and instance", async () => {
    const sent = [
      { fid: FeatureId.errorRecovery, nsid: 0xffff_ffff, value: 1 },
      { fid: FeatureId.errorRecovery, nsid: 2, value: 2 },
      { fid: FeatureId.errorRecovery, nsid: 2, value: 3 },
      { fid: FeatureId.enduranceGroupEventConfig, value: 0x10_0001 },
      { fid: FeatureId.enduranceGroupEventConfig, value: 0x20_0002 },
    ];
    expect(await again(sent)).toEqual([
      [FeatureId.errorRecovery, 0xffff_ffff, 1],
      [FeatureId.errorRecovery, 2, 3],
      [FeatureId.enduranceGroupEventConfig, 0, 0x10_0001],
      [FeatureId.enduranceGroupEventConfig, 0, 0x20_0002],
    ]);
  });
});
