/** Tests of the registers of the emulated controller. */
import { describe, expect, test } from "vitest";
import { AdminOpcode, IoOpcode } from "../../../../../src/nvme/spec/opcodes.js";
import { decodeCapabilities, NvmeRegister } from "../../../../../src/nvme/spec/registers.js";
import { NvmeStatus } from "../../../../../src/nvme/spec/status.js";
import { MEMORY_AT, NvmeTestHost, startedHost } from "../../../../support/nvme-host.js";

const RDY = 1;
const CFS = 2;
const SHST_COMPLETE = 2 << 2;
const NSSRO = 1 << 4;
const EN = 1;
const SIZES = (6 << 16) | (4 << 20);

function cap(host: NvmeTestHost): bigint {
  return (BigInt(host.read32(NvmeRegister.CAP + 4)) << 32n) | BigInt(host.read32(NvmeRegister.CAP));
}

describe("registers", () => {
  test("say what the controller is", () => {
    using host = new NvmeTestHost({ queueEntries: 1024, cmbBytes: 1 << 20 });
    expect(decodeCapabilities(cap(host))).toMatchObject({
      maxQueueEntries: 1024,
      contiguousQueues: true,
      doorbellStrideBytes: 4,
      nssrs: true,
      css: 0x41,
      minPageBytes: 4096,
      maxPageBytes: 65536,
      cmbs: true,
    });
    expect(host.read32(NvmeRegister.VS)).toBe(0x0002_0000);
    expect(host.status).toBe(0);
  });

  test("can be read and written in any width, and read-only bits don't change", () => {
    using host = new NvmeTestHost();
    const bar = host.device.bars[0];
    const byte = new Uint8Array(1);
    bar?.read(NvmeRegister.VS + 2, byte);
    expect(byte[0]).toBe(2);
    host.write32(NvmeRegister.VS, 0xffff_ffff);
    host.write32(NvmeRegister.CAP, 0xffff_ffff);
    expect(host.read32(NvmeRegister.VS)).toBe(0x0002_0000);
    const eight = Uint8Array.of(0, 0x10, 0, 0, 7, 0, 0, 0);
    bar?.write(NvmeRegister.ASQ, eight);
    expect(host.read32(NvmeRegister.ASQ)).toBe(0x1000);
    expect(host.read32(NvmeRegister.ASQ + 4)).toBe(7);
    bar?.write(NvmeRegister.AQA, Uint8Array.of(0x1f));
    bar?.write(NvmeRegister.AQA + 2, Uint8Array.of(0x3f, 0xff));
    expect(host.read32(NvmeRegister.AQA)).toBe(0x0f3f_001f);
  });

  test("INTMS and INTMC show and change one mask", () => {
    using host = new NvmeTestHost();
    host.write32(NvmeRegister.INTMS, 0b1010);
    host.write32(NvmeRegister.INTMS, 0b0100);
    expect(host.read32(NvmeRegister.INTMC)).toBe(0b1110);
    host.write32(NvmeRegister.INTMC, 0b0010);
    expect(host.read32(NvmeRegister.INTMS)).toBe(0b1100);
  });

  test("make the controller ready when it is enabled, and remove its queues when it is disabled", () => {
    using host = new NvmeTestHost();
    host.enable();
    expect(host.status).toBe(RDY);
    host.createIo();
    expect(host.readDoorbell(0)).toBeGreaterThan(0);
    host.write32(NvmeRegister.CC, SIZES);
    expect(host.status).toBe(0);
    expect(host.readDoorbell(0)).toBe(0);
    host.enable();
    expect(host.status).toBe(RDY);
    expect(host.admin.run({ opcode: AdminOpcode.deleteIoSubmissionQueue, cdw10: 1 }).status).toBe(
      NvmeStatus.invalidQueueIdentifier,
    );
  });

  test.each([
    ["a command set that isn't there", 1 << 4],
    ["no I/O command set", 7 << 4],
    ["pages larger than CAP.MPSMAX", 5 << 7],
    ["an arbitration of the vendor's", 7 << 11],
  ])("%s is a fatal status", (_, config) => {
    using host = new NvmeTestHost();
    host.enable(config);
    expect(host.status).toBe(CFS);
    host.write32(NvmeRegister.CC, 0);
    host.enable();
    expect(host.status).toBe(RDY);
  });

  test.each([
    ["outside of the memory", MEMORY_AT - 4096, 31],
    ["reaching beyond its end", MEMORY_AT + (8 << 20) - 4096, 127],
    ["beyond 2^53", 2 ** 60, 31],
    ["of one entry", MEMORY_AT, 0],
  ])("an admin queue %s is a fatal status", (_, address, last) => {
    using host = new NvmeTestHost();
    host.write32(NvmeRegister.AQA, (last << 16) | last);
    host.write32(NvmeRegister.ASQ, address % 2 ** 32);
    host.write32(NvmeRegister.ASQ + 4, Math.floor(address / 2 ** 32));
    host.write32(NvmeRegister.ACQ + 4, MEMORY_AT / 2 ** 32);
    host.write32(NvmeRegister.CC, EN | SIZES);
    expect(host.status).toBe(CFS);
  });

  test("queues on pages of 64 KiB must be aligned to them", () => {
    using host = new NvmeTestHost();
    host.alloc(4096);
    host.enable(4 << 7);
    expect(host.status).toBe(CFS);
  });

  test.each([
    ["normal", 1 << 14],
    ["abrupt", 2 << 14],
  ])("a shutdown that is %s completes, and ends processing until the next reset", (_, shn) => {
    using started = startedHost();
    const { host, io } = started;
    host.write32(NvmeRegister.CC, EN | SIZES | shn);
    expect(host.status).toBe(RDY | SHST_COMPLETE);
    io.post({ opcode: IoOpcode.flush, nsid: 1 });
    expect(host.device.pump()).toBe(0);
    host.write32(NvmeRegister.CC, SIZES);
    expect(host.status).toBe(0);
    host.enable();
    expect(host.status).toBe(RDY);
  });

  test("a subsystem reset clears everything and says that it happened", () => {
    using started = startedHost();
    const { host } = started;
    host.write32(NvmeRegister.NSSR, 0x1234);
    expect(host.status).toBe(RDY);
    host.write32(NvmeRegister.NSSR, 0x4e56_4d65);
    expect(host.status).toBe(NSSRO);
    expect(host.read32(NvmeRegister.CC)).toBe(0);
    expect(host.read32(NvmeRegister.AQA)).toBe(0);
    host.write32(NvmeRegister.CSTS, NSSRO);
    expect(host.status).toBe(0);
  });

  test("the function's reset and a client that goes leave a controller that isn't enabled", () => {
    using started = startedHost();
    const { host } = started;
    host.device.reset();
    expect(host.status).toBe(0);
    host.enable();
    host.device.disconnect();
    expect(host.status).toBe(0);
    expect(host.device.pump()).toBe(0);
    host.device.connect(host);
    host.enable();
    expect(host.status).toBe(RDY);
  });

  test("queue memory that is unmapped under a running controller is a fatal status", () => {
    using started = startedHost();
    const { host, io } = started;
    io.post({ opcode: IoOpcode.flush, nsid: 1 });
    host.memory.unmap(MEMORY_AT);
    host.device.pump();
    expect(host.status).toBe(RDY | CFS);
  });

  test("are not shared by BAR0, which shares only the doorbells, in a file that can't be truncated", async () => {
    using host = new NvmeTestHost();
    const areas = host.device.bars[0]?.mappable ?? [];
    expect(areas).toMatchObject([{ offset: 4096, sizeBytes: 4096 }]);
    const { ftruncateSync } = await import("node:fs");
    expect(() => ftruncateSync(areas[0]?.fd ?? -1, 0)).toThrow(/EPERM/);
  });
});

describe("the controller memory buffer", () => {
  const CRE = 1;
  const CMSE = 2;
  const CMB_AT = 0x40_0000_0000;

  test("shows its place when the host asks, and holds queues and data", () => {
    using host = new NvmeTestHost({ cmbBytes: 1 << 20 });
    expect(host.read32(NvmeRegister.CMBSZ)).toBe(0);
    host.write32(NvmeRegister.CMBMSC, CRE);
    expect(host.read32(NvmeRegister.CMBLOC) & 7).toBe(2);
    // 256 units of 4 KiB, for queues, lists and data.
    expect(host.read32(NvmeRegister.CMBSZ)).toBe((256 << 12) | 0x1f);
    host.write32(NvmeRegister.CMBMSC + 4, CMB_AT / 2 ** 32);
    host.write32(NvmeRegister.CMBMSC, CRE | CMSE);
    expect(host.read32(NvmeRegister.CMBSTS)).toBe(0);
    host.enable();
    const io = host.createIo();
    const bar = host.device.bars[2];
    bar?.write(8192, new Uint8Array(512).fill(0xa5));
    expect(io.run({ opcode: IoOpcode.write, nsid: 1, prp1: CMB_AT + 8192 }).status).toBe(0);
    expect(io.run({ opcode: IoOpcode.read, nsid: 1, prp1: CMB_AT + 16384 }).status).toBe(0);
    const back = new Uint8Array(512);
    bar?.read(16384, back);
    expect(back).toEqual(new Uint8Array(512).fill(0xa5));
    // Its place is its size: not one byte more.
    const beyond = CMB_AT + (1 << 20) - 508;
    expect(io.run({ opcode: IoOpcode.read, nsid: 1, prp1: beyond }).status).toBe(
      NvmeStatus.dataTransferError,
    );
    host.write32(NvmeRegister.CMBMSC, CRE);
    expect(io.run({ opcode: IoOpcode.read, nsid: 1, prp1: CMB_AT }).status).toBe(
      NvmeStatus.dataTransferError,
    );
  });

  test("reports a base address beyond all addresses", () => {
    using host = new NvmeTestHost({ cmbBytes: 1 << 20 });
    host.write32(NvmeRegister.CMBMSC + 4, 0xffff_ffff);
    host.write32(NvmeRegister.CMBMSC, CRE | CMSE | 0xffff_f000);
    expect(host.read32(NvmeRegister.CMBSTS)).toBe(1);
  });

  test("has registers of zeros if the controller has none", () => {
    using host = new NvmeTestHost();
    host.write32(NvmeRegister.CMBMSC, CRE | CMSE);
    expect(host.read32(NvmeRegister.CMBMSC)).toBe(0);
    expect(host.read32(NvmeRegister.CMBSZ)).toBe(0);
  });
});
