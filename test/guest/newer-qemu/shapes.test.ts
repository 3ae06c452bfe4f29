/** QEMU's controllers that only a newer QEMU has: flexible data placement; short queues without shadow doorbells. */
import { randomFillSync } from "node:crypto";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { FdpEventType, ReclaimUnitHandleType } from "../../../src/doors/nvme.js";
import { listPciFunctions, NvmeController, NvmeError } from "../../../src/index.js";
import { caught } from "../../support/caught.js";
import { expectNothingLeftSoon } from "../../support/holdings-soon.js";
import { backends, bindGroup, ways } from "../../support/nvme-machine.js";
import { roundTrip } from "../../support/nvme-round-trip.js";
import { provoke } from "../../support/provoke.js";

const MIB = 2 ** 20;
const RECLAIM_UNIT_BLOCKS = BigInt(MIB / 512);
/** The subsystem's only endurance group. */
const GROUP = 1;

function at(slot: string): string {
  const found = listPciFunctions().find(({ bdf }) => bdf.endsWith(`:${slot}`));
  if (found === undefined) throw new Error(`this machine has nothing at ${slot}`);
  return found.bdf;
}
const placing = (): string => at("10.0");
const short = (): string => at("11.0");

const bindings: { close(): void }[] = [];
beforeAll(() => {
  for (const bdf of [placing(), short()]) bindings.push(bindGroup(bdf));
});
afterAll(() => {
  for (const binding of bindings) binding.close();
});
expectNothingLeftSoon();

describe.each(backends)("flexible data placement through %s", (backend) => {
  let nvme: NvmeController;
  beforeEach(async () => {
    nvme = await NvmeController.open(placing(), { backend });
  });
  afterEach(() => nvme.close());

  test("reports its configuration by logs and features", async () => {
    const { fdp } = nvme.logs;
    const [configuration, ...more] = await fdp.configurations(GROUP);
    expect(more).toEqual([]);
    expect(configuration).toMatchObject({
      valid: 1,
      reclaimGroups: 2,
      // One would do for two groups: QEMU has one more.
      reclaimGroupBits: 2,
      reclaimUnitHandles: 4,
      reclaimUnitBytes: BigInt(MIB),
      handleTypes: new Array(4).fill(ReclaimUnitHandleType.initiallyIsolated),
    });
    expect(await fdp.handleUsage(GROUP)).toEqual([1, 1, 1, 1]);
    expect(await nvme.features.structures.flexibleDataPlacement(GROUP)).toEqual({
      enabled: true,
      configuration: 0,
    });
    const ns = await nvme.namespace(1);
    expect(ns.identify.endgid).toBe(GROUP);
  });

  test("directs a write to its placement handle's reclaim unit, until that is full", async () => {
    const ns = await nvme.namespace(1);
    const before = await ns.placement.handles();
    // Three handles in each of two reclaim groups, whose number is in the identifier's two highest bits.
    expect(before.map(({ placement, handle }) => [placement, handle])).toEqual([
      [0x0000, 0],
      [0x4000, 0],
      [0x0001, 1],
      [0x4001, 1],
      [0x0002, 2],
      [0x4002, 2],
    ]);
    using source = nvme.dma.alloc(64 * 512);
    using target = nvme.dma.alloc(64 * 512);
    randomFillSync(source.bytes);
    const all = before.map(({ placement }) => placement);
    await ns.placement.update(all);
    const available = async (): Promise<bigint[]> =>
      (await ns.placement.handles()).map(({ availableBlocks }) => availableBlocks);
    expect(await available()).toEqual(new Array(6).fill(RECLAIM_UNIT_BLOCKS));

    const written = (await nvme.logs.fdp.statistics(GROUP)).hostBytesWritten;
    for (const [i, placement] of all.entries()) {
      for (let n = 0; n <= i; n++) await ns.write(BigInt(64 * i), source, { placement });
      await ns.read(BigInt(64 * i), target);
      expect(Buffer.compare(target.bytes, source.bytes)).toBe(0);
    }
    expect(await available()).toEqual(all.map((_, i) => RECLAIM_UNIT_BLOCKS - 64n * BigInt(i + 1)));
    const now = await nvme.logs.fdp.statistics(GROUP);
    expect(now.hostBytesWritten - written).toBe(21n * 64n * 512n);
    expect(now.mediaBytesWritten).toBeGreaterThanOrEqual(now.hostBytesWritten);

    // Without a placement the first handle takes it.
    await ns.write(0n, source);
    expect((await available())[0]).toBe(RECLAIM_UNIT_BLOCKS - 128n);
    // One block too many for the unit: the next one has it.
    using rest = nvme.dma.alloc(Number(RECLAIM_UNIT_BLOCKS / 4n) * 512);
    for (let n = 0; n < 4; n++) await ns.write(0n, rest, { placement: 2 });
    expect((await available())[4]).toBe(RECLAIM_UNIT_BLOCKS - 320n);
    await ns.placement.update([2]);
    expect((await available())[4]).toBe(RECLAIM_UNIT_BLOCKS);
  });

  test("reports failed placements, if those events are enabled", async () => {
    const ns = await nvme.namespace(1);
    const { structures } = nvme.features;
    const { reclaimUnitNotFullyWritten: notFull, invalidPlacementId: invalid } = FdpEventType;
    expect([...(await structures.fdpEvents(1, 1)).keys()]).toEqual(
      expect.arrayContaining([notFull, invalid]),
    );
    await structures.setFdpEvents(1, 1, [notFull], true);
    expect((await structures.fdpEvents(1, 1)).get(notFull)).toBe(true);
    expect((await structures.fdpEvents(1, 1)).get(invalid)).toBe(false);

    using block = nvme.dma.alloc(512);
    await ns.placement.update([1]);
    const before = await nvme.logs.fdp.events(GROUP, "host");
    await ns.write(0n, block, { placement: 1 });
    await ns.placement.update([1]);
    const after = await nvme.logs.fdp.events(GROUP, "host");
    expect(after.length).toBe(before.length + 1);
    expect(after.filter(({ type }) => type === notFull).at(-1)).toMatchObject({
      placementIdValid: 1,
      nsidValid: 1,
      placementId: 1,
      nsid: 1,
    });
    await structures.setFdpEvents(1, 1, [notFull], false);
    await ns.write(0n, block, { placement: 1 });
    await ns.placement.update([1]);
    expect(await nvme.logs.fdp.events(GROUP, "host")).toHaveLength(after.length);
    expect(await nvme.logs.fdp.events(GROUP, "controller")).toEqual([]);
  });

  test("refuses placement handles of another namespace", async () => {
    const other = await nvme.namespace(2);
    expect((await other.placement.handles()).map(({ placement, handle }) => [placement, handle])).toEqual([
      [0x0000, 3],
      [0x4000, 3],
    ]);
    provoke("pci_nvme_err_req_status");
    expect(await caught(other.placement.update([1]))).toBeInstanceOf(NvmeError);
  });
});

describe.each(ways)("queues of 16 entries, through $backend, completions by $completion", (way) => {
  test("complete many commands, also after resets, without doorbells in memory", async () => {
    await using nvme = await NvmeController.open(short(), { ...way, shadowDoorbells: true, queues: 8 });
    expect(nvme.usesShadowDoorbells).toBe(false);
    expect(nvme.queues.map(({ entries }) => entries)).toEqual([16]);
    expect(await roundTrip(nvme, 200)).toBe("same");
    for (const reset of ["controller", "function"] as const) {
      await nvme.reset(reset);
      expect(await roundTrip(nvme)).toBe("same");
    }
  });
});
