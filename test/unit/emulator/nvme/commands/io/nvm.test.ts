/** Tests of the I/O commands and their queues. */
import { describe, expect, test } from "vitest";
import { IoOpcode } from "../../../../../../src/nvme/spec/opcodes.js";
import { NvmeStatus } from "../../../../../../src/nvme/spec/status.js";
import {
  MEMORY_AT,
  type NvmeTestHost,
  SUCCESS,
  startedHost,
  type TestQueue,
} from "../../../../../support/nvme-host.js";

const BLOCKS = (16 << 20) / 512;
const UNMAPPED = 0x7_0000_0000;

function pattern(host: NvmeTestHost, at: number, length: number, seed: number): Uint8Array {
  const bytes = host.bytes(at, length);
  for (let i = 0; i < length; i++) bytes[i] = (i * 31 + (i >> 8) + seed) & 0xff;
  return bytes.slice();
}

/** Low and high half of a block address, for CDW10 and CDW11. */
function slba(lba: number): { cdw10: number; cdw11: number } {
  return { cdw10: lba % 2 ** 32, cdw11: Math.floor(lba / 2 ** 32) };
}

describe("read and write", () => {
  test("return what was written, and zeros for fresh blocks", () => {
    using started = startedHost();
    const { host, io } = started;
    const at = host.alloc(16384);
    const written = pattern(host, at, 8192, 1);
    const transfer = { nsid: 1, prp1: host.iova(at), prp2: host.iova(at + 4096), cdw12: 15, ...slba(100) };
    expect(io.run({ opcode: IoOpcode.write, ...transfer })).toMatchObject({ status: SUCCESS, sqid: 1 });
    host.bytes(at, 8192).fill(0xee);
    expect(io.run({ opcode: IoOpcode.read, ...transfer }).status).toBe(SUCCESS);
    expect(host.bytes(at, 8192)).toEqual(written);
    expect(io.run({ opcode: IoOpcode.read, ...transfer, ...slba(116) }).status).toBe(SUCCESS);
    expect(host.bytes(at, 8192).every((byte) => byte === 0)).toBe(true);
  });

  test("complete with the head, the ids and a phase that changes with every pass", () => {
    using started = startedHost();
    const { host, io } = started;
    const at = host.alloc(4096);
    for (let i = 1; i <= 200; i++) {
      const cid = i & 0xffff;
      const completion = io.run({ opcode: IoOpcode.read, cid, nsid: 1, prp1: host.iova(at) });
      expect(completion).toMatchObject({ status: SUCCESS, cid, sqid: 1, sqhd: i % 64, dw0: 0 });
    }
  });

  test.each([
    ["a namespace that isn't there", { nsid: 2 }, NvmeStatus.invalidNamespace],
    ["namespace 0", { nsid: 0 }, NvmeStatus.invalidNamespace],
    ["all namespaces", { nsid: 0xffff_ffff }, NvmeStatus.invalidNamespace],
    ["a block behind the last", slba(BLOCKS), NvmeStatus.lbaOutOfRange],
    ["one block too many", { ...slba(BLOCKS - 1), cdw12: 1 }, NvmeStatus.lbaOutOfRange],
    ["a block address of 64 bits", { cdw10: 0xffff_ffff, cdw11: 0xffff_ffff }, NvmeStatus.lbaOutOfRange],
    ["more than MDTS", { cdw12: 2048 }, NvmeStatus.invalidField],
    ["a fused operation of no kind", { flags: 3 << 8 }, NvmeStatus.invalidField],
    ["both data pointers at once", { flags: 3 << 14 }, NvmeStatus.invalidField],
    ["PRP1 off its dword", { prp1: MEMORY_AT + 2 }, NvmeStatus.prpOffsetInvalid],
    ["PRP1 outside the memory", { prp1: UNMAPPED }, NvmeStatus.dataTransferError],
    ["PRP1 of all ones", { dptr: [0xffff_fffc, 0xffff_ffff, 0, 0] }, NvmeStatus.dataTransferError],
    ["PRP2 with an offset", { cdw12: 15, prp2: MEMORY_AT + 8 }, NvmeStatus.prpOffsetInvalid],
    ["PRP2 outside the memory", { cdw12: 15, prp2: UNMAPPED }, NvmeStatus.dataTransferError],
    ["a list off its qword", { cdw12: 31, prp2: MEMORY_AT + 4 }, NvmeStatus.prpOffsetInvalid],
    ["a list outside the memory", { cdw12: 31, prp2: UNMAPPED }, NvmeStatus.dataTransferError],
  ])("refuse %s", (_, wrong, status) => {
    using started = startedHost();
    const { io } = started;
    for (const opcode of [IoOpcode.read, IoOpcode.write, IoOpcode.compare]) {
      const completion = io.run({ opcode, nsid: 1, prp1: MEMORY_AT, ...wrong });
      expect(completion).toMatchObject({ status, dnr: true, more: true });
    }
  });

  test("are joined by no unknown opcode, and by zone commands only on zoned namespaces", () => {
    using started = startedHost();
    for (const opcode of [0x03, 0x0a, 0x16, 0xff, IoOpcode.zoneAppend, IoOpcode.zoneManagementReceive]) {
      expect(started.io.run({ opcode, nsid: 1 }).status).toBe(NvmeStatus.invalidOpcode);
    }
  });

  test("refuse a second half of a fused operation without its first, and a pair that doesn't match", () => {
    using started = startedHost();
    const { host, io } = started;
    const prp1 = host.iova(host.alloc(4096));
    const first = { opcode: IoOpcode.compare, flags: 1 << 8, nsid: 1, prp1 };
    const second = { opcode: IoOpcode.write, flags: 2 << 8, nsid: 1, prp1 };
    const missing = NvmeStatus.commandAbortedDueToMissingFusedCommand;
    expect(io.run(second).status).toBe(missing);
    expect(io.run(first).status).toBe(SUCCESS);
    expect(io.run(second).status).toBe(SUCCESS);
    expect(io.run(second).status).toBe(missing);
    // Something between them.
    io.run(first);
    io.run({ opcode: IoOpcode.read, nsid: 1, prp1 });
    expect(io.run(second).status).toBe(missing);
    // Other blocks, other commands.
    io.run(first);
    expect(io.run({ ...second, cdw10: 8 }).status).toBe(NvmeStatus.invalidField);
    expect(io.run({ ...first, opcode: IoOpcode.read }).status).toBe(NvmeStatus.invalidField);
  });

  test("don't write to memory that is mapped read-only", () => {
    using started = startedHost();
    const { host, io } = started;
    const at = host.alloc(4096);
    host.memory.unmap(MEMORY_AT);
    host.memory.map(MEMORY_AT, host.ram);
    host.memory.map(0x9_0000_0000, host.ram, false);
    expect(io.run({ opcode: IoOpcode.write, nsid: 1, prp1: 0x9_0000_0000 + at }).status).toBe(SUCCESS);
    expect(io.run({ opcode: IoOpcode.read, nsid: 1, prp1: 0x9_0000_0000 + at }).status).toBe(
      NvmeStatus.dataTransferError,
    );
  });

  test("work with blocks of 4096 bytes, and don't touch other namespaces", () => {
    using started = startedHost({ blockSizeBytes: 4096, namespaces: 4 });
    const { host, io } = started;
    const at = host.alloc(4096);
    const last = (4 << 20) / 4096 - 1;
    for (let nsid = 1; nsid <= 4; nsid++) {
      pattern(host, at, 4096, nsid);
      expect(io.run({ opcode: IoOpcode.write, nsid, prp1: host.iova(at), ...slba(last) }).status).toBe(
        SUCCESS,
      );
      expect(io.run({ opcode: IoOpcode.write, nsid, prp1: host.iova(at), ...slba(last + 1) }).status).toBe(
        NvmeStatus.lbaOutOfRange,
      );
    }
    for (let nsid = 1; nsid <= 4; nsid++) {
      const expected = pattern(host, at, 4096, nsid);
      host.bytes(at, 4096).fill(0);
      expect(io.run({ opcode: IoOpcode.read, nsid, prp1: host.iova(at), ...slba(last) }).status).toBe(
        SUCCESS,
      );
      expect(host.bytes(at, 4096)).toEqual(expected);
    }
  });
});

describe("the other commands", () => {
  function withData(): { host: NvmeTestHost; io: TestQueue; at: number; data: Uint8Array } & Disposable {
    const started = startedHost();
    const at = started.host.alloc(8192);
    const data = pattern(started.host, at, 4096, 9);
    const { status } = started.io.run({
      opcode: IoOpcode.write,
      nsid: 1,
      prp1: started.host.iova(at),
      cdw12: 7,
    });
    expect(status).toBe(SUCCESS);
    return { host: started.host, io: started.io, at, data, [Symbol.dispose]: () => started.host.close() };
  }

  test("flush takes one namespace, or all", () => {
    using started = startedHost();
    expect(started.io.run({ opcode: IoOpcode.flush, nsid: 1 }).status).toBe(SUCCESS);
    expect(started.io.run({ opcode: IoOpcode.flush, nsid: 0xffff_ffff }).status).toBe(SUCCESS);
    expect(started.io.run({ opcode: IoOpcode.flush, nsid: 7 }).status).toBe(NvmeStatus.invalidNamespace);
  });

  test("compare finds one different byte", () => {
    using started = withData();
    const { host, io, at, data } = started;
    const command = { opcode: IoOpcode.compare, nsid: 1, prp1: host.iova(at), cdw12: 7 };
    expect(io.run(command).status).toBe(SUCCESS);
    host.bytes(at + 4000, 1).set([(data[4000] ?? 0) ^ 1]);
    expect(io.run(command).status).toBe(NvmeStatus.compareFailure);
  });

  test("write zeroes reaches the last block and not beyond", () => {
    using started = withData();
    const { host, io, at, data } = started;
    expect(io.run({ opcode: IoOpcode.writeZeroes, nsid: 1, ...slba(2), cdw12: 1 }).status).toBe(SUCCESS);
    expect(io.run({ opcode: IoOpcode.read, nsid: 1, prp1: host.iova(at), cdw12: 7 }).status).toBe(SUCCESS);
    data.fill(0, 1024, 2048);
    expect(host.bytes(at, 4096)).toEqual(data);
    expect(io.run({ opcode: IoOpcode.writeZeroes, nsid: 1, ...slba(BLOCKS - 1) }).status).toBe(SUCCESS);
    expect(io.run({ opcode: IoOpcode.writeZeroes, nsid: 1, ...slba(BLOCKS - 1), cdw12: 1 }).status).toBe(
      NvmeStatus.lbaOutOfRange,
    );
  });

  function dsmRanges(
    host: NvmeTestHost,
    ranges: readonly (readonly [lba: number, blocks: number])[],
  ): number {
    const at = host.alloc(4096);
    for (const [i, [lba, blocks]] of ranges.entries()) {
      host.ram.words.set([0, blocks, lba, 0], at / 4 + 4 * i);
    }
    return at;
  }

  test("dataset management makes only its ranges read as zeros", () => {
    using started = withData();
    const { host, io, at, data } = started;
    const ranges = dsmRanges(host, [
      [0, 1],
      [4, 2],
    ]);
    const command = { opcode: IoOpcode.datasetManagement, nsid: 1, prp1: host.iova(ranges), cdw10: 1 };
    expect(io.run({ ...command, cdw11: 0 }).status).toBe(SUCCESS);
    expect(io.run({ opcode: IoOpcode.compare, nsid: 1, prp1: host.iova(at), cdw12: 7 }).status).toBe(SUCCESS);
    expect(io.run({ ...command, cdw11: 4 }).status).toBe(SUCCESS);
    io.run({ opcode: IoOpcode.read, nsid: 1, prp1: host.iova(at), cdw12: 7 });
    data.fill(0, 0, 512).fill(0, 2048, 3072);
    expect(host.bytes(at, 4096)).toEqual(data);
    // One range outside: nothing is deallocated.
    const outside = dsmRanges(host, [
      [1, 1],
      [BLOCKS, 1],
    ]);
    expect(io.run({ ...command, prp1: host.iova(outside), cdw11: 4 }).status).toBe(NvmeStatus.lbaOutOfRange);
    io.run({ opcode: IoOpcode.read, nsid: 1, prp1: host.iova(at), cdw12: 7 });
    expect(host.bytes(at, 4096)).toEqual(data);
    expect(io.run({ ...command, prp1: UNMAPPED, cdw11: 4 }).status).toBe(NvmeStatus.dataTransferError);
  });

  test("a whole namespace can be deallocated at once", () => {
    using started = withData();
    const { host, io, at } = started;
    const ranges = dsmRanges(host, [[0, BLOCKS]]);
    const command = { opcode: IoOpcode.datasetManagement, nsid: 1, prp1: host.iova(ranges), cdw11: 4 };
    expect(io.run(command).status).toBe(SUCCESS);
    io.run({ opcode: IoOpcode.read, nsid: 1, prp1: host.iova(at), cdw12: 7 });
    expect(host.bytes(at, 4096).every((byte) => byte === 0)).toBe(true);
  });

  test("blocks made uncorrectable fail until they are written", () => {
    using started = withData();
    const { host, io, at } = started;
    expect(io.run({ opcode: IoOpcode.writeUncorrectable, nsid: 1, ...slba(3), cdw12: 1 }).status).toBe(
      SUCCESS,
    );
    const whole = { nsid: 1, prp1: host.iova(at), cdw12: 7 };
    for (const opcode of [IoOpcode.read, IoOpcode.verify, IoOpcode.compare]) {
      expect(io.run({ opcode, ...whole }).status).toBe(NvmeStatus.unrecoveredReadError);
    }
    expect(io.run({ opcode: IoOpcode.read, ...whole, cdw12: 2 }).status).toBe(SUCCESS);
    expect(io.run({ opcode: IoOpcode.write, nsid: 1, prp1: host.iova(at), ...slba(3) }).status).toBe(SUCCESS);
    expect(io.run({ opcode: IoOpcode.read, ...whole }).status).toBe(NvmeStatus.unrecoveredReadError);
    expect(io.run({ opcode: IoOpcode.writeZeroes, nsid: 1, ...slba(4) }).status).toBe(SUCCESS);
    expect(io.run({ opcode: IoOpcode.read, ...whole }).status).toBe(SUCCESS);
    expect(io.run({ opcode: IoOpcode.verify, nsid: 1, cdw12: 7 }).status).toBe(SUCCESS);
    expect(io.run({ opcode: IoOpcode.verify, nsid: 1, ...slba(BLOCKS) }).status).toBe(
      NvmeStatus.lbaOutOfRange,
    );
    expect(io.run({ opcode: IoOpcode.writeUncorrectable, nsid: 1, ...slba(BLOCKS) }).status).toBe(
      NvmeStatus.lbaOutOfRange,
    );
  });

  function copyRange(host: NvmeTestHost, lba: number, blocks: number): number {
    const at = host.alloc(4096);
    host.ram.words.set([0, 0, lba, 0, blocks - 1, 0, 0, 0], at / 4);
    return at;
  }

  test("copy moves ranges inside the namespace, within its limits", () => {
    using started = withData();
    const { host, io, at, data } = started;
    const range = copyRange(host, 2, 6);
    const command = { opcode: IoOpcode.copy, nsid: 1, prp1: host.iova(range), ...slba(1000) };
    expect(io.run(command).status).toBe(SUCCESS);
    io.run({ opcode: IoOpcode.read, nsid: 1, prp1: host.iova(at), ...slba(1000), cdw12: 5 });
    expect(host.bytes(at, 3072)).toEqual(data.subarray(1024));
    expect(io.run({ ...command, cdw12: 1 << 8 }).status).toBe(NvmeStatus.invalidField);
    expect(io.run({ ...command, cdw12: 128 }).status).toBe(NvmeStatus.commandSizeLimitExceeded);
    expect(io.run({ ...command, ...slba(BLOCKS - 3) }).status).toBe(NvmeStatus.lbaOutOfRange);
    const outside = copyRange(host, BLOCKS - 1, 2);
    expect(io.run({ ...command, prp1: host.iova(outside) }).status).toBe(NvmeStatus.lbaOutOfRange);
    const tooLong = copyRange(host, 0, 2049);
    expect(io.run({ ...command, prp1: host.iova(tooLong) }).status).toBe(NvmeStatus.commandSizeLimitExceeded);
  });
});

describe("queues", () => {
  test("stop the controller when a completion queue is full, until the host takes a completion", () => {
    using started = startedHost();
    const { host } = started;
    const io = host.createIo(2, 4);
    for (let i = 0; i < 3; i++) io.post({ opcode: IoOpcode.flush, nsid: 1, cid: i });
    expect(host.device.pump()).toBe(3);
    for (let i = 3; i < 6; i++) io.post({ opcode: IoOpcode.flush, nsid: 1, cid: i });
    expect(host.device.pump()).toBe(0);
    expect(io.take()?.cid).toBe(0);
    expect(host.device.pump()).toBe(1);
    for (let cid = 1; cid <= 3; cid++) expect(io.take()?.cid).toBe(cid);
    host.device.pump();
    for (let cid = 4; cid <= 5; cid++) expect(io.take()?.cid).toBe(cid);
  });

  test("ignore a doorbell value beyond the queue, and an event reports it", () => {
    using started = startedHost();
    const { host, io } = started;
    host.admin.post({ opcode: 0x0c, cid: 77 });
    host.device.pump();
    host.writeDoorbell(2, 64);
    expect(host.device.pump()).toBe(1);
    // Error, invalid doorbell write value, to be read in the error log.
    expect(host.admin.take()).toMatchObject({ cid: 77, dw0: (1 << 16) | (1 << 8) });
    host.writeDoorbell(2, 0xffff_ffff);
    expect(host.device.pump()).toBe(0);
    host.writeDoorbell(2, 0);
    expect(io.run({ opcode: IoOpcode.flush, nsid: 1 }).status).toBe(SUCCESS);
    // A head beyond the completion queue, by one who has let it fill up.
    const small = host.createIo(2, 2);
    host.writeDoorbell(5, 9);
    small.post({ opcode: IoOpcode.flush, nsid: 1 });
    host.device.pump();
    small.post({ opcode: IoOpcode.flush, nsid: 1 });
    expect(host.device.pump()).toBe(0);
  });

  test("report a doorbell message for no queue by an event", () => {
    using started = startedHost();
    const { host } = started;
    host.admin.post({ opcode: 0x0c, cid: 78 });
    host.device.pump();
    host.write32(0x1000 + 4 * 20, 1);
    host.device.pump();
    expect(host.admin.take()).toMatchObject({ cid: 78, dw0: 1 << 16 });
    // Messages work as shared memory does.
    host.write32(0x1008, 1);
    expect(host.device.pump()).toBe(1);
    expect(host.read32(0x1008)).toBe(1);
  });

  test("can share one completion queue among several submission queues", () => {
    using started = startedHost();
    const { host, io } = started;
    const sq = host.alloc(64 * 64);
    expect(
      host.admin.run({ opcode: 0x01, prp1: host.iova(sq), cdw10: (63 << 16) | 5, cdw11: (1 << 16) | 1 })
        .status,
    ).toBe(SUCCESS);
    host.ram.words.set([IoOpcode.flush | (55 << 16), 1], sq / 4);
    host.writeDoorbell(10, 1);
    io.post({ opcode: IoOpcode.flush, nsid: 1, cid: 44 });
    expect(host.device.pump()).toBe(2);
    expect([io.take(), io.take()].map((done) => [done?.cid, done?.sqid])).toEqual([
      [44, 1],
      [55, 5],
    ]);
  });

  test("raise one interrupt a pass on their vector, and none if interrupts are off", () => {
    using started = startedHost();
    const { host, io } = started;
    const loud = host.createIo(2, 64, { vector: 3 });
    host.raised.length = 0;
    for (let i = 0; i < 5; i++) loud.post({ opcode: IoOpcode.flush, nsid: 1 });
    io.post({ opcode: IoOpcode.flush, nsid: 1 });
    host.device.pump();
    expect(host.raised).toEqual([3]);
    host.device.pump();
    expect(host.raised).toEqual([3]);
  });

  test("delay coalesced interrupts until their number or time", async () => {
    using started = startedHost();
    const { host } = started;
    const loud = host.createIo(2, 64, { vector: 3 });
    // Four completions (zero-based), or 20 ms.
    expect(host.admin.run({ opcode: 0x09, cdw10: 0x08, cdw11: (200 << 8) | 3 }).status).toBe(SUCCESS);
    host.raised.length = 0;
    for (let i = 0; i < 3; i++) loud.post({ opcode: IoOpcode.flush, nsid: 1 });
    host.device.pump();
    expect(host.raised).toEqual([]);
    loud.post({ opcode: IoOpcode.flush, nsid: 1 });
    host.device.pump();
    expect(host.raised).toEqual([3]);
    loud.post({ opcode: IoOpcode.flush, nsid: 1 });
    host.device.pump();
    expect(host.raised).toEqual([3]);
    const looking = (): number[] => {
      host.device.pump();
      return host.raised;
    };
    await expect.poll(looking).toEqual([3, 3]);
    // A vector that is exempt.
    expect(host.admin.run({ opcode: 0x09, cdw10: 0x09, cdw11: (1 << 16) | 3 }).status).toBe(SUCCESS);
    host.raised.length = 0;
    loud.post({ opcode: IoOpcode.flush, nsid: 1 });
    host.device.pump();
    expect(host.raised).toEqual([3]);
  });

  test("can have shadow doorbells in memory, with event indexes that tell the host when to ring", () => {
    using host_ = startedHost();
    const { host } = host_;
    const shadow = host.alloc(4096);
    const eventIndexes = host.alloc(4096);
    const words = host.ram.words.subarray(shadow / 4, shadow / 4 + 1024);
    const command = { opcode: 0x7c, prp1: host.iova(shadow), prp2: host.iova(eventIndexes) };
    expect(host.admin.run({ ...command, prp1: host.iova(shadow) + 8 }).status).toBe(NvmeStatus.invalidField);
    expect(host.admin.run({ ...command, prp2: UNMAPPED }).status).toBe(NvmeStatus.dataTransferError);
    expect(host.admin.run(command).status).toBe(SUCCESS);
    const io = host.createIo(3, 8, { doorbells: words });
    for (let i = 0; i < 30; i++) expect(io.run({ opcode: IoOpcode.flush, nsid: 1 }).status).toBe(SUCCESS);
    expect(host.readDoorbell(6)).toBe(0);
    expect(words[6]).toBe(30 % 8);
    // The buffer unmapped: fatal, and nothing is touched.
    host.memory.unmap(MEMORY_AT);
    host.device.pump();
    expect(host.status & 2).toBe(2);
  });
});
