/** Live migration of an emulated NVMe controller under a running driver. */
import { randomFillSync } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { VfioUserDevice, VfioUserMigration } from "../../../../src/doors/vfio-user.js";
import type { NvmeEmulatorOptions } from "../../../../src/emulator/nvme/options.js";
import { BusyError, type NvmeController, PciDevice, type ZonedNamespace } from "../../../../src/index.js";
import { FeatureId } from "../../../../src/nvme/spec/opcodes.js";
import { caught } from "../../../support/caught.js";
import { MIB, openController, startController, useEmulatedNvme } from "../../../support/emulated-nvme.js";
import { socketPath } from "../../../support/emulators.js";
import { sysError } from "../../../support/errors.js";

useEmulatedNvme();

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "iova-migration-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

const BLOCK = 512;
const BLOCKS = 512;

function migrationOf(nvme: NvmeController): VfioUserMigration {
  const { io } = nvme.device;
  if (!(io instanceof VfioUserDevice)) throw new Error("not behind a socket");
  return new VfioUserMigration(io);
}

async function zonesOf(namespace: ZonedNamespace): Promise<unknown[]> {
  const zones = [];
  for await (const zone of namespace.zones()) zones.push(zone);
  return zones;
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Writes and reads back, several at once, until told to stop. @returns how many there were */
function load(nvme: NvmeController, nsid = 1): () => Promise<number> {
  let isOver = false;
  const worker = async (index: number): Promise<number> => {
    const ns = await nvme.namespace(nsid);
    using out = nvme.dma.alloc(8 * BLOCK);
    using back = nvme.dma.alloc(8 * BLOCK);
    let count = 0;
    for (; !isOver; count++) {
      const lba = BigInt(index * 64 + (count % 7) * 8);
      randomFillSync(out.bytes);
      await ns.write(lba, out);
      back.bytes.fill(0);
      await ns.read(lba, back);
      if (Buffer.compare(out.bytes, back.bytes) !== 0) throw new Error(`worker ${index}: other data`);
    }
    return count;
  };
  const workers = Array.from({ length: 8 }, (_, index) => worker(index));
  // Told by whoever stops them; not before, where a test ends early.
  for (const one of workers) one.catch(() => {});
  return async () => {
    isOver = true;
    return (await Promise.all(workers)).reduce((sum, count) => sum + count, 0);
  };
}

const variants: readonly [string, NvmeEmulatorOptions, Parameters<typeof openController>[1]][] = [
  ["with mapped doorbells and interrupts", {}, { queues: 2 }],
  ["with doorbells by message", { doorbells: "messages" }, { queues: 2 }],
  ["that polls", {}, { queues: 2, completion: "poll" }],
  ["on the pin", { vectors: 0 }, {}],
  ["with queues of few entries", { queueEntries: 4 }, { queues: 3 }],
];

/** Emulators are started one after the other, each on a thread that loads the library. */
describe("a controller under I/O", () => {
  test.each(variants)("%s can be migrated repeatedly", async (_, emulator, options) => {
    const nvme = await openController(emulator, options);
    const ns = await nvme.namespace(1);
    using all = nvme.dma.alloc(BLOCKS * BLOCK);
    using back = nvme.dma.alloc(BLOCKS * BLOCK);
    randomFillSync(all.bytes);
    await ns.write(8192n, all);
    await nvme.features.setTemperatureThreshold(360);
    const events = nvme.events[Symbol.asyncIterator]();
    const next = events.next();
    const stop = load(nvme);
    for (let move = 0; move < 2; move++) {
      const { address } = await startController(emulator);
      for (let i = 0; i < 20; i++) await turn();
      migrationOf(nvme).moveTo(address);
    }
    for (let i = 0; i < 50; i++) await turn();
    expect(await stop()).toBeGreaterThan(8);
    await ns.read(8192n, back);
    expect(Buffer.compare(all.bytes, back.bytes)).toBe(0);
    // The driver has noticed nothing, and what was asked of the first is done by the last.
    expect(nvme.lifecycle.state).toBe("live");
    expect(migrationOf(nvme).state).toBe("running");
    await nvme.features.setTemperatureThreshold(1);
    await nvme.features.set(0x0b, 2);
    await nvme.features.setTemperatureThreshold(1);
    expect((await next).value).toMatchObject({ type: "smart" });
    await events.return?.();
  });

  test("keeps its host memory buffer, and recognizes it after a reset", async () => {
    const options = { hostMemoryBytes: MIB };
    const nvme = await openController(options);
    await using _memory = await nvme.giveHostMemory();
    const attributes = () => nvme.features.get(FeatureId.hostMemoryBuffer, { sizeBytes: 4096 });
    const before = await attributes();
    const lost: unknown[] = [];
    nvme.lifecycle.on("featureLost", (...told) => lost.push(told));
    migrationOf(nvme).moveTo((await startController(options)).address);
    expect(await attributes()).toEqual(before);
    await nvme.reset();
    expect(await attributes()).toEqual(before);
    expect(lost).toEqual([]);
    // Another one wants none.
    const other = (await startController()).address;
    expect(() => migrationOf(nvme).moveTo(other)).toThrow();
    expect(await attributes()).toEqual(before);
  });

  test("hands over the file of its medium to the destination", async () => {
    const file = join(folder, "disk");
    const emulator = { file, zoned: { zoneSizeBytes: MIB }, sizeBytes: 16 * MIB } as const;
    const running = await startController(emulator);
    const nvme = await openController({}, {}, running);
    const zns = await nvme.zonedNamespace(1);
    using buffer = nvme.dma.alloc(8 * BLOCK);
    randomFillSync(buffer.bytes);
    await zns.write(0n, buffer);
    await zns.openZone(2048n);
    const target = await startController({ ...emulator, incoming: true });
    // Nothing works there before the file is its own.
    const early = await caught(openController({}, {}, target));
    expect(early.message).toMatch(/CFS|fatal/);
    const before = await zonesOf(zns);
    migrationOf(nvme).moveTo(target.address);
    expect(await zonesOf(zns)).toEqual(before);
    await zns.write(8n, buffer);
    using back = nvme.dma.alloc(16 * BLOCK);
    await zns.read(0n, back);
    expect(Buffer.compare(back.bytes.subarray(0, 8 * BLOCK), buffer.bytes)).toBe(0);
    expect(Buffer.compare(back.bytes.subarray(8 * BLOCK), buffer.bytes)).toBe(0);
    // The first has the file no more, and knows.
    const left = await caught(openController({}, {}, running));
    expect(left.message).toMatch(/CFS|fatal/);
  });

  test("continues at the source if the destination can't take it", async () => {
    const nvme = await openController({ sizeBytes: 16 * MIB });
    const stop = load(nvme);
    await turn();
    const migration = migrationOf(nvme);
    const others: NvmeEmulatorOptions[] = [
      { queuePairs: 3 },
      { vectors: 3 },
      { serial: "B" },
      { cmbBytes: MIB },
    ];
    for (const other of [...others, { sizeBytes: 32 * MIB }]) {
      const { address } = await startController(other);
      expect(() => migration.moveTo(address)).toThrow();
      expect(migration.state).toBe("running");
    }
    const { address } = await startController({ serial: "B" });
    expect(() => migration.moveTo(address)).toThrow(sysError("VFIO_USER_DEVICE_FEATURE", "EINVAL"));
    expect(() => migration.moveTo(`vfio-user:${socketPath()}`)).toThrow(sysError("connect", "ENOENT"));
    const busy = await startController();
    using somebody = PciDevice.open(busy.address);
    expect(() => migration.moveTo(busy.address)).toThrow(BusyError);
    expect(() => migration.moveTo(busy.address)).toThrow(
      `is in use by another client: a server has one at a time`,
    );
    expect(somebody.closed).toBe(false);
    expect(migration.state).toBe("running");
    for (let i = 0; i < 20; i++) await turn();
    expect(await stop()).toBeGreaterThan(8);
    expect(nvme.lifecycle.state).toBe("live");
  });
});
