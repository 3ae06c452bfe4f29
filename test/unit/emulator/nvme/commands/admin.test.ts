/** Tests of the admin commands. */
import { describe, expect, test } from "vitest";
import {
  identifyController,
  identifyNamespace,
  identifyNvmNamespace,
} from "../../../../../src/nvme/spec/identify.js";
import {
  commandEffectsLog,
  errorLogEntry,
  firmwareSlotLog,
  smartLog,
} from "../../../../../src/nvme/spec/log-pages.js";
import {
  AdminOpcode,
  FeatureId,
  IdentifyCns,
  IoOpcode,
  LogPageId,
} from "../../../../../src/nvme/spec/opcodes.js";
import { NvmeStatus } from "../../../../../src/nvme/spec/status.js";
import { identifyZonedNamespace } from "../../../../../src/nvme/spec/zoned.js";
import { MEMORY_AT, NvmeTestHost, SUCCESS, startedHost } from "../../../../support/nvme-host.js";

const UNMAPPED = 0x7_0000_0000;
const ALL_COMMAND_SETS = 6 << 4;

function ids(page: Uint8Array): number[] {
  const words = new Uint32Array(page.buffer, page.byteOffset, 1024);
  return [...words.subarray(0, words.indexOf(0))];
}

describe("Identify", () => {
  test("describes the controller", () => {
    using started = startedHost({ serial: "S1", maxTransferBytes: 1 << 17, capacityBytes: 32 << 20 });
    const { status, page } = started.host.identify(IdentifyCns.controller);
    expect(status).toBe(SUCCESS);
    expect(identifyController.decode(page)).toMatchObject({
      sn: "S1",
      mdts: 5,
      ver: 0x0002_0000,
      sqes: 0x66,
      cqes: 0x44,
      nn: 128,
      oacs: 0b111_0101_1111,
      tnvmcap: 32n << 20n,
      unvmcap: 16n << 20n,
      cntrltype: 1,
    });
  });

  test("describes active and inactive namespaces, and refuses invalid ids", () => {
    using started = startedHost({
      blockSizeBytes: 4096,
      metadataBytes: 8,
      protection: 1,
      extendedMetadata: true,
    });
    const { host } = started;
    const { page } = host.identify(IdentifyCns.namespace, 1);
    const decoded = identifyNamespace.decode(page);
    expect(decoded).toMatchObject({ nsze: 4096n, ncap: 4096n, flbas: 5 | 16, dps: 1, nlbaf: 10 });
    expect(decoded.lbaf[5]).toMatchObject({ blockSizeBytes: 4096, metadataBytes: 8 });
    expect(host.identify(IdentifyCns.namespace, 2)).toMatchObject({
      status: SUCCESS,
      page: new Uint8Array(4096),
    });
    for (const nsid of [0, 129]) {
      expect(host.identify(IdentifyCns.namespace, nsid).status).toBe(NvmeStatus.invalidNamespace);
    }
    const common = identifyNamespace.decode(host.identify(IdentifyCns.namespace, 0xffff_ffff).page);
    expect(common).toMatchObject({ nsze: 0n, nlbaf: 10 });
    const extended = identifyNvmNamespace.decode(host.identify(IdentifyCns.namespaceForCommandSet, 1).page);
    expect(extended.elbaf.slice(7, 11).map(({ guardBits }) => guardBits)).toEqual([16, 64, 64, 64]);
  });

  test("lists namespaces and controllers", () => {
    using started = startedHost({ namespaces: 3 });
    const { host } = started;
    expect(ids(host.identify(IdentifyCns.activeNamespaces).page)).toEqual([1, 2, 3]);
    expect(ids(host.identify(IdentifyCns.activeNamespaces, 2).page)).toEqual([3]);
    expect(ids(host.identify(IdentifyCns.allocatedNamespaces).page)).toEqual([1, 2, 3]);
    expect(ids(host.identify(IdentifyCns.activeNamespacesForCommandSet, 0, 0).page)).toEqual([1, 2, 3]);
    expect(ids(host.identify(IdentifyCns.activeNamespacesForCommandSet, 0, 2).page)).toEqual([]);
    expect(host.identify(IdentifyCns.activeNamespacesForCommandSet, 0, 1).status).toBe(
      NvmeStatus.invalidField,
    );
    for (const nsid of [0xffff_fffe, 0xffff_ffff]) {
      expect(host.identify(IdentifyCns.activeNamespaces, nsid).status).toBe(NvmeStatus.invalidNamespace);
    }
    expect([...host.identify(IdentifyCns.controllers).page.subarray(0, 4)]).toEqual([1, 0, 1, 0]);
    expect([...host.identify(IdentifyCns.controllers | (2 << 16)).page.subarray(0, 4)]).toEqual([0, 0, 0, 0]);
    expect([...host.identify(IdentifyCns.controllersOfNamespace, 2).page.subarray(0, 4)]).toEqual([
      1, 0, 1, 0,
    ]);
    expect(host.identify(IdentifyCns.commandSets | (0xffff << 16)).page[0]).toBe(0b101);
    expect(host.identify(IdentifyCns.namespaceIndependent, 1).page[14]).toBe(1);
    expect(host.identify(0x55).status).toBe(NvmeStatus.invalidField);
  });

  test("has identification descriptors, with the command set", () => {
    using started = startedHost({ zoned: true }, ALL_COMMAND_SETS);
    const { host } = started;
    const { page } = host.identify(IdentifyCns.namespaceDescriptors, 1);
    expect([page[0], page[1]]).toEqual([1, 8]);
    expect([...page.subarray(12, 17)]).toEqual([4, 1, 0, 0, 2]);
    expect(page[17]).toBe(0);
    expect(host.identify(IdentifyCns.namespaceDescriptors, 2).status).toBe(NvmeStatus.invalidNamespace);
    const zoned = identifyZonedNamespace.decode(host.identify(IdentifyCns.namespaceForCommandSet, 1, 2).page);
    expect(zoned).toMatchObject({ mar: 31, mor: 15 });
    expect(zoned.lbafe[0]).toEqual({ zoneSizeBlocks: 32768n, extensionBytes: 0 });
    expect(host.identify(IdentifyCns.controllerForCommandSet, 0, 2).status).toBe(SUCCESS);
  });

  test("writes its page where PRPs say, across a page, and nowhere else", () => {
    using host = new NvmeTestHost();
    host.enable();
    const at = host.alloc(8192);
    const command = { opcode: AdminOpcode.identify, cdw10: IdentifyCns.controller };
    const { status } = host.admin.run({ ...command, prp1: host.iova(at + 2048), prp2: host.iova(at + 4096) });
    expect(status).toBe(SUCCESS);
    expect(identifyController.decode(host.bytes(at + 2048, 4096)).mn).toBe("iova emulated NVMe controller");
    expect(host.admin.run({ ...command, prp1: UNMAPPED }).status).toBe(NvmeStatus.dataTransferError);
    expect(host.admin.run({ ...command, prp1: MEMORY_AT, flags: 1 << 14 }).status).toBe(
      NvmeStatus.invalidField,
    );
    expect(host.admin.run({ opcode: 0xc0 }).status).toBe(NvmeStatus.invalidOpcode);
  });
});

describe("queues", () => {
  const CREATE_SQ = AdminOpcode.createIoSubmissionQueue;
  const CREATE_CQ = AdminOpcode.createIoCompletionQueue;
  const size = (id: number, entries: number): number => (((entries - 1) << 16) | id) >>> 0;

  test.each([
    ["CQ 0", CREATE_CQ, { cdw10: size(0, 16), cdw11: 1 }, NvmeStatus.invalidQueueIdentifier],
    [
      "CQ beyond the number of queues",
      CREATE_CQ,
      { cdw10: size(65, 16), cdw11: 1 },
      NvmeStatus.invalidQueueIdentifier,
    ],
    ["CQ that exists", CREATE_CQ, { cdw10: size(1, 16), cdw11: 1 }, NvmeStatus.invalidQueueIdentifier],
    ["CQ of one entry", CREATE_CQ, { cdw10: size(2, 1), cdw11: 1 }, NvmeStatus.invalidQueueSize],
    ["CQ longer than MQES", CREATE_CQ, { cdw10: size(2, 4097), cdw11: 1 }, NvmeStatus.invalidQueueSize],
    ["CQ in pieces", CREATE_CQ, { cdw10: size(2, 16), cdw11: 0 }, NvmeStatus.invalidField],
    [
      "CQ of no vector",
      CREATE_CQ,
      { cdw10: size(2, 16), cdw11: (65 << 16) | 3 },
      NvmeStatus.invalidInterruptVector,
    ],
    [
      "CQ off its page",
      CREATE_CQ,
      { cdw10: size(2, 16), cdw11: 1, prp1: MEMORY_AT + 64 },
      NvmeStatus.prpOffsetInvalid,
    ],
    ["CQ outside", CREATE_CQ, { cdw10: size(2, 16), cdw11: 1, prp1: UNMAPPED }, NvmeStatus.dataTransferError],
    ["SQ 0", CREATE_SQ, { cdw10: size(0, 16), cdw11: 0x1_0001 }, NvmeStatus.invalidQueueIdentifier],
    ["SQ that exists", CREATE_SQ, { cdw10: size(1, 16), cdw11: 0x1_0001 }, NvmeStatus.invalidQueueIdentifier],
    [
      "SQ without a CQ",
      CREATE_SQ,
      { cdw10: size(2, 16), cdw11: 0x2_0001 },
      NvmeStatus.completionQueueInvalid,
    ],
    ["SQ on the admin CQ", CREATE_SQ, { cdw10: size(2, 16), cdw11: 1 }, NvmeStatus.invalidQueueIdentifier],
    ["SQ of one entry", CREATE_SQ, { cdw10: size(2, 1), cdw11: 0x1_0001 }, NvmeStatus.invalidQueueSize],
    ["SQ in pieces", CREATE_SQ, { cdw10: size(2, 16), cdw11: 0x1_0000 }, NvmeStatus.invalidField],
    [
      "SQ off its page",
      CREATE_SQ,
      { cdw10: size(2, 16), cdw11: 0x1_0001, prp1: MEMORY_AT + 4 },
      NvmeStatus.prpOffsetInvalid,
    ],
    [
      "SQ outside",
      CREATE_SQ,
      { cdw10: size(2, 16), cdw11: 0x1_0001, prp1: UNMAPPED },
      NvmeStatus.dataTransferError,
    ],
    ["deletion of SQ 0", AdminOpcode.deleteIoSubmissionQueue, {}, NvmeStatus.invalidQueueIdentifier],
    [
      "deletion of SQ 9",
      AdminOpcode.deleteIoSubmissionQueue,
      { cdw10: 9 },
      NvmeStatus.invalidQueueIdentifier,
    ],
    ["deletion of CQ 0", AdminOpcode.deleteIoCompletionQueue, {}, NvmeStatus.invalidQueueIdentifier],
    [
      "deletion of a CQ in use",
      AdminOpcode.deleteIoCompletionQueue,
      { cdw10: 1 },
      NvmeStatus.invalidQueueDeletion,
    ],
  ])("are refused: %s", (_, opcode, command, status) => {
    using started = startedHost();
    const { host, io } = started;
    const at = host.alloc(4096);
    expect(host.admin.run({ opcode, prp1: host.iova(at), ...command }).status).toBe(status);
    // What is there goes on working.
    expect(io.run({ opcode: IoOpcode.flush, nsid: 1 }).status).toBe(SUCCESS);
  });

  test("begin at their first entry when they are deleted and created again", () => {
    using started = startedHost();
    const { host, io } = started;
    for (let i = 0; i < 5; i++) io.run({ opcode: IoOpcode.flush, nsid: 1 });
    expect(host.admin.run({ opcode: AdminOpcode.deleteIoSubmissionQueue, cdw10: 1 }).status).toBe(SUCCESS);
    io.post({ opcode: IoOpcode.flush, nsid: 1 });
    expect(host.device.pump()).toBe(0);
    expect(host.admin.run({ opcode: AdminOpcode.deleteIoCompletionQueue, cdw10: 1 }).status).toBe(SUCCESS);
    const again = host.createIo(1, 8);
    for (let i = 0; i < 20; i++) expect(again.run({ opcode: IoOpcode.flush, nsid: 1 }).status).toBe(SUCCESS);
  });

  test("are refused with entry sizes other than the specification's", () => {
    using host = new NvmeTestHost();
    host.enable();
    host.write32(0x14, 1);
    const at = host.alloc(4096);
    const command = { opcode: CREATE_CQ, prp1: host.iova(at), cdw10: size(1, 16), cdw11: 1 };
    expect(host.admin.run(command).status).toBe(NvmeStatus.invalidQueueSize);
  });
});

describe("features", () => {
  function get(host: NvmeTestHost, id: number, select = 0, cdw11 = 0, nsid = 0) {
    return host.admin.run({ opcode: AdminOpcode.getFeatures, nsid, cdw10: id | (select << 8), cdw11 });
  }
  function set(host: NvmeTestHost, id: number, cdw11: number, nsid = 0) {
    return host.admin.run({ opcode: AdminOpcode.setFeatures, nsid, cdw10: id, cdw11 });
  }

  test("number of queues grants all queues, and is refused after the first queue", () => {
    using host = new NvmeTestHost({ queuePairs: 8 });
    host.enable();
    expect(set(host, FeatureId.numberOfQueues, (3 << 16) | 3)).toMatchObject({
      status: SUCCESS,
      dw0: 0x7_0007,
    });
    expect(set(host, FeatureId.numberOfQueues, 0xffff_ffff).status).toBe(NvmeStatus.invalidField);
    host.createIo();
    expect(set(host, FeatureId.numberOfQueues, 0).status).toBe(NvmeStatus.commandSequenceError);
    expect(get(host, FeatureId.numberOfQueues).dw0).toBe(0x7_0007);
  });

  test.each([
    [FeatureId.arbitration, 0x0102_0303],
    [FeatureId.volatileWriteCache, 0],
    [FeatureId.interruptCoalescing, 0x1020],
    [FeatureId.writeAtomicityNormal, 1],
    [FeatureId.asyncEventConfiguration, 0x102],
  ])("0x%s holds what is set until a reset, and tells its default", (id, value) => {
    using host = new NvmeTestHost();
    host.enable();
    const initial = get(host, id).dw0;
    expect(set(host, id, value).status).toBe(SUCCESS);
    expect(get(host, id)).toMatchObject({ status: SUCCESS, dw0: value });
    expect(get(host, id, 1).dw0).toBe(initial);
    expect(get(host, id, 3).dw0 & 4).toBe(4);
    host.write32(0x14, 0);
    host.enable();
    expect(get(host, id).dw0).toBe(initial);
  });

  test("unknown and read-only features are refused", () => {
    using host = new NvmeTestHost();
    host.enable();
    expect(get(host, 0x03).status).toBe(NvmeStatus.invalidField);
    expect(set(host, 0xee, 0).status).toBe(NvmeStatus.invalidField);
    expect(get(host, 0x01, 4).status).toBe(NvmeStatus.invalidField);
    expect(set(host, (1 << 31) | 0x0f, 0).status).toBe(NvmeStatus.featureIdentifierNotSaveable);
    expect(set(host, FeatureId.powerManagement, 1).status).toBe(NvmeStatus.invalidField);
    expect(set(host, FeatureId.interruptVectorConfiguration, 65).status).toBe(NvmeStatus.invalidField);
    expect(set(host, FeatureId.commandSetProfile, 1).status).toBe(NvmeStatus.ioCommandSetCombinationRejected);
    expect(set(host, FeatureId.errorRecovery, 1, 9).status).toBe(NvmeStatus.invalidNamespace);
    expect(set(host, FeatureId.errorRecovery, 1, 1).status).toBe(SUCCESS);
    expect(get(host, FeatureId.errorRecovery, 0, 0, 1).dw0).toBe(1);
  });

  test("timestamp and host behavior travel as data", () => {
    using host = new NvmeTestHost();
    host.enable();
    const at = host.alloc(4096);
    const command = { opcode: AdminOpcode.setFeatures, prp1: host.iova(at), cdw10: FeatureId.timestamp };
    host.ram.words.set([0x1234_5678, 0x0009], at / 4);
    expect(host.admin.run(command).status).toBe(SUCCESS);
    host.ram.words.set([0, 0], at / 4);
    expect(host.admin.run({ ...command, opcode: AdminOpcode.getFeatures }).status).toBe(SUCCESS);
    const [low = 0, high = 0] = host.ram.words.subarray(at / 4, at / 4 + 2);
    expect(low).toBeGreaterThanOrEqual(0x1234_5678);
    expect(high & 0xffff).toBe(9);
    expect((high >>> 17) & 7).toBe(1);
    host.bytes(at, 512).fill(0)[2] = 1;
    const behavior = { ...command, cdw10: FeatureId.hostBehaviorSupport };
    expect(host.admin.run(behavior).status).toBe(SUCCESS);
    host.bytes(at, 512).fill(0);
    expect(host.admin.run({ ...behavior, opcode: AdminOpcode.getFeatures }).status).toBe(SUCCESS);
    expect(host.bytes(at, 4)).toEqual(Uint8Array.of(0, 0, 1, 0));
    host.bytes(at, 512)[1] = 7;
    expect(host.admin.run(behavior).status).toBe(NvmeStatus.invalidField);
    expect(host.admin.run({ ...behavior, prp1: UNMAPPED }).status).toBe(NvmeStatus.dataTransferError);
  });

  test("a missing keep alive stops the controller", async () => {
    using host = new NvmeTestHost();
    host.enable();
    expect(set(host, FeatureId.keepAliveTimer, 30).status).toBe(SUCCESS);
    expect(host.admin.run({ opcode: AdminOpcode.keepAlive }).status).toBe(SUCCESS);
    await expect.poll(() => host.status & 2).toBe(2);
  });
});

describe("log pages", () => {
  test("list errors, newest first, with their commands", () => {
    using started = startedHost();
    const { host, io } = started;
    io.run({ opcode: IoOpcode.read, cid: 0x77, nsid: 1, cdw10: 0xffff_0000, prp1: MEMORY_AT });
    io.run({ opcode: 0x55, cid: 0x78, nsid: 1 });
    const { page } = host.log(LogPageId.errorInformation, 192);
    const entries = [0, 64, 128].map((at) => errorLogEntry.decode(page.subarray(at, at + 64)));
    expect(entries[0]).toMatchObject({ errorCount: 2n, sqid: 1, cid: 0x78, opcode: 0x55, status: 1 << 1 });
    expect(entries[1]).toMatchObject({
      errorCount: 1n,
      cid: 0x77,
      lba: 0xffff_0000n,
      nsid: 1,
      status: NvmeStatus.lbaOutOfRange << 1,
    });
    expect(entries[2]?.errorCount).toBe(0n);
  });

  test("count commands and data (SMART)", () => {
    using started = startedHost();
    const { host, io } = started;
    for (let i = 0; i < 3; i++) io.run({ opcode: IoOpcode.read, nsid: 1, prp1: MEMORY_AT, cdw12: 0 });
    const at = host.alloc(4096);
    io.run({ opcode: IoOpcode.write, nsid: 1, prp1: host.iova(at) });
    const smart = smartLog.decode(host.log(LogPageId.smart, 512).page);
    expect(smart).toMatchObject({
      criticalWarning: 0,
      compositeTemperature: 308,
      hostReadCommands: 3n,
      hostWriteCommands: 1n,
      dataUnitsRead: 1n,
    });
    expect(host.log(LogPageId.smart, 512, { nsid: 1 }).status).toBe(NvmeStatus.invalidField);
    expect(host.log(LogPageId.smart, 512, { nsid: 2 }).status).toBe(NvmeStatus.invalidNamespace);
  });

  test("describe firmware, effects and supported pages, from any offset", () => {
    using started = startedHost();
    const { host } = started;
    expect(firmwareSlotLog.decode(host.log(LogPageId.firmwareSlot, 512).page)).toMatchObject({
      afi: 1,
      frs: ["1.0", "", "", "", "", "", ""],
    });
    const nvm = commandEffectsLog.decode(host.log(LogPageId.commandsSupported, 4096).page);
    expect(nvm.iocs[IoOpcode.write]).toBe(3);
    expect(nvm.iocs[IoOpcode.zoneAppend]).toBe(0);
    expect(nvm.acs[AdminOpcode.formatNvm]).toBe(7);
    const zoned = commandEffectsLog.decode(host.log(LogPageId.commandsSupported, 4096, { csi: 2 }).page);
    expect(zoned.iocs[IoOpcode.zoneAppend]).toBe(3);
    const supported = new Uint32Array(host.log(0, 1024).page.buffer);
    expect([...supported.keys()].filter((id) => supported[id] === 1)).toEqual([
      0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0x0e, 0x11, 0x14, 0x1a, 0x1b, 0x80, 0x81,
    ]);
    const tail = host.log(LogPageId.firmwareSlot, 8, { offset: 8 });
    expect(Buffer.from(tail.page).toString("latin1")).toBe("1.0     ");
    expect(host.log(LogPageId.firmwareSlot, 8, { offset: 516 }).status).toBe(NvmeStatus.invalidField);
    // It has index offsets of no page, and says so.
    expect([...supported].some((word) => (word & 2) !== 0)).toBe(false);
    for (const id of [LogPageId.errorInformation, LogPageId.firmwareSlot]) {
      expect(host.log(id, 64, { index: 0 }).status).toBe(NvmeStatus.invalidField);
    }
    expect(host.log(0x77, 64, { index: 0 }).status).toBe(NvmeStatus.invalidLogPage);
    expect(host.log(LogPageId.firmwareSlot, 8, { offset: 2 }).status).toBe(NvmeStatus.invalidField);
    expect(host.log(0x99, 512).status).toBe(NvmeStatus.invalidLogPage);
  });
});

describe("asynchronous events and abort", () => {
  const AER = AdminOpcode.asyncEventRequest;

  test("the temperature event comes once, and again after its log was read", () => {
    using host = new NvmeTestHost();
    host.enable();
    for (const cid of [100, 101]) host.admin.post({ opcode: AER, cid });
    host.device.pump();
    expect(host.admin.take()).toBeUndefined();
    const setFeature = (id: number, cdw11: number): void => {
      host.admin.post({ opcode: AdminOpcode.setFeatures, cid: 1, cdw10: id, cdw11 });
      host.device.pump();
    };
    setFeature(FeatureId.asyncEventConfiguration, 2);
    expect(host.admin.take()).toMatchObject({ cid: 1 });
    setFeature(FeatureId.temperatureThreshold, 200);
    const both = [host.admin.take(), host.admin.take()].sort((a, b) => (a?.cid ?? 0) - (b?.cid ?? 0));
    expect(both).toMatchObject([
      { cid: 1, status: SUCCESS },
      { cid: 100, dw0: (2 << 16) | (1 << 8) | 1 },
    ]);
    setFeature(FeatureId.temperatureThreshold, 201);
    expect(host.admin.take()?.cid).toBe(1);
    expect(host.admin.take()).toBeUndefined();
    const smart = host.log(LogPageId.smart, 512);
    expect(smartLog.decode(smart.page).criticalWarning).toBe(2);
    host.device.pump();
    expect(host.admin.take()).toMatchObject({ cid: 101, dw0: (2 << 16) | (1 << 8) | 1 });
  });

  test("requests beyond the limit are refused; one outstanding can be aborted", () => {
    using host = new NvmeTestHost();
    host.enable();
    for (let cid = 0; cid < 8; cid++) host.admin.post({ opcode: AER, cid });
    host.device.pump();
    expect(host.admin.run({ opcode: AER, cid: 8 }).status).toBe(
      NvmeStatus.asynchronousEventRequestLimitExceeded,
    );
    host.admin.post({ opcode: AdminOpcode.abort, cid: 20, cdw10: 5 << 16 });
    host.device.pump();
    const done = [host.admin.take(), host.admin.take()].sort((a, b) => (a?.cid ?? 0) - (b?.cid ?? 0));
    expect(done).toMatchObject([
      { cid: 5, status: NvmeStatus.commandAbortRequested, dnr: false },
      { cid: 20, status: SUCCESS, dw0: 0 },
    ]);
    expect(host.admin.run({ opcode: AdminOpcode.abort, cdw10: 5 << 16 })).toMatchObject({ dw0: 1 });
  });
});

describe("formatting and namespace management", () => {
  test("format changes block size and metadata, and erases", () => {
    using started = startedHost();
    const { host, io } = started;
    const at = host.alloc(4096);
    host.bytes(at, 4096).fill(7);
    io.run({ opcode: IoOpcode.write, nsid: 1, prp1: host.iova(at), cdw12: 7 });
    host.admin.post({ opcode: AdminOpcode.asyncEventRequest, cid: 90 });
    host.device.pump();
    host.admin.run({ opcode: AdminOpcode.setFeatures, cdw10: 0x0b, cdw11: 1 << 8 });
    host.admin.post({ opcode: AdminOpcode.formatNvm, cid: 1, nsid: 1, cdw10: 4 });
    host.device.pump();
    const done = [host.admin.take(), host.admin.take()].sort((a, b) => (a?.cid ?? 0) - (b?.cid ?? 0));
    expect(done).toMatchObject([
      { cid: 1, status: SUCCESS },
      { cid: 90, dw0: (4 << 16) | 2 },
    ]);
    expect([...host.log(LogPageId.changedNamespaces, 4096).page.subarray(0, 5)]).toEqual([1, 0, 0, 0, 0]);
    expect(host.log(LogPageId.changedNamespaces, 4096).page[0]).toBe(0);
    expect(identifyNamespace.decode(host.identify(IdentifyCns.namespace, 1).page)).toMatchObject({
      nsze: 4096n,
      flbas: 4,
    });
    expect(io.run({ opcode: IoOpcode.read, nsid: 1, prp1: host.iova(at) }).status).toBe(SUCCESS);
    expect(host.bytes(at, 4096).every((byte) => byte === 0)).toBe(true);
  });

  test.each([
    ["no such format", 11, NvmeStatus.invalidFormat],
    ["protection without metadata", 0 | (1 << 5), NvmeStatus.invalidFormat],
    ["protection type 4", 1 | (4 << 5), NvmeStatus.invalidFormat],
    ["metadata behind data that has none", 1 << 4, NvmeStatus.invalidFormat],
    ["a 64-bit guard the host doesn't know", 8, NvmeStatus.invalidFormat],
    ["cryptographic erase", 2 << 9, NvmeStatus.invalidField],
  ])("format refuses %s", (_, cdw10, status) => {
    using started = startedHost();
    expect(started.host.admin.run({ opcode: AdminOpcode.formatNvm, nsid: 1, cdw10 }).status).toBe(status);
    expect(started.host.admin.run({ opcode: AdminOpcode.formatNvm, nsid: 2, cdw10: 0 }).status).toBe(
      NvmeStatus.invalidNamespace,
    );
  });

  test("a namespace is created, attached, used, detached and deleted", () => {
    using started = startedHost({ capacityBytes: 64 << 20 });
    const { host, io } = started;
    const at = host.alloc(4096);
    const create = (fields: Parameters<typeof identifyNamespace.encode>[0], csi = 0) => {
      host.bytes(at, 4096).set(identifyNamespace.encode(fields));
      return host.admin.run({
        opcode: AdminOpcode.namespaceManagement,
        prp1: host.iova(at),
        cdw11: (csi << 24) >>> 0,
      });
    };
    const blocks = BigInt((8 << 20) / 4096);
    expect(create({ nsze: blocks, ncap: blocks, flbas: 4 })).toMatchObject({ status: SUCCESS, dw0: 2 });
    expect(create({ nsze: blocks, ncap: blocks - 1n, flbas: 4 }).status).toBe(
      NvmeStatus.thinProvisioningNotSupported,
    );
    expect(create({ nsze: 2n ** 60n, ncap: 2n ** 60n }).status).toBe(
      NvmeStatus.namespaceInsufficientCapacity,
    );
    expect(create({ nsze: 0n, ncap: 0n }).status).toBe(NvmeStatus.invalidField);
    expect(create({ nsze: 8n, ncap: 8n, flbas: 15 }).status).toBe(NvmeStatus.invalidFormat);
    expect(create({ nsze: blocks, ncap: blocks, flbas: 4 }, 2).status).toBe(NvmeStatus.invalidField);
    expect(create({ nsze: 16384n, ncap: 16384n, flbas: 4 }, 2)).toMatchObject({
      status: NvmeStatus.namespaceInsufficientCapacity,
    });
    expect(create({ nsze: 4096n, ncap: 4096n, flbas: 4 }, 2)).toMatchObject({ status: SUCCESS, dw0: 3 });
    expect(ids(host.identify(IdentifyCns.activeNamespaces).page)).toEqual([1]);
    expect(ids(host.identify(IdentifyCns.allocatedNamespaces).page)).toEqual([1, 2, 3]);
    expect(identifyNamespace.decode(host.identify(IdentifyCns.allocatedNamespace, 2).page).nsze).toBe(blocks);

    const attach = (nsid: number, select: number, controllers = [1, 1]) => {
      host.bytes(at, 4096).fill(0);
      new Uint16Array(host.ram.buffer, host.ram.bytes.byteOffset + at, 2).set(controllers);
      return host.admin.run({
        opcode: AdminOpcode.namespaceAttachment,
        nsid,
        prp1: host.iova(at),
        cdw10: select,
      }).status;
    };
    const read = { opcode: IoOpcode.read, nsid: 2, prp1: host.iova(at) };
    expect(io.run(read).status).toBe(NvmeStatus.invalidNamespace);
    expect(attach(2, 0, [1, 7])).toBe(NvmeStatus.controllerListInvalid);
    expect(attach(2, 5)).toBe(NvmeStatus.invalidField);
    expect(attach(9, 0)).toBe(NvmeStatus.invalidNamespace);
    expect(attach(2, 0)).toBe(SUCCESS);
    expect(attach(2, 0)).toBe(NvmeStatus.namespaceAlreadyAttached);
    expect(io.run(read).status).toBe(SUCCESS);
    expect(attach(2, 1)).toBe(SUCCESS);
    expect(attach(2, 1)).toBe(NvmeStatus.namespaceNotAttached);
    expect(io.run(read).status).toBe(NvmeStatus.invalidNamespace);
    const remove = (nsid: number) =>
      host.admin.run({ opcode: AdminOpcode.namespaceManagement, nsid, cdw10: 1 }).status;
    expect(remove(2)).toBe(SUCCESS);
    expect(remove(2)).toBe(NvmeStatus.invalidNamespace);
    expect(ids(host.identify(IdentifyCns.allocatedNamespaces).page)).toEqual([1, 3]);
    expect(remove(0xffff_ffff)).toBe(SUCCESS);
    expect(ids(host.identify(IdentifyCns.allocatedNamespaces).page)).toEqual([]);
    expect(host.admin.run({ opcode: AdminOpcode.namespaceManagement, cdw10: 2 }).status).toBe(
      NvmeStatus.invalidField,
    );
  });
});
