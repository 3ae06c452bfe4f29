/** Tests of a client that writes anything to queues, registers and doorbells. */
import { describe, expect, test } from "vitest";
import type { NvmeEmulatorOptions } from "../../../../src/emulator/nvme/options.js";
import { AdminOpcode, IoOpcode } from "../../../../src/nvme/spec/opcodes.js";
import { MappedMemory } from "../../../../src/sys/memory.js";
import { MEMORY_AT, NvmeTestHost, SUCCESS, startedHost } from "../../../support/nvme-host.js";

/** The same numbers every time. */
class Random {
  private state: number;

  constructor(seed: number) {
    this.state = seed;
  }

  next(limit: number): number {
    let x = this.state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.state = x >>> 0;
    return this.state % limit;
  }

  of<T>(values: readonly T[]): T | undefined {
    return values[this.next(values.length)];
  }
}

/** Not Sanitize, after which hardly anything is carried out. */
const adminOpcodes = Object.values(AdminOpcode);
const ioOpcodes = Object.values(IoOpcode);
const edges = [0, 1, 2, 7, 8, 0xff, 0xffff, 0x1_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe, 0xffff_ffff];
const GUARD_BYTES = 65536;
const TENS_OF_THOUSANDS = 20_000;

/** A dword that may mean something: an edge, a small number, an address in or beside the memory, or anything. */
function dword(random: Random): number {
  switch (random.next(5)) {
    case 0:
      return random.of(edges) ?? 0;
    case 1:
      return random.next(4096);
    case 2:
      return random.next(8 << 20) & ~(random.next(2) === 0 ? 0xfff : 3);
    case 3:
      return (8 << 20) + random.next(65536);
    default:
      return random.next(0xffff_ffff);
  }
}

function high(random: Random): number {
  return random.of([1, 1, 1, 1, 0, 2, 0x1f_ffff, 0x20_0000, 0xffff_ffff]) ?? 0;
}

const shapes: readonly (readonly [string, NvmeEmulatorOptions, number])[] = [
  ["plain", { cmbBytes: 65536, hostMemoryBytes: 65536, powerStates: 5 }, 0],
  ["zoned", { zoned: { zoneSizeBytes: 1 << 20, maxOpen: 2, maxActive: 3 } }, 6 << 4],
  ["protected", { metadataBytes: 8, protection: 1, extendedMetadata: true }, 6 << 4],
  ["small", { maxTransferBytes: 4096, queuePairs: 2, queueEntries: 16, vectors: 1, namespaces: 2 }, 0],
];

describe.each(shapes)("a hostile client of a controller that is %s", (_, options, config) => {
  test("gets an answer to any queue entry, with no exception and no access outside of its memory", () => {
    const random = new Random(0x1234_5678);
    // What lies beside the client's memory, in the same arena: filled, and looked at afterwards.
    const before = MappedMemory.anonymous(GUARD_BYTES);
    using host = new NvmeTestHost(options);
    const after = MappedMemory.anonymous(GUARD_BYTES);
    before.bytes.fill(0xa1);
    after.bytes.fill(0xa2);
    const restart = () => {
      host.write32(0x14, 0);
      host.freeAll();
      host.enable(config, 16);
      return host.createIo(1, 16);
    };
    let io = restart();
    let answered = 0;
    for (let i = 0; i < TENS_OF_THOUSANDS; i++) {
      // The host's own memory is scribbled over by its reads; and SGL segments and PRP lists should be anything.
      if (i % 64 === 0) {
        const at = (2 << 20) / 4 + random.next(1 << 19);
        for (let word = 0; word < 64; word++)
          host.ram.words[at + word] = word % 2 === 0 ? dword(random) : high(random);
      }
      const isAdmin = random.next(3) === 0;
      const queue = isAdmin ? host.admin : io;
      const opcode =
        random.next(4) === 0 ? random.next(256) : (random.of(isAdmin ? adminOpcodes : ioOpcodes) ?? 0);
      if (isAdmin && opcode === AdminOpcode.sanitize) continue;
      queue.post({
        opcode,
        flags: random.next(4) << 14,
        cid: random.next(65536),
        nsid: random.of([1, 1, 1, 2, 0, 0xffff_ffff]) ?? 1,
        mptr: dword(random) + high(random) * 2 ** 32,
        dptr: [
          dword(random),
          high(random),
          dword(random),
          random.next(2) === 0 ? high(random) : dword(random),
        ],
        cdw2: dword(random),
        cdw3: dword(random),
        cdw10: dword(random),
        cdw11: dword(random),
        cdw12: random.next(2) === 0 ? random.next(64) : dword(random),
        cdw13: dword(random),
        cdw14: dword(random),
        cdw15: dword(random),
      });
      host.device.pump();
      while (host.admin.take() !== undefined) answered++;
      while (io.take() !== undefined) answered++;
      // It may have deleted its queues, written over them, or been told to fail.
      if ((host.status & 2) !== 0 || i % 500 === 499) io = restart();
    }
    expect(answered).toBeGreaterThan(TENS_OF_THOUSANDS / 4);
    expect(before.bytes.every((byte) => byte === 0xa1)).toBe(true);
    expect(after.bytes.every((byte) => byte === 0xa2)).toBe(true);
    io = restart();
    expect(io.run({ opcode: IoOpcode.flush, nsid: 0xffff_ffff }).status).toBe(SUCCESS);
    before.close();
    after.close();
  });
});

test("any write to registers and doorbells leaves a controller that can be reset", () => {
  const random = new Random(99);
  using host = new NvmeTestHost({ cmbBytes: 1 << 16 });
  for (let i = 0; i < TENS_OF_THOUSANDS; i++) {
    const bar = host.device.bars[random.of([0, 0, 0, 0, 2, 4]) ?? 0];
    const width = random.of([1, 2, 4, 4, 4, 8]) ?? 4;
    const limit = random.next(3) === 0 ? (bar?.sizeBytes ?? 8192) : 0x60;
    const offset = Math.floor(random.next(limit) / width) * width;
    const bytes = new Uint8Array(width);
    for (let at = 0; at < width; at += 4)
      bytes.set(new Uint8Array(Uint32Array.of(dword(random)).buffer).subarray(0, Math.min(4, width)), at);
    if (random.next(2) === 0) bar?.write(offset, bytes);
    else bar?.read(offset, bytes);
    if (random.next(4) === 0) host.writeDoorbell(random.next(1024), dword(random));
    host.device.pump();
  }
  host.write32(0x14, 0);
  host.write32(0x50, 0);
  host.enable();
  expect(host.status & 3).toBe(1);
  expect(host.admin.run({ opcode: AdminOpcode.identify, cdw10: 1, prp1: MEMORY_AT + (1 << 20) }).status).toBe(
    SUCCESS,
  );
});

test("the controller follows memory that is mapped and unmapped between commands", () => {
  using started = startedHost();
  const { host, io } = started;
  const other = MappedMemory.anonymous(8192);
  const read = { opcode: IoOpcode.read, nsid: 1, prp1: 0x5_0000_0000 };
  expect(io.run(read).status).not.toBe(SUCCESS);
  host.memory.map(0x5_0000_0000, other);
  other.bytes.fill(1);
  expect(io.run(read).status).toBe(SUCCESS);
  expect(other.bytes[0]).toBe(0);
  expect(other.bytes[512]).toBe(1);
  host.memory.unmap(0x5_0000_0000);
  expect(io.run(read).status).not.toBe(SUCCESS);
  other.close();
});

test("one transfer can lie in two adjacent mappings", () => {
  using started = startedHost();
  const { host, io } = started;
  const [one, two] = [MappedMemory.anonymous(4096), MappedMemory.anonymous(4096)];
  host.memory.map(0x5_0000_0000, one);
  host.memory.map(0x5_0000_1000, two);
  one.bytes.fill(1);
  two.bytes.fill(2);
  const dptr = [0x800, 5, 4096, 0];
  expect(io.run({ opcode: IoOpcode.write, nsid: 1, flags: 1 << 14, dptr, cdw12: 7 }).status).toBe(SUCCESS);
  one.bytes.fill(0);
  two.bytes.fill(0);
  expect(io.run({ opcode: IoOpcode.read, nsid: 1, flags: 1 << 14, dptr, cdw12: 7 }).status).toBe(SUCCESS);
  expect([one.bytes[2047], one.bytes[2048], two.bytes[2047], two.bytes[2048]]).toEqual([0, 1, 2, 0]);
  one.close();
  two.close();
});
