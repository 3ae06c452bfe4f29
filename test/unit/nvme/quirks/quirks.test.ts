/** What the driver does about each quirk, against an emulated controller that has it. */
import { randomFillSync } from "node:crypto";
import { describe, expect, test, vi } from "vitest";
import { ArgumentError, TimeoutError, UnsupportedError } from "../../../../src/core/errors.js";
import { IovaSpaceError } from "../../../../src/dma/iova/error.js";
import { DmaSpace } from "../../../../src/dma/space.js";
import { type NvmeController, NvmeError, NvmeProtocolError } from "../../../../src/index.js";
import { parseNvmeOptions } from "../../../../src/nvme/engine/options.js";
import { QueueInterrupts } from "../../../../src/nvme/engine/queue-interrupts.js";
import type { NvmeQuirkName } from "../../../../src/nvme/quirks/quirks.js";
import { Feature } from "../../../../src/nvme/spec/features.js";
import { CriticalWarning } from "../../../../src/nvme/spec/log-pages.js";
import { AdminOpcode, FeatureId, IoOpcode } from "../../../../src/nvme/spec/opcodes.js";
import type { PciDevice } from "../../../../src/pci/device.js";
import type { InterruptOptions } from "../../../../src/pci/interrupts.js";
import { MappedMemory } from "../../../../src/sys/memory.js";
import { caught } from "../../../support/caught.js";
import { openController, startController, useEmulatedNvme } from "../../../support/emulated-nvme.js";
import { eventually } from "../../../support/eventually.js";
import { IdentityMapper } from "../../../support/identity-mapper.js";
import { settled } from "../../../support/played-controller.js";

useEmulatedNvme();

describe("delay-before-ready", () => {
  const odd = { quietMs: 500 };

  test("without it, a controller that is asked too early after a reset fails", async () => {
    const nvme = await openController({ odd });
    expect(await caught(nvme.reset())).toBeInstanceOf(NvmeProtocolError);
  });

  test("with it, the driver waits before it asks", async () => {
    const nvme = await openController({ odd }, { quirks: { add: ["delay-before-ready"] } });
    await nvme.reset();
    expect(nvme.lifecycle.state).toBe("live");
  });

  test("an opening that waits can be aborted", async () => {
    const running = await startController();
    const abort = new AbortController();
    const opening = openController({}, { quirks: ["delay-before-ready"], signal: abort.signal }, running);
    setTimeout(() => abort.abort(new Error("no longer wanted")), 100);
    expect(String(await caught(opening))).toContain("no longer wanted");
  });
});

describe("no-write-zeroes", () => {
  const faults = [{ kind: "drop", queue: "io", opcode: IoOpcode.writeZeroes }] as const;
  const phison = { vendorId: 0x1987, deviceId: 0x5019 };

  test("without it, Write Zeroes never completes, and the controller is lost", async () => {
    const nvme = await openController({ odd: phison, faults }, { quirks: "auto", timeoutMs: 500 });
    const lost = await openController({ odd: phison, faults }, { quirks: [], timeoutMs: 500 });
    const ns = await lost.namespace(1);
    expect(await caught(ns.writeZeroes(0n, 8))).toBeInstanceOf(TimeoutError);
    expect(lost.lifecycle.state).not.toBe("live");
    expect(nvme.quirks).toMatchObject([{ name: "no-write-zeroes" }]);
  });

  test("with it, Write Zeroes is refused, and the error says how to use it all the same", async () => {
    const nvme = await openController({ odd: phison, faults }, { timeoutMs: 500 });
    const ns = await nvme.namespace(1);
    const error = await caught(ns.writeZeroes(0n, 8));
    expect(error).toBeInstanceOf(UnsupportedError);
    expect(String(error)).toContain('quirks { remove: ["no-write-zeroes"] }');
    expect(nvme.lifecycle.state).toBe("live");
  });
});

describe("bogus-identifiers", () => {
  const odd = { vendorId: 0x1987, deviceId: 0x5012, sharedIdentifiers: true };

  test("without it, two namespaces are reported with one identifier", async () => {
    const nvme = await openController({ odd, namespaces: 2 }, { quirks: [] });
    const [first, second] = [1, 2].map((nsid) => nvme.structures.namespaceIdentifiers(nsid));
    expect(await first).toMatchObject({ eui64: "0200000000000000", csi: 0 });
    expect(await second).toEqual(await first);
    const { identify } = await nvme.namespace(2);
    expect(identify.eui64[0]).toBe(2);
  });

  test("with it, only the command set is", async () => {
    const nvme = await openController({ odd });
    expect(await nvme.structures.namespaceIdentifiers(1)).toEqual({ csi: 0 });
    for (const { eui64, nguid } of [
      (await nvme.namespace(1)).identify,
      await nvme.structures.namespace(1),
      await nvme.structures.allocatedNamespace(1),
    ]) {
      expect([...eui64, ...nguid].every((byte) => byte === 0)).toBe(true);
    }
  });
});

/** Writes blocks, reads them back, and compares. */
async function carriesData(nvme: NvmeController, blocks = 8): Promise<boolean> {
  const ns = await nvme.namespace(1);
  using source = nvme.dma.alloc(blocks * 512);
  using target = nvme.dma.alloc(blocks * 512);
  randomFillSync(source.bytes);
  // From a block that begins no stripe.
  await ns.writeRange(1n, source);
  await ns.readRange(1n, target);
  return Buffer.compare(source.bytes, target.bytes) === 0;
}

describe("quirks of the start", () => {
  test.each([
    ["admin-queue-64", { adminEntriesUnit: 64 }],
    ["delay-before-init", { initMs: 1000 }],
    ["class-code", { classCode: 0x018002 }],
    ["medium-priority", { refusesUrgent: true }],
    ["mqes-0-is-63", { mqes: 0 }],
  ] as const)("%s: without it, open fails; with it, the controller works", async (quirk, odd) => {
    expect(await caught(openController({ odd }))).toBeInstanceOf(Error);
    const nvme = await openController({ odd }, { quirks: { add: [quirk] } });
    expect(await carriesData(nvme)).toBe(true);
  });

  test("mqes-0-is-63: queues have 64 entries, and one-command: they have two", async () => {
    const running = await startController({ odd: { mqes: 0 } });
    const nvme = await openController({}, { quirks: ["mqes-0-is-63"] }, running);
    expect(nvme.queues.map(({ entries }) => entries)).toEqual([64]);
    await nvme.close();
    const single = await openController({}, { quirks: ["one-command"] }, running);
    expect(single.queues.map(({ entries }) => entries)).toEqual([2]);
    expect(await carriesData(single)).toBe(true);
  });

  test("one-command: without it, a controller that can't have two commands at once is lost; with it, it works", async () => {
    const odd = { oneCommand: true };
    const read = async (nvme: NvmeController): Promise<unknown> => {
      const ns = await nvme.namespace(1);
      using buffer = nvme.dma.alloc(4096);
      const both = [ns.read(0n, buffer), ns.read(8n, buffer)];
      await Promise.allSettled(both);
      return await Promise.all(both).catch((error: unknown) => error);
    };
    const nvme = await openController({ odd });
    expect(await read(nvme)).toBeInstanceOf(Error);
    expect(nvme.lifecycle.state).not.toBe("live");
    const quirky = await openController({ odd }, { quirks: ["one-command"] });
    expect(await read(quirky)).toEqual([undefined, undefined]);
    expect(await carriesData(quirky, 100)).toBe(true);
  });

  test("entries-128-bytes: without it, a controller that reads such entries gets other commands; with it, all paths work", async () => {
    const odd = { entryBytes: 128 } as const;
    const wrong = await openController({ odd }, { timeoutMs: 500 });
    expect(await carriesData(wrong).catch((error: unknown) => error)).toBeInstanceOf(Error);
    const nvme = await openController({ odd }, { quirks: ["entries-128-bytes"] });
    expect(await carriesData(nvme, 100)).toBe(true);
    const ns = await nvme.namespace(1);
    // More than a ring has, so that parts of the batch wrap.
    using buffer = nvme.dma.alloc(300 * 512);
    const commands = (command: "read" | "write") =>
      Array.from({ length: 300 }, (_, i) => ({
        command,
        lba: i,
        data: { buffer, offset: i * 512, length: 512 },
      }));
    const bytes = randomFillSync(new Uint8Array(300 * 512));
    buffer.bytes.set(bytes);
    using writes = ns.batch(commands("write"));
    await writes.run();
    buffer.bytes.fill(0);
    using reads = ns.batch(commands("read"));
    await reads.run();
    expect(Buffer.compare(buffer.bytes, bytes)).toBe(0);
    await nvme.reset();
    expect(await carriesData(nvme)).toBe(true);
    const cq = await nvme.rings.createCompletionQueue({ id: 5, entries: 4 });
    const sq = await nvme.rings.createSubmissionQueue(cq, { id: 5, entries: 4 });
    // Once around the ring: each entry is where the controller looks for it.
    for (let cid = 0; cid < 6; cid++) {
      sq.ring.words[sq.ring.slot] = IoOpcode.flush | (cid << 16);
      sq.ring.words[sq.ring.slot + 1] = 1;
      sq.ring.post();
      sq.ringDoorbell();
      await eventually(() => (cq.ring.reap(4) > 0 ? true : undefined));
      expect([cq.ring.cids[0], (cq.ring.statuses[0] ?? 1) & 0x7ff]).toEqual([cid, 0]);
      cq.ringDoorbell();
    }
  });

  test("shared-command-ids: without it, an I/O command with the id of an event request ends the controller; with it, none has", async () => {
    const odd = { sharedIds: true };
    const flush = async (nvme: NvmeController): Promise<unknown> => {
      const events = nvme.events[Symbol.asyncIterator]();
      const next = events.next();
      // By then the request for an event is outstanding: its id is the admin queue's first.
      await nvme.structures.controller();
      const all = Array.from({ length: 300 }, () => nvme.io({ opcode: IoOpcode.flush, nsid: 1 }));
      const outcome = await Promise.all(all).catch((error: unknown) => error);
      await Promise.allSettled(all);
      await events.return?.();
      await next.catch(() => {});
      return outcome;
    };
    expect(await flush(await openController({ odd }, { queues: 2 }))).toBeInstanceOf(Error);
    const nvme = await openController({ odd }, { quirks: ["shared-command-ids"], queues: 2 });
    expect(nvme.queues).toHaveLength(1);
    expect(await flush(nvme)).toHaveLength(300);
    await nvme.reset();
    expect(await carriesData(nvme, 100)).toBe(true);
    const none = { quirks: ["shared-command-ids"], queueEntries: 33 } as const;
    expect(await caught(openController({ odd }, none))).toBeInstanceOf(UnsupportedError);
    const few = await openController({ odd }, { ...none, adminQueueEntries: 31 });
    expect(await carriesData(few, 100)).toBe(true);
  });

  test("deep-queues: without it, commands of a slow queue stay pending; with it, they complete", async () => {
    const running = await startController({ odd: { shallowEntries: 1024, shallowDelayMs: 600_000 } });
    const slow = await openController({}, { timeoutMs: 600_000 }, running);
    const flush = slow.io({ opcode: IoOpcode.flush, nsid: 1 });
    // The controller executes commands in order of their arrival.
    for (let i = 0; i < 10; i++) await slow.structures.controller();
    expect(await settled([flush])).toEqual(["pending"]);
    await slow.shutdown("abrupt");
    await flush.catch(() => {});
    await slow.close();
    const deep = await openController({}, { quirks: ["deep-queues"], timeoutMs: 600_000 }, running);
    expect(await carriesData(deep)).toBe(true);
  });

  test("deep-queues: queues have 1024 entries, unless the program says otherwise", async () => {
    const running = await startController();
    for (const [options, entries] of [
      [{}, 256],
      [{ quirks: ["deep-queues"] as const }, 1024],
      [{ quirks: ["deep-queues"] as const, queueEntries: 16 }, 16],
    ] as const) {
      const nvme = await openController({}, options, running);
      expect(nvme.queues.map((queue) => queue.entries)).toEqual([entries]);
      await nvme.close();
    }
  });
});

describe("delay-after-queue", () => {
  test("without it, the first command of a new queue is lost", async () => {
    const nvme = await openController({ odd: { queueDelayMs: 10_000 } }, { timeoutMs: 500 });
    expect(await caught(nvme.io({ opcode: IoOpcode.flush, nsid: 1 }))).toBeInstanceOf(TimeoutError);
  });

  test("with it, the driver waits", async () => {
    const nvme = await openController({ odd: { queueDelayMs: 5 } }, { quirks: ["delay-after-queue"] });
    expect(await carriesData(nvme)).toBe(true);
  });
});

describe("interrupts", () => {
  /** What the driver asks of a device with these counts of INTx, MSI and MSI-X. */
  function asked(counts: readonly number[], ...names: NvmeQuirkName[]): InterruptOptions | undefined {
    let options: InterruptOptions | undefined;
    const device = {
      bdf: "a controller",
      io: { irqInfo: (index: number) => ({ count: counts[index] ?? 0 }) },
      enableInterrupts: (given: InterruptOptions) => {
        options = given;
        return { relinquish: () => {}, vectors: [] };
      },
    } as unknown as PciDevice;
    new QueueInterrupts(device, parseNvmeOptions({ queues: 4 }), { has: (name) => names.includes(name) });
    return options;
  }

  test("single-vector: without it, each queue has a vector; with it, they share one", async () => {
    expect(asked([1, 0, 8])).toEqual({ kind: undefined, count: 5 });
    expect(asked([1, 0, 8], "single-vector")).toEqual({ kind: undefined, count: 1 });
  });

  test("single-vector: without it, interrupts of I/O queues get lost; with it, they arrive", async () => {
    const odd = { workingVectors: 1 };
    // So long that the driver doesn't look for lost interrupts.
    const timeoutMs = 600_000;
    const lost = await openController({ odd }, { timeoutMs });
    const flush = lost.io({ opcode: IoOpcode.flush, nsid: 1 });
    // The controller executes commands in order of their arrival.
    for (let i = 0; i < 10; i++) await lost.structures.controller();
    expect(await settled([flush])).toEqual(["pending"]);
    expect(lost.queues[0]?.outstanding).toBe(1);
    await lost.shutdown("abrupt");
    await flush.catch(() => {});
    const nvme = await openController({ odd }, { quirks: ["single-vector"], queues: 2, timeoutMs });
    expect(await carriesData(nvme)).toBe(true);
  });

  test("no-msi: with it, a controller whose MSI never arrives works by the pin", async () => {
    const odd = { deadMsi: true };
    const timeoutMs = 600_000;
    const nvme = await openController({ odd, vectors: 0 }, { quirks: ["no-msi"], timeoutMs });
    expect(await carriesData(nvme)).toBe(true);
    await nvme.close();
    const scope = new AbortController();
    const opening = openController({ odd, vectors: 0 }, { timeoutMs, signal: scope.signal });
    // The first command doesn't complete, and opening waits for it.
    setTimeout(() => scope.abort(new Error("no interrupt came")), 500);
    expect(String(await caught(opening))).toContain("no interrupt came");
  });

  test.each([
    [0, "intx"],
    [4, "msix"],
  ])("no-msi: with %d vectors of MSI-X, the driver chooses %s", (msix, kind) => {
    expect(asked([1, 4, msix])).toMatchObject({ kind: undefined });
    expect(asked([1, 4, msix], "no-msi")).toMatchObject({ kind });
  });

  test("no-msi: MSI is refused if the program asks for it", async () => {
    const error = await caught(openController({}, { quirks: ["no-msi"], interruptKind: "msi" }));
    expect(error).toBeInstanceOf(UnsupportedError);
    expect(String(error)).toContain("no-msi");
  });
});

describe("identification", () => {
  test("bogus-subsystem-nqn: the name is reported only without it", async () => {
    const running = await startController({ odd: { sharedIdentifiers: true } });
    const nvme = await openController({}, {}, running);
    // Without the serial number, which would tell it from another.
    expect(nvme.identify.subnqn).toBe("nqn.2026-01.org.iova:emulated");
    await nvme.close();
    const bogus = await openController({}, { quirks: ["bogus-subsystem-nqn"] }, running);
    expect(bogus.identify.subnqn).toBe("");
    expect((await bogus.structures.controller()).subnqn).toBe("");
  });

  test("cns-0-and-1: without it, there is no list of namespaces; with it, they are found one by one", async () => {
    const refusedCns = Array.from({ length: 0xfe }, (_, index) => index + 2);
    const running = await startController({ odd: { refusedCns }, namespaces: 3 });
    const nvme = await openController({}, {}, running);
    expect(await caught(nvme.namespaceIds())).toBeInstanceOf(NvmeError);
    await nvme.close();
    const quirky = await openController({}, { quirks: ["cns-0-and-1"] }, running);
    expect(await quirky.namespaceIds()).toEqual([1, 2, 3]);
    expect(await quirky.structures.namespaceIdentifiers(1)).toEqual({ eui64: expect.any(String) });
    expect(await caught(quirky.zonedNamespace(1))).toBeInstanceOf(UnsupportedError);
  });

  test("no-namespace-descriptors: the identifiers come from Identify Namespace", async () => {
    const running = await startController({ odd: { refusedCns: [3] } });
    const nvme = await openController({}, {}, running);
    expect(await caught(nvme.structures.namespaceIdentifiers(1))).toBeInstanceOf(NvmeError);
    await nvme.close();
    const quirky = await openController({}, { quirks: ["no-namespace-descriptors"] }, running);
    expect(await quirky.structures.namespaceIdentifiers(1)).toEqual({ eui64: expect.any(String) });
  });
});

describe("data", () => {
  test("stripe: without it, a long transfer crosses stripes; with it, no command does", async () => {
    const running = await startController({ odd: { stripeLog2: 2 } });
    const nvme = await openController({}, {}, running);
    expect(await caught(carriesData(nvme, 100))).toBeInstanceOf(NvmeError);
    await nvme.close();
    const split = await openController({}, { quirks: ["stripe"] }, running);
    expect(await carriesData(split, 100)).toBe(true);
    const ns = await split.namespace(1);
    const pieces: [bigint, number][] = [];
    for await (const { lba, blocks } of ns.chunks(30n, 40)) pieces.push([lba, blocks]);
    expect(pieces).toEqual([
      [30n, 2],
      [32n, 32],
      [64n, 6],
    ]);
  });

  test("no-sgl: without it, the controller refuses SGLs that it promises; with it, the driver does", async () => {
    const running = await startController({ odd: { refusesSgl: true } });
    const nvme = await openController({}, {}, running);
    using buffer = nvme.dma.alloc(4096);
    expect(await caught((await nvme.namespace(1)).read(0n, buffer, { sgl: true }))).toBeInstanceOf(NvmeError);
    expect(await carriesData(nvme)).toBe(true);
    buffer.close();
    await nvme.close();
    const without = await openController({}, { quirks: ["no-sgl"] }, running);
    using other = without.dma.alloc(4096);
    const ns = await without.namespace(1);
    expect(await caught(ns.read(0n, other, { sgl: true }))).toBeInstanceOf(ArgumentError);
    expect(await carriesData(without)).toBe(true);
  });

  test("deallocate-zeroes: a controller without Write Zeroes deallocates the blocks", async () => {
    const datasetManagement = 1 << 2;
    const running = await startController({ odd: { oncs: datasetManagement } });
    const nvme = await openController({}, {}, running);
    expect(await caught((await nvme.namespace(1)).writeZeroes(0n, 8))).toBeInstanceOf(UnsupportedError);
    await nvme.close();
    const quirky = await openController({}, { quirks: ["deallocate-zeroes"] }, running);
    const ns = await quirky.namespace(1);
    using buffer = quirky.dma.alloc(4096);
    buffer.bytes.fill(1);
    await ns.write(0n, buffer);
    await ns.writeZeroes(0n, 8);
    await ns.read(0n, buffer);
    expect(buffer.bytes.every((byte) => byte === 0)).toBe(true);
  });

  test("dma-48-bits: no buffer lies beyond 48 bits of address", async () => {
    const iova = 1n << 50n;
    using space = new DmaSpace(new IdentityMapper());
    space.alloc(4096, { iova }).close();
    const narrow = vi.spyOn(DmaSpace.prototype, "narrow");
    const nvme = await openController({}, { quirks: ["dma-48-bits"] });
    expect(narrow.mock.calls).toEqual([[48]]);
    narrow.mockRestore();
    expect(await carriesData(nvme)).toBe(true);
    space.narrow(48);
    expect(() => space.alloc(4096, { iova })).toThrow(IovaSpaceError);
    using memory = MappedMemory.anonymous(4096);
    expect(() => space.map(memory, { iova })).toThrow(IovaSpaceError);
  });

  test("a controller whose DMA reaches 40 bits fails commands whose data lies beyond, and no others", async () => {
    const running = await startController({ odd: { dmaBits: 40 } });
    const nvme = await openController({}, {}, running);
    const iova = 1n << 46n;
    using far = nvme.dma.alloc(4096, { iova });
    expect(await caught((await nvme.namespace(1)).read(0n, far))).toBeInstanceOf(NvmeError);
    far.close();
    await nvme.close();
    // vfio-user's addresses have 47 bits, so that the quirk itself can't be seen there.
    const narrow = await openController({}, {}, running);
    narrow.dma.narrow(40);
    expect(() => narrow.dma.alloc(4096, { iova })).toThrow(IovaSpaceError);
    expect(await carriesData(narrow)).toBe(true);
  });

  test("no-security: without it, the controller refuses the commands that it promises; with it, none is sent", async () => {
    const running = await startController({
      odd: { refusedAdmin: [AdminOpcode.securitySend, AdminOpcode.securityReceive] },
    });
    const nvme = await openController({}, {}, running);
    expect(await caught(nvme.security.protocols())).toBeInstanceOf(NvmeError);
    await nvme.close();
    const quirky = await openController({}, { quirks: ["no-security"] }, running);
    expect(await caught(quirky.security.protocols())).toBeInstanceOf(UnsupportedError);
  });
});

describe("power states and temperature", () => {
  const powerStates = 5;
  const deepest = powerStates - 1;
  /** Enters this state by itself as soon as it is idle. */
  const whenIdle = (nvme: NvmeController, powerState: number) =>
    nvme.features.structures.setPowerTransitions(true, [{ powerState, milliseconds: 1 }]);

  /** Looks at a controller that does nothing until it is lost. */
  async function isLost(nvme: NvmeController): Promise<void> {
    const error = await eventually(() =>
      nvme.structures.controller().then(
        () => undefined,
        (reason: unknown) => reason,
      ),
    );
    expect(error).toBeInstanceOf(Error);
    expect(nvme.lifecycle.state).not.toBe("live");
  }

  test("no-apst: without it, a controller that fails in states it enters by itself is lost", async () => {
    const odd = { failsInOwnPowerState: true };
    const nvme = await openController({ powerStates, odd });
    await nvme.features.set(FeatureId.powerManagement, deepest);
    expect(await carriesData(nvme)).toBe(true);
    await whenIdle(nvme, 3);
    await isLost(nvme);
  });

  test("no-apst: with it, the driver doesn't let it enter them", async () => {
    const odd = { failsInOwnPowerState: true };
    const nvme = await openController({ powerStates, odd }, { quirks: ["no-apst"] });
    expect(await caught(whenIdle(nvme, 3))).toBeInstanceOf(UnsupportedError);
    expect((await nvme.features.structures.powerTransitions()).enabled).toBe(false);
    expect(await carriesData(nvme)).toBe(true);
    expect(nvme.lifecycle.state).toBe("live");
  });

  const ways: readonly (readonly [string, (nvme: NvmeController, state: number) => Promise<unknown>])[] = [
    ["Set Features", (nvme, state) => nvme.features.set(FeatureId.powerManagement, state)],
    ["a transition by itself", whenIdle],
  ];

  test.each(ways)("no-deepest-power-state: without it, the controller is lost by %s", async (_, enter) => {
    const nvme = await openController({ powerStates, odd: { failsInDeepestPowerState: true } });
    await enter(nvme, deepest);
    await isLost(nvme);
  });

  test.each(ways)(
    "no-deepest-power-state: with it, the driver refuses that in %s, and no other state",
    async (_, enter) => {
      const nvme = await openController(
        { powerStates, odd: { failsInDeepestPowerState: true } },
        { quirks: ["no-deepest-power-state"] },
      );
      expect(await caught(enter(nvme, deepest))).toBeInstanceOf(UnsupportedError);
      await enter(nvme, deepest - 1);
      await eventually(async () => {
        const { value } = await nvme.features.get(FeatureId.powerManagement);
        return value === deepest - 1 ? true : undefined;
      });
      expect(await carriesData(nvme)).toBe(true);
      expect(nvme.lifecycle.state).toBe("live");
    },
  );

  test("a controller that stands its power states carries data out of each of them", async () => {
    const nvme = await openController({ powerStates });
    expect(nvme.identify).toMatchObject({ npss: deepest, apsta: 1 });
    for (const [, enter] of ways) {
      for (const state of [deepest, 3]) {
        // It may have become idle again, and the next table leads out of state 0 alone.
        await nvme.features.structures.setPowerTransitions(false, []);
        await nvme.features.set(FeatureId.powerManagement, 0);
        await enter(nvme, state);
        await eventually(async () => {
          const { value } = await nvme.features.get(FeatureId.powerManagement);
          return value === state ? true : undefined;
        });
        expect(await carriesData(nvme)).toBe(true);
      }
    }
  });

  describe("no-temperature-threshold", () => {
    const odd = { temperatureWarningStays: true };
    const hasWarning = async (nvme: NvmeController): Promise<boolean> =>
      ((await nvme.logs.smart()).criticalWarning & CriticalWarning.temperature) !== 0;

    test("without it, a threshold that was set leaves a warning, with its event", async () => {
      const nvme = await openController({ odd });
      await nvme.features.write(Feature.asyncEventConfiguration, { temperature: true });
      const before = await nvme.features.temperatureThreshold();
      expect(await hasWarning(nvme)).toBe(false);
      const events = nvme.events[Symbol.asyncIterator]();
      const event = events.next();
      // Beyond what the thermometer says: no reason to warn.
      await nvme.features.setTemperatureThreshold(before + 50);
      expect(await event).toMatchObject({ value: { type: "smart", name: "temperature" } });
      expect(await hasWarning(nvme)).toBe(true);
      await nvme.features.setTemperatureThreshold(before);
      expect(await hasWarning(nvme)).toBe(true);
      await events.return?.();
    });

    test("with it, none is set, and there is no warning", async () => {
      const nvme = await openController({ odd }, { quirks: ["no-temperature-threshold"] });
      expect(await caught(nvme.features.setTemperatureThreshold(400))).toBeInstanceOf(UnsupportedError);
      expect(await nvme.features.temperatureThreshold()).toBe(343);
      expect(await hasWarning(nvme)).toBe(false);
      expect(await carriesData(nvme)).toBe(true);
    });
  });
});

describe("a model with quirks", () => {
  test("has them as soon as Identify Controller is read", async () => {
    const odd = { vendorId: 0x144d, model: "Samsung Portable SSD X5", firmware: "51025KLA" };
    const nvme = await openController({ odd });
    expect(nvme.identify.fr).toBe("51025KLA");
    expect(nvme.quirks.map(({ name }) => name)).toContain("delay-before-ready");
  });
});
