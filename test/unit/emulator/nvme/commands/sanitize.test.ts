/** Tests of Sanitize. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import type { NvmeEmulatorOptions } from "../../../../../src/emulator/nvme/options.js";
import { identifyController } from "../../../../../src/nvme/spec/identify.js";
import { SanitizeStatus, sanitizeLog, selfTestLog } from "../../../../../src/nvme/spec/log-pages.js";
import { AdminOpcode, FeatureId, IoOpcode, LogPageId } from "../../../../../src/nvme/spec/opcodes.js";
import { NvmeStatus } from "../../../../../src/nvme/spec/status.js";
import { eventually } from "../../../../support/eventually.js";
import { NvmeTestHost, SUCCESS, startedHost, type TestQueue } from "../../../../support/nvme-host.js";

const LONG = 3_600_000;
const [BLOCK_ERASE, OVERWRITE, CRYPTO_ERASE] = [2, 3, 4];
const [AUSE, OIPBP, NDAS, EMVS] = [1 << 3, 1 << 8, 1 << 9, 1 << 10];
const passes = (count: number): number => (count & 0xf) << 4;

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

function file(): string {
  const folder = mkdtempSync(join(tmpdir(), "iova-sanitize-"));
  folders.push(folder);
  return join(folder, "disk");
}

function begin(host: NvmeTestHost, cdw10: number, cdw11 = 0): number {
  return host.admin.run({ opcode: AdminOpcode.sanitize, cdw10, cdw11 }).status;
}

function log(host: NvmeTestHost): ReturnType<typeof sanitizeLog.decode> {
  const at = host.alloc(512);
  const { status } = host.admin.run({
    opcode: AdminOpcode.getLogPage,
    nsid: 0xffff_ffff,
    prp1: host.iova(at),
    cdw10: (127 << 16) | LogPageId.sanitizeStatus,
  });
  expect(status).toBe(SUCCESS);
  return sanitizeLog.decode(host.bytes(at, 512));
}

/** The log, as soon as nothing runs. */
function ended(host: NvmeTestHost): Promise<ReturnType<typeof log>> {
  const first = log(host);
  if (first.status !== SanitizeStatus.inProgress) return Promise.resolve(first);
  const at = host.alloc(512);
  return eventually(() => {
    host.admin.run({
      opcode: AdminOpcode.getLogPage,
      nsid: 0xffff_ffff,
      prp1: host.iova(at),
      cdw10: (127 << 16) | (1 << 15) | LogPageId.sanitizeStatus,
    });
    const found = sanitizeLog.decode(host.bytes(at, 512));
    return found.status === SanitizeStatus.inProgress ? undefined : found;
  });
}

function write(host: NvmeTestHost, io: TestQueue, lba: number, nsid = 1): void {
  const data = host.alloc(4096);
  host.bytes(data, 4096).fill(0xa5);
  expect(io.run({ opcode: IoOpcode.write, nsid, prp1: host.iova(data), cdw10: lba, cdw12: 0 }).status).toBe(
    SUCCESS,
  );
}

/** The first bytes of a block. */
function read(host: NvmeTestHost, io: TestQueue, lba: number, nsid = 1): Buffer {
  const data = host.alloc(4096);
  const { status } = io.run({ opcode: IoOpcode.read, nsid, prp1: host.iova(data), cdw10: lba, cdw12: 0 });
  expect(status).toBe(SUCCESS);
  return Buffer.from(host.bytes(data, 512));
}

describe("sanitizing", () => {
  test.each([
    ["block erase", BLOCK_ERASE, 0],
    ["cryptographic erase", CRYPTO_ERASE, 0],
    ["overwrite", OVERWRITE | passes(2), 2],
  ])(
    "%s: everything is gone, also what no namespace has any more, and an event tells",
    async (_, cdw10, done) => {
      const options = { sanitizeMs: 0, namespaces: 2, sizeBytes: 4 << 20 };
      using started = startedHost(options);
      const { host, io } = started;
      for (const [lba, nsid] of [
        [0, 1],
        [4095, 1],
        [7, 2],
      ] as const) {
        write(host, io, lba, nsid);
      }
      expect(io.run({ opcode: IoOpcode.writeUncorrectable, nsid: 1, cdw10: 9 }).status).toBe(SUCCESS);
      host.admin.run({ opcode: AdminOpcode.namespaceManagement, nsid: 2, cdw10: 1 });
      expect(log(host)).toMatchObject({
        status: SanitizeStatus.never,
        progress: 0xffff,
        globalDataErased: 0,
      });
      host.admin.post({ opcode: AdminOpcode.asyncEventRequest });
      expect(begin(host, cdw10, 0x12345678)).toBe(SUCCESS);
      const event = await eventually(() => {
        host.device.pump();
        return host.admin.take();
      });
      expect(event.dw0).toBe((LogPageId.sanitizeStatus << 16) | (1 << 8) | 6);
      expect(log(host)).toMatchObject({
        status: SanitizeStatus.completed,
        progress: 0xffff,
        overwritePasses: done,
        globalDataErased: 1,
        cdw10,
      });
      for (const lba of [0, 9, 4095]) expect(read(host, io, lba)).toEqual(Buffer.alloc(512));
      expect(log(host).globalDataErased).toBe(1);
      write(host, io, 5);
      expect(log(host).globalDataErased).toBe(0);
      // A namespace in the place of the one that was deleted.
      const page = host.alloc(4096);
      new DataView(host.ram.buffer, host.ram.bytes.byteOffset + page).setBigUint64(0, 4096n, true);
      new DataView(host.ram.buffer, host.ram.bytes.byteOffset + page).setBigUint64(8, 4096n, true);
      host.admin.run({ opcode: AdminOpcode.namespaceManagement, prp1: host.iova(page) });
      new Uint16Array(host.ram.buffer, host.ram.bytes.byteOffset + page, 2).set([1, 1]);
      host.admin.run({ opcode: AdminOpcode.namespaceAttachment, nsid: 2, prp1: host.iova(page) });
      expect(read(host, io, 7, 2)).toEqual(Buffer.alloc(512));
    },
  );

  test("leaves the pattern of the last pass, or noise, without deallocation", async () => {
    using started = startedHost({ sanitizeMs: 0, sizeBytes: 1 << 20 });
    const { host, io } = started;
    write(host, io, 3);
    begin(host, OVERWRITE | passes(2) | OIPBP | NDAS, 0x1234_5678);
    expect(await ended(host)).toMatchObject({ status: SanitizeStatus.completed, overwritePasses: 2 });
    const inverted = Buffer.alloc(512);
    for (let at = 0; at < 512; at += 4) inverted.writeUInt32LE(~0x1234_5678 >>> 0, at);
    for (const lba of [0, 3, 2047]) expect(read(host, io, lba)).toEqual(inverted);
    begin(host, CRYPTO_ERASE | NDAS);
    expect((await ended(host)).status).toBe(SanitizeStatus.completed);
    expect(read(host, io, 3)).not.toEqual(inverted);
    expect(new Set(read(host, io, 3)).size).toBeGreaterThan(50);
  });

  test.each<[string, NvmeEmulatorOptions, number]>([
    ["zones are empty", { zoned: { zoneSizeBytes: 1 << 20 } }, 6 << 4],
    ["protection checks nothing", { metadataBytes: 8, protection: 1 }, 0],
  ])("%s afterwards", async (_, options, config) => {
    using started = startedHost({ sanitizeMs: 0, sizeBytes: 2 << 20, ...options }, config);
    const { host, io } = started;
    const data = host.alloc(4096);
    const prp1 = host.iova(data);
    const mptr = host.iova(host.alloc(4096));
    const write = { opcode: IoOpcode.write, nsid: 1, prp1, mptr, cdw12: 1 << 29 };
    expect(io.run(write).status).toBe(SUCCESS);
    begin(host, BLOCK_ERASE);
    expect((await ended(host)).status).toBe(SanitizeStatus.completed);
    const check = 7 << 26;
    expect(
      io.run({ opcode: IoOpcode.read, nsid: 1, prp1, mptr, cdw12: config === 0 ? check : 0 }).status,
    ).toBe(SUCCESS);
    expect(io.run(write).status).toBe(SUCCESS);
  });

  test("blocks most commands meanwhile, and ends a self-test", () => {
    using started = startedHost({ sanitizeMs: LONG, extendedSelfTestMs: LONG });
    const { host, io } = started;
    const { sanicap } = identifyController.decode(host.identify(1).page);
    expect([sanicap & 0x1f, sanicap >>> 30]).toEqual([7, 1]);
    host.admin.run({ opcode: AdminOpcode.deviceSelfTest, nsid: 1, cdw10: 2 });
    const { page } = host.log(LogPageId.deviceSelfTest, selfTestLog.sizeBytes);
    expect(selfTestLog.decode(page).currentOperation).toBe(2);
    expect(begin(host, BLOCK_ERASE | AUSE)).toBe(SUCCESS);
    expect(log(host)).toMatchObject({ status: SanitizeStatus.inProgress, progress: 0, blockEraseTime: 3600 });
    const prp1 = host.iova(host.alloc(4096));
    const refused = NvmeStatus.sanitizeInProgress;
    for (const command of [
      { opcode: IoOpcode.read, nsid: 1, prp1 },
      { opcode: IoOpcode.write, nsid: 1, prp1 },
      { opcode: IoOpcode.flush, nsid: 1 },
      { opcode: IoOpcode.flush, nsid: 0xffff_ffff },
    ]) {
      expect(io.run(command).status).toBe(refused);
    }
    expect(io.run({ opcode: IoOpcode.read, nsid: 2, prp1 }).status).toBe(NvmeStatus.invalidNamespace);
    for (const opcode of [
      AdminOpcode.sanitize,
      AdminOpcode.formatNvm,
      AdminOpcode.namespaceManagement,
      AdminOpcode.deviceSelfTest,
      AdminOpcode.firmwareCommit,
    ]) {
      expect(host.admin.run({ opcode, nsid: 1, cdw10: 2 }).status).toBe(refused);
    }
    expect(host.log(LogPageId.deviceSelfTest, 564).status).toBe(refused);
    expect(host.log(LogPageId.smart, 512).status).toBe(SUCCESS);
    expect(host.identify(0, 1).status).toBe(SUCCESS);
    expect(host.admin.run({ opcode: AdminOpcode.getFeatures, cdw10: FeatureId.arbitration }).status).toBe(
      SUCCESS,
    );
    // A reset ends nothing.
    host.device.reset();
    host.freeAll();
    host.enable();
    const again = host.createIo();
    expect(again.run({ opcode: IoOpcode.read, nsid: 1, prp1 }).status).toBe(refused);
    expect(log(host).status).toBe(SanitizeStatus.inProgress);
  });

  test("has to be repeated after a failure, unless the operation allowed an unrestricted exit", async () => {
    using started = startedHost({
      sanitizeMs: 0,
      sizeBytes: 1 << 20,
      faults: [{ kind: "fail-later", queue: "admin", opcode: AdminOpcode.sanitize, count: 3 }],
    });
    const { host, io } = started;
    const data = { opcode: IoOpcode.read, nsid: 1, prp1: host.iova(host.alloc(4096)) };
    const exit = 1;
    expect(begin(host, exit)).toBe(SUCCESS);
    expect(begin(host, OVERWRITE | passes(2))).toBe(SUCCESS);
    expect(await ended(host)).toMatchObject({ status: SanitizeStatus.failed, overwritePasses: 0 });
    expect(io.run(data).status).toBe(NvmeStatus.sanitizeFailed);
    expect(host.admin.run({ opcode: AdminOpcode.formatNvm, nsid: 1 }).status).toBe(NvmeStatus.sanitizeFailed);
    expect(begin(host, exit)).toBe(NvmeStatus.sanitizeFailed);
    expect(begin(host, BLOCK_ERASE | AUSE)).toBe(NvmeStatus.sanitizeFailed);
    // The faults that hit the commands which were refused are used up.
    expect(begin(host, BLOCK_ERASE)).toBe(SUCCESS);
    expect((await ended(host)).status).toBe(SanitizeStatus.completed);
    expect(io.run(data).status).toBe(SUCCESS);
    host.device.inject({ kind: "fail-later", queue: "admin", opcode: AdminOpcode.sanitize, count: 1 });
    begin(host, BLOCK_ERASE | AUSE);
    expect((await ended(host)).status).toBe(SanitizeStatus.failed);
    expect(io.run(data).status).toBe(NvmeStatus.sanitizeFailed);
    expect(begin(host, exit)).toBe(SUCCESS);
    expect(io.run(data).status).toBe(SUCCESS);
  });

  test("is refused for an unknown action", () => {
    using started = startedHost({ sanitizeMs: LONG });
    const { host } = started;
    for (const cdw10 of [0, 5, 6, 7, BLOCK_ERASE | EMVS]) {
      expect(begin(host, cdw10)).toBe(NvmeStatus.invalidField);
    }
    expect(log(host).status).toBe(SanitizeStatus.never);
  });

  test("begins again with the next emulator of the file, and goes on after a migration", async () => {
    const path = file();
    const options = { file: path, sizeBytes: 1 << 20 };
    {
      using started = startedHost({ ...options, sanitizeMs: LONG });
      write(started.host, started.io, 1);
      begin(started.host, BLOCK_ERASE);
    }
    {
      using host = new NvmeTestHost({ ...options, sanitizeMs: 0 });
      host.enable();
      const io = host.createIo();
      expect((await ended(host)).status).toBe(SanitizeStatus.completed);
      expect(read(host, io, 1)).toEqual(Buffer.alloc(512));
    }
    using source = new NvmeTestHost({ ...options, sanitizeMs: LONG });
    source.enable();
    begin(source, OVERWRITE | passes(1) | NDAS, 0x0101_0101);
    source.device.migration.stop();
    using target = new NvmeTestHost({ ...options, sanitizeMs: 0, incoming: true });
    target.device.migration.stop();
    const state = source.device.migration.save();
    target.ram.bytes.set(source.ram.bytes);
    target.device.migration.load(state);
    target.device.migration.start();
    await eventually(() => {
      target.device.migration.stop();
      const text = Buffer.from(target.device.migration.save()).toString("latin1");
      target.device.migration.start();
      return text.includes('"isErased":true') ? true : undefined;
    });
    target.device.reset();
    target.freeAll();
    target.enable();
    expect(read(target, target.createIo(), 1)).toEqual(Buffer.alloc(512, 1));
    // What the source still has of it is not the source's any more.
    source.device.reset();
    expect(read(target, target.createIo(2), 1)).toEqual(Buffer.alloc(512, 1));
  });
});
