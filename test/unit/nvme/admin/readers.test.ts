/**
 * Structures, log pages and features that no controller at hand has: which command asks for each, and where its fields are.
 * Offsets are those of the figures in NVMe Base 2.x, the NVM, Zoned Namespace and Key Value Command Sets.
 */
import { afterEach, describe, expect, test } from "vitest";
import { NvmeCapacity } from "../../../../src/nvme/admin/capacity.js";
import { NvmeFeatures } from "../../../../src/nvme/admin/features.js";
import { NvmeFirmware } from "../../../../src/nvme/admin/firmware.js";
import { NvmeLogs } from "../../../../src/nvme/admin/logs.js";
import { NvmeStructures } from "../../../../src/nvme/admin/structures.js";
import type { IdentifyController } from "../../../../src/nvme/spec/identify.js";
import { RecordingController } from "../../../support/recording-controller.js";

const IDENTIFY = 0x06;
const GET_LOG_PAGE = 0x02;
const ALL = 0xffff_ffff;

let target: RecordingController | undefined;
function controller(identify: Partial<IdentifyController> = {}): RecordingController {
  target = new RecordingController({ oacs: 0xfff, ...identify });
  return target;
}
afterEach(() => {
  target?.close();
  target = undefined;
});

/** Bytes with little-endian numbers at these offsets. */
function bytes(length: number, ...parts: [offset: number, size: 1 | 2 | 4 | 8, value: number | bigint][]) {
  const whole = new Uint8Array(length);
  const view = new DataView(whole.buffer);
  for (const [at, size, value] of parts) {
    const all = BigInt(value);
    for (let i = 0; i < size; i++) view.setUint8(at + i, Number((all >> BigInt(8 * i)) & 0xffn));
  }
  return whole;
}

describe("Identify", () => {
  /** A controller that answers every Identify with this page. */
  function withPage(...parts: Parameters<typeof bytes> extends [number, ...infer P] ? P : never): {
    readonly recording: RecordingController;
    readonly structures: NvmeStructures;
  } {
    const recording = controller();
    recording.answer = () => ({ data: bytes(4096, ...parts) });
    return { recording, structures: new NvmeStructures(recording) };
  }

  test("keyValueNamespace reads CNS 05h of command set 01h", async () => {
    const { recording, structures } = withPage(
      [0, 8, 1n << 40n],
      [16, 8, 12_345],
      [24, 1, 1],
      [25, 1, 2],
      [26, 1, 1],
      [27, 1, 0xff],
      [28, 1, 0x80 | 25],
      [32, 4, 64],
      [36, 4, 3],
      [43, 1, 1],
      [44, 2, 4],
      [46, 2, 5],
      [48, 1, 0xaa],
      [64, 1, 0xbb],
      [88, 2, 16],
      [91, 1, 7],
      [92, 4, 1 << 20],
      [96, 4, 1000],
    );
    const found = await structures.keyValueNamespace(9);
    expect(recording.last).toMatchObject({
      opcode: IDENTIFY,
      words: { nsid: 9, cdw10: 5, cdw11: 0x0100_0000 },
    });
    expect(found).toMatchObject({
      nsze: 1n << 40n,
      nuse: 12_345n,
      nsfeat: 1,
      nkvf: 2,
      nmic: 1,
      rescap: 0xff,
      fpi: 0x99,
      novg: 64,
      anagrpid: 3,
      nsattr: 1,
      nvmsetid: 4,
      endgid: 5,
    });
    expect([found.nguid[0], found.eui64[0]]).toEqual([0xaa, 0xbb]);
    expect(found.kvf[1]).toEqual({ kml: 16, fopt: 7, vml: 1 << 20, mnk: 1000 });
  });

  test("namespaceOfFormat reads CNS 09h with the format's index in CNSSID", async () => {
    const { recording, structures } = withPage([25, 1, 3], [74, 2, 128], [140, 4, (12 << 16) | 8]);
    const found = await structures.namespaceOfFormat(3);
    expect(recording.last).toMatchObject({ opcode: IDENTIFY, words: { cdw10: 9, cdw11: 3 } });
    expect([found.nlbaf, found.mssrl]).toEqual([3, 128]);
    expect(found.lbaf[3]).toEqual({ metadataBytes: 8, blockSizeBytes: 4096, relativePerformance: 0 });
  });

  test("nvmNamespaceOfFormat reads CNS 0Ah with the format's index in CNSSID", async () => {
    const { recording, structures } = withPage([0, 8, 0xffffn], [8, 1, 7], [16, 4, (1 << 7) | 16]);
    const found = await structures.nvmNamespaceOfFormat(1);
    expect(recording.last).toMatchObject({ opcode: IDENTIFY, words: { cdw10: 0x0a, cdw11: 1 } });
    expect([found.lbstm, found.pic]).toEqual([0xffffn, 7]);
    expect(found.elbaf[1]).toEqual({ storageTagBits: 16, guardBits: 32 });
  });

  test("allocatedIndependentNamespace reads CNS 1Fh", async () => {
    const { recording, structures } = withPage(
      [1, 1, 1],
      [4, 4, 7],
      [8, 1, 1],
      [10, 2, 2],
      [12, 2, 3],
      [14, 1, 1],
    );
    const found = await structures.allocatedIndependentNamespace(6);
    expect(recording.last).toMatchObject({ opcode: IDENTIFY, words: { nsid: 6, cdw10: 0x1f } });
    expect(found).toMatchObject({ nmic: 1, anagrpid: 7, nsattr: 1, nvmsetid: 2, endgid: 3, nstat: 1 });
  });

  test("primaryController reads CNS 14h: queues and interrupts of virtual functions", async () => {
    const { recording, structures } = withPage(
      [0, 2, 1],
      [2, 2, 2],
      [4, 1, 3],
      [32, 4, 40],
      [36, 4, 4],
      [40, 2, 5],
      [42, 2, 6],
      [44, 2, 7],
      [46, 2, 8],
      [64, 4, 50],
      [68, 4, 9],
      [72, 2, 10],
      [74, 2, 11],
      [76, 2, 12],
      [78, 2, 13],
    );
    const found = await structures.primaryController();
    expect(recording.last.words).toEqual({ cdw10: 0x14 });
    expect(found).toEqual({
      cntlid: 1,
      portid: 2,
      crt: 3,
      vqfrt: 40,
      vqrfa: 4,
      vqrfap: 5,
      vqprt: 6,
      vqfrsm: 7,
      vqgran: 8,
      vifrt: 50,
      virfa: 9,
      virfap: 10,
      viprt: 11,
      vifrsm: 12,
      vigran: 13,
    });
  });

  test("namespaceGranularity reads CNS 16h, whose number of descriptors is zero-based", async () => {
    const { recording, structures } = withPage(
      [4, 1, 1],
      [32, 8, 1 << 20],
      [40, 8, 1 << 21],
      [48, 8, 1 << 22],
      [56, 8, 1 << 23],
      [64, 8, 99],
    );
    expect(await structures.namespaceGranularity()).toEqual([
      { nszegran: 1n << 20n, ncapgran: 1n << 21n },
      { nszegran: 1n << 22n, ncapgran: 1n << 23n },
    ]);
    expect(recording.last.words).toEqual({ cdw10: 0x16 });
  });

  test("uuids reads CNS 17h up to the first UUID of zeros", async () => {
    const { recording, structures } = withPage(
      [32, 1, 1],
      [48, 8, 0x7766_5544_3322_1100n],
      [56, 8, 0xffee_ddcc_bbaa_9988n],
      [64, 1, 2],
      [80, 1, 0x12],
      [128, 1, 1],
      [144, 1, 0x34],
    );
    expect(await structures.uuids()).toEqual([
      { uuid: "00112233-4455-6677-8899-aabbccddeeff", association: 1 },
      { uuid: "12000000-0000-0000-0000-000000000000", association: 2 },
    ]);
    expect(recording.last.words).toEqual({ cdw10: 0x17 });
  });
});

describe("Get Log Page", () => {
  function withLog(lid: number, page: Uint8Array): { recording: RecordingController; logs: NvmeLogs } {
    const recording = controller();
    recording.logPages.set(lid, page);
    return { recording, logs: new NvmeLogs(recording) };
  }
  /** CDW10 of a read of the whole page: its number of dwords, zero-based, above the page's identifier. */
  const whole = (lid: number, sizeBytes: number): number => ((sizeBytes / 4 - 1) << 16) | lid;

  test("changedAllocatedNamespaces reads page 1Ch, and says when the page can't hold all", async () => {
    const { recording, logs } = withLog(0x1c, bytes(4096, [0, 4, 3], [4, 4, 8]));
    expect(await logs.changedAllocatedNamespaces()).toEqual([3, 8]);
    expect(recording.last).toMatchObject({
      opcode: GET_LOG_PAGE,
      words: { nsid: ALL, cdw10: whole(0x1c, 4096) },
    });
    recording.logPages.set(0x1c, bytes(4096, [0, 4, ALL]));
    expect(await logs.changedAllocatedNamespaces()).toBe("many");
  });

  test("featureEffects reads page 12h of a command set", async () => {
    const volatileWriteCache = 1 | (1 << 1) | (1 << 20);
    const { recording, logs } = withLog(
      0x12,
      bytes(1024, [6 * 4, 4, volatileWriteCache], [7 * 4, 4, 0x8_0010]),
    );
    const effects = await logs.featureEffects(2);
    expect(recording.last.words).toEqual({ nsid: ALL, cdw10: whole(0x12, 1024), cdw14: 0x0200_0000 });
    // What isn't supported (bit 0) is left out.
    expect([...effects.keys()]).toEqual([6]);
    expect(effects.get(6)).toEqual({
      supported: true,
      contentChange: true,
      namespaceCapabilityChange: false,
      namespaceInventoryChange: false,
      controllerCapabilityChange: false,
      uuidSelection: false,
      scope: 1,
    });
  });

  test("predictableLatency reads page 0Ah of an NVM set, whose identifier is in LSI", async () => {
    const { recording, logs } = withLog(
      0x0a,
      bytes(
        512,
        [0, 1, 1],
        [2, 2, 0x4003],
        [32, 8, 10],
        [40, 8, 11],
        [48, 8, 12],
        [56, 8, 13],
        [64, 8, 14],
        [128, 8, 15],
        [136, 8, 16],
        [144, 8, 17],
      ),
    );
    expect(await logs.predictableLatency(5)).toEqual({
      status: 1,
      eventType: 0x4003,
      windowReadsTypical: 10n,
      windowWritesTypical: 11n,
      windowTimeMaximum: 12n,
      otherTimeMinimumHigh: 13n,
      otherTimeMinimumLow: 14n,
      windowReadsEstimate: 15n,
      windowWritesEstimate: 16n,
      windowTimeEstimate: 17n,
    });
    expect(recording.last.words).toEqual({ nsid: ALL, cdw10: whole(0x0a, 512), cdw11: 5 << 16 });
  });

  test("predictableLatencyEvents reads page 0Bh: the NVM sets with events", async () => {
    const { recording, logs } = withLog(0x0b, bytes(16, [0, 8, 2], [8, 2, 3], [10, 2, 9]));
    expect(await logs.lists.predictableLatencyEvents()).toEqual([3, 9]);
    expect((recording.last.words["cdw10"] ?? 0) & 0xff).toBe(0x0b);
  });

  test("rotationalMedia reads page 16h of an endurance group, whose identifier is in LSI", async () => {
    const { recording, logs } = withLog(
      0x16,
      bytes(512, [0, 2, 7], [2, 2, 2], [4, 2, 7200], [8, 4, 100], [12, 4, 1], [16, 4, 200], [20, 4, 2]),
    );
    expect(await logs.rotationalMedia(7)).toEqual({
      enduranceGroupId: 7,
      actuators: 2,
      nominalSpeed: 7200,
      spinups: 100,
      failedSpinups: 1,
      loads: 200,
      failedLoads: 2,
    });
    expect(recording.last.words).toEqual({ nsid: ALL, cdw10: whole(0x16, 512), cdw11: 7 << 16 });
  });

  test("topology.dispersedNamespace reads page 17h of a namespace to its end, in parts", async () => {
    const names = Array.from({ length: 20 }, (_, i) => `nqn.2026-01.org.iova:${i}`);
    const page = bytes(256 + 256 * names.length, [0, 8, 3], [8, 8, names.length]);
    for (const [i, name] of names.entries()) page.set(Buffer.from(name), 256 + 256 * i);
    const { recording, logs } = withLog(0x17, page);
    expect(await logs.topology.dispersedNamespace(5)).toEqual({ generation: 3n, subsystems: names });
    expect(recording.last.words["nsid"]).toBe(5);
    recording.logPages.set(0x17, bytes(4096, [8, 8, 2n ** 40n]));
    await expect(logs.topology.dispersedNamespace(5)).rejects.toThrow(/log page 17h claims/);
  });

  test("topology.managementAddresses reads page 18h up to the end of the list", async () => {
    const page = bytes(4096, [0, 1, 2], [512, 1, 0], [1024, 1, 1], [1536, 1, 0xff], [2048, 1, 1]);
    page.set(Buffer.from("https://manager.example"), 4);
    page.set(Buffer.from("https://bmc.example/redfish"), 1028);
    const { recording, logs } = withLog(0x18, page);
    expect(await logs.topology.managementAddresses()).toEqual([
      { type: 2, uri: "https://manager.example" },
      { type: 1, uri: "https://bmc.example/redfish" },
    ]);
    expect(recording.last.words).toEqual({ nsid: ALL, cdw10: whole(0x18, 4096) });
  });

  test("topology.reachabilityGroups and reachabilityAssociations read pages 1Ah and 1Bh", async () => {
    const list = bytes(
      16 + 32 + 4 * 1200 + 32 + 4,
      [0, 8, 7],
      [8, 2, 2],
      [16, 4, 1],
      [20, 4, 1200],
      [24, 8, 6],
      [32, 1, 3],
      ...Array.from({ length: 1200 }, (_, i) => [48 + 4 * i, 4, i + 1] as [number, 4, number]),
      [4848, 4, 2],
      [4852, 4, 1],
      [4880, 4, 9],
    );
    const { recording, logs } = withLog(0x1a, list);
    const { changeCount, groups } = await logs.topology.reachabilityGroups();
    expect(changeCount).toBe(7n);
    expect(groups.map(({ groupId, namespaces }) => [groupId, namespaces.length, namespaces.at(-1)])).toEqual([
      [1, 1200, 1200],
      [2, 1, 9],
    ]);
    recording.logPages.set(0x1b, list);
    const { associations } = await logs.topology.reachabilityAssociations();
    expect(associations[0]).toMatchObject({ associationId: 1, changeCount: 6n, characteristics: 3 });
    expect(associations[1]?.groups).toEqual([9]);
    recording.logPages.set(0x1a, bytes(80, [8, 2, 2], [16, 4, 1], [20, 4, 1200], [48, 4, 2]));
    const short = await logs.topology.reachabilityGroups({ groupsOnly: true });
    expect(short.groups.map(({ groupId, namespaces }) => [groupId, namespaces])).toEqual([
      [1, []],
      [2, []],
    ]);
    expect((recording.last.words["cdw10"] ?? 0) & 0xffff).toBe(0x1a | (1 << 8));
    recording.logPages.set(0x1a, bytes(64, [8, 2, 1], [20, 4, 0xffff_ffff]));
    await expect(logs.topology.reachabilityGroups()).rejects.toThrow(/log page 1ah claims/);
  });

  test("powerMeasurement reads page 25h with its histogram, in watts", async () => {
    const scale = 2 << 16;
    const { recording, logs } = withLog(
      0x25,
      bytes(
        96,
        [1, 1, 4],
        [2, 2, 1 | (1 << 2)],
        [4, 4, 80],
        [8, 4, 12],
        [12, 2, 2],
        [24, 2, 16],
        [26, 2, 250],
        [40, 4, 725 | scale],
        [44, 4, 1250 | scale],
        [56, 1, 255],
        [64, 4, 9],
        [68, 4, 700 | scale],
        [80, 4, 3],
      ),
    );
    const { log, ...powers } = await logs.powerMeasurement();
    expect(log).toMatchObject({ generation: 4, enabled: 1, estimated: 1, nonContiguous: 0, count: 12 });
    expect(powers).toEqual({
      averageWatts: 7.25,
      maximumWatts: 12.5,
      histogram: [
        { fromWatts: 7, count: 9 },
        { fromWatts: undefined, count: 3 },
      ],
    });
    recording.logPages.set(0x25, bytes(64, [12, 2, 1], [24, 2, 4]));
    await expect(logs.powerMeasurement()).rejects.toThrow(/bins of 4 bytes/);
  });

  test("changedZones reads page BFh of a namespace, and says when the page can't hold all", async () => {
    const { recording, logs } = withLog(
      0xbf,
      bytes(4096, [0, 2, 2], [8, 8, 0x1000], [16, 8, 1n << 33n], [24, 8, 7]),
    );
    expect(await logs.changedZones(4)).toEqual([0x1000n, 1n << 33n]);
    expect(recording.last.words).toEqual({ nsid: 4, cdw10: whole(0xbf, 4096) });
    recording.logPages.set(0xbf, bytes(4096, [0, 2, 0xffff]));
    expect(await logs.changedZones(4)).toBe("many");
  });

  test("readGrowing reads on until the page's own length is reached, and clears its event once", async () => {
    const page = bytes(3000, [0, 4, 2500], [2496, 4, 0xfeed]);
    const { recording, logs } = withLog(0xc0, page);
    const length = (read: Uint8Array): number =>
      new DataView(read.buffer, read.byteOffset).getUint32(0, true);
    const read = await logs.readGrowing(0xc0, 16, length);
    expect(Buffer.from(read).equals(page.subarray(0, 2500))).toBe(true);
    // RAE, bit 15 of CDW10, retains the event.
    const RAE = 1 << 15;
    expect(recording.commands.map(({ words }) => [words["cdw10"], words["cdw12"]])).toEqual([
      [whole(0xc0, 16) | RAE, undefined],
      [whole(0xc0, 2500 - 16) | RAE, 16],
      [whole(0xc0, 16), undefined],
    ]);
  });
});

describe("features of NVM sets", () => {
  const GET = 0x0a;
  const SET = 0x09;

  test("readRecoveryLevel is feature 12h: the set in CDW11, the level in CDW12", async () => {
    const recording = controller();
    const { structures } = new NvmeFeatures(recording);
    recording.answer = () => ({ dw0: 4 });
    expect(await structures.readRecoveryLevel(3)).toBe(4);
    expect(recording.last).toMatchObject({ opcode: GET, words: { cdw10: 0x12, cdw11: 3 } });
    await structures.setReadRecoveryLevel(3, 15, { save: true });
    expect(recording.last).toMatchObject({ opcode: SET, words: { cdw10: 0x8000_0012, cdw11: 3, cdw12: 15 } });
  });

  test("predictableLatency is feature 13h: enabled in bit 0, and thresholds in a structure", async () => {
    const recording = controller();
    const { structures } = new NvmeFeatures(recording);
    const page = bytes(512, [0, 2, 0x8007], [32, 8, 1000], [40, 8, 2000], [48, 8, 3000]);
    recording.answer = () => ({ dw0: 1, data: page });
    const config = {
      enabledEvents: 0x8007,
      windowReadsThreshold: 1000n,
      windowWritesThreshold: 2000n,
      windowTimeThreshold: 3000n,
    };
    expect(await structures.predictableLatency(6)).toEqual({ enabled: true, config });
    expect(recording.last).toMatchObject({ opcode: GET, words: { cdw10: 0x13, cdw11: 6 } });
    recording.answer = () => ({});
    await structures.setPredictableLatency(6, true, config);
    expect(recording.last).toMatchObject({ opcode: SET, words: { cdw10: 0x13, cdw11: 6, cdw12: 1 } });
    expect(Buffer.from(recording.last.data).equals(page)).toBe(true);
    await structures.setPredictableLatency(6, false, {});
    expect(recording.last.words).toEqual({ cdw10: 0x13, cdw11: 6 });
  });

  test("predictableLatencyWindow is feature 14h: 1 deterministic, 2 non-deterministic", async () => {
    const recording = controller();
    const { structures } = new NvmeFeatures(recording);
    recording.answer = () => ({ dw0: 2 });
    expect(await structures.predictableLatencyWindow(6)).toBe(2);
    expect(recording.last).toMatchObject({ opcode: GET, words: { cdw10: 0x14, cdw11: 6 } });
    await structures.setPredictableLatencyWindow(6, 1);
    expect(recording.last).toMatchObject({ opcode: SET, words: { cdw10: 0x14, cdw11: 6, cdw12: 1 } });
  });
});

describe("Capacity Management", () => {
  test("selectConfiguration and deleteNvmSet are operations 0 and 4, with the identifier in CDW10 bits 31:16", async () => {
    const fixedCapacity = 1 << 11;
    const deleteNvmSet = 1 << 14;
    const recording = controller({ ctratt: fixedCapacity | deleteNvmSet });
    const capacity = new NvmeCapacity(recording);
    await capacity.selectConfiguration(0x1234);
    expect(recording.last).toMatchObject({ opcode: 0x20, words: { cdw10: 0x1234_0000 } });
    await capacity.deleteNvmSet(7);
    expect(recording.last).toMatchObject({ opcode: 0x20, words: { cdw10: 0x0007_0004 } });
  });

  test("an operation that CTRATT lacks is an UnsupportedError, and no command is sent", async () => {
    const recording = controller({ ctratt: 0 });
    const capacity = new NvmeCapacity(recording);
    for (const call of [() => capacity.selectConfiguration(1), () => capacity.deleteNvmSet(1)]) {
      await expect(call()).rejects.toThrow(expect.objectContaining({ code: "ERR_IOVA_UNSUPPORTED" }));
    }
    expect(recording.commands).toEqual([]);
  });
});

describe("Firmware Update Granularity", () => {
  test.each([
    [0, 4096], // Not reported.
    [1, 4096],
    [3, 12_288],
    [0xff, 4], // No restriction.
  ])("FWUG %i means pieces of a multiple of %i bytes", (fwug, granularity) => {
    expect(new NvmeFirmware(controller({ fwug })).granularityBytes).toBe(granularity);
  });
});
