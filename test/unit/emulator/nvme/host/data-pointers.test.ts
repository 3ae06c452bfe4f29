/** Tests of PRPs and SGLs. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { IoOpcode } from "../../../../../src/nvme/spec/opcodes.js";
import { NvmeStatus } from "../../../../../src/nvme/spec/status.js";
import { MEMORY_AT, type NvmeTestHost, SUCCESS, startedHost } from "../../../../support/nvme-host.js";
import { walkPrps } from "../../../../support/prp-walker.js";

const PAGE = 4096;
const BLOCK = 512;
/** Descriptor types of SGLs, in bits 7:4 of the last byte. */
const DATA = 0;
const BUCKET = 1;
const SEGMENT = 2;
const LAST = 3;
const PSDT_SGL = 1 << 14;

type Descriptor = readonly [address: number, length: number, type: number, subtype?: number];

function descriptorWords([address, length, type, subtype = 0]: Descriptor): number[] {
  return [
    address % 2 ** 32,
    Math.floor(address / 2 ** 32),
    length,
    ((((type << 4) | subtype) << 24) >>> 0) as number,
  ];
}

function writeDescriptors(host: NvmeTestHost, at: number, descriptors: readonly Descriptor[]): void {
  for (const [i, descriptor] of descriptors.entries()) {
    host.ram.words.set(descriptorWords(descriptor), at / 4 + 4 * i);
  }
}

/** Fills the medium from block 0 on with bytes that tell where they are. */
function fillMedium(
  host: NvmeTestHost,
  io: ReturnType<typeof startedHost>["io"],
  blocks: number,
): Uint8Array {
  const at = host.alloc(blocks * BLOCK);
  const bytes = host.bytes(at, blocks * BLOCK);
  for (let i = 0; i < bytes.length; i++) bytes[i] = ((i * 13) ^ (i >> 9)) & 0xff;
  for (let block = 0; block < blocks; block += 8) {
    const { status } = io.run({
      opcode: IoOpcode.write,
      nsid: 1,
      prp1: host.iova(at + block * BLOCK),
      cdw10: block,
      cdw12: 7,
    });
    if (status !== SUCCESS) throw new Error("the medium can't be filled");
  }
  return bytes.slice();
}

describe("PRPs", () => {
  test("name the same bytes as an independent walker finds, in every layout of lists", () => {
    using started = startedHost();
    const { host, io } = started;
    const medium = fillMedium(host, io, 512);
    const data = host.alloc(128 * PAGE);
    const lists = host.alloc(16 * PAGE);
    const layout = fc.record({
      blocks: fc.integer({ min: 1, max: 512 }),
      firstOffset: fc.integer({ min: 0, max: PAGE / 4 - 1 }).map((word) => word * 4),
      // Entries before the first list page's end: chains begin early or late.
      listEntries: fc.oneof(fc.integer({ min: 2, max: 8 }), fc.constant(PAGE / 8)),
      pages: fc.uniqueArray(fc.nat(127), { minLength: 66, maxLength: 66 }),
    });
    fc.assert(
      fc.property(layout, ({ blocks, firstOffset, listEntries, pages }) => {
        const length = blocks * BLOCK;
        host.bytes(data, 128 * PAGE).fill(0);
        const address = (i: number): number => host.iova(data + (pages[i] ?? 0) * PAGE);
        const prp1 = address(0) + firstOffset;
        let left = Math.ceil((length - (PAGE - firstOffset)) / PAGE);
        let prp2 = 0;
        if (left === 1) prp2 = address(1);
        else if (left > 1) {
          let at = lists + PAGE - listEntries * 8;
          let list = 0;
          prp2 = host.iova(at);
          for (let i = 1; left > 0; i++, left--) {
            if ((at + 8) % PAGE === 0 && left > 1) {
              list++;
              const next = lists + list * PAGE;
              host.ram.words.set([host.iova(next) % 2 ** 32, 1], at / 4);
              at = next;
            }
            host.ram.words.set([address(i) % 2 ** 32, 1], at / 4);
            at += 8;
          }
        }
        const { status } = io.run({ opcode: IoOpcode.read, nsid: 1, prp1, prp2, cdw12: blocks - 1 });
        expect(status).toBe(SUCCESS);
        const expected = new Uint8Array(128 * PAGE);
        let from = 0;
        const { chunks } = walkPrps(BigInt(prp1), BigInt(prp2), length, PAGE, (entry) => {
          const word = Number(entry - BigInt(MEMORY_AT)) / 4;
          return (BigInt(host.ram.words[word + 1] ?? 0) << 32n) | BigInt(host.ram.words[word] ?? 0);
        });
        for (const { address: to, length: count } of chunks) {
          expected.set(medium.subarray(from, from + count), Number(to) - MEMORY_AT - data);
          from += count;
        }
        // Exactly these bytes, and none beside them.
        expect(Buffer.compare(host.bytes(data, 128 * PAGE), expected)).toBe(0);
      }),
      { numRuns: 150 },
    );
  });

  test("end with the transfer, or are refused, if a chain leads to itself", () => {
    using started = startedHost();
    const { host, io } = started;
    const list = host.alloc(PAGE);
    // The only entry of the first page is its link, to where it stands itself: not a page's beginning.
    const last = list + PAGE - 8;
    host.ram.words.set([host.iova(last) % 2 ** 32, 1], last / 4);
    const command = { opcode: IoOpcode.read, nsid: 1, prp1: MEMORY_AT + (4 << 20), cdw12: 2047 };
    expect(io.run({ ...command, prp2: host.iova(last) }).status).toBe(NvmeStatus.prpOffsetInvalid);
    // A page whose every entry, the link among them, is itself.
    for (let word = 0; word < PAGE / 4; word += 2) {
      host.ram.words.set([host.iova(list) % 2 ** 32, 1], list / 4 + word);
    }
    expect(io.run({ ...command, cdw12: 15, prp2: host.iova(list) }).status).toBe(SUCCESS);
  });

  test("fail the command if any page in the list isn't mapped", () => {
    using started = startedHost();
    const { host, io } = started;
    const data = host.alloc(8 * PAGE);
    const list = host.alloc(PAGE);
    for (let bad = 0; bad < 7; bad++) {
      for (let i = 0; i < 7; i++) {
        host.ram.words.set(
          [host.iova(data + (i + 1) * PAGE) % 2 ** 32, i === bad ? 0x7fff_0000 : 1],
          list / 4 + 2 * i,
        );
      }
      const { status } = io.run({
        opcode: IoOpcode.read,
        nsid: 1,
        prp1: host.iova(data),
        prp2: host.iova(list),
        cdw12: 63,
      });
      expect(status).toBe(NvmeStatus.dataTransferError);
    }
  });

  test("have no list for a transfer of one memory page of 64 KiB", () => {
    using started = startedHost();
    const { host } = started;
    host.write32(0x14, 0);
    host.freeAll();
    host.alloc(65536);
    const sq = host.alloc(65536);
    host.enableAt(sq, host.alloc(65536), 4 << 7);
    const io = host.createIoAt(1, 16, host.alloc(65536), host.alloc(65536));
    const data = host.alloc(65536);
    expect(io.run({ opcode: IoOpcode.read, nsid: 1, prp1: host.iova(data), cdw12: 127 }).status).toBe(
      SUCCESS,
    );
    expect(
      io.run({ opcode: IoOpcode.read, nsid: 1, prp1: host.iova(data), prp2: host.iova(PAGE), cdw12: 128 })
        .status,
    ).toBe(NvmeStatus.prpOffsetInvalid);
  });
});

describe("SGLs", () => {
  test("name the right bytes, however they are cut and chained, and bit buckets skip theirs", () => {
    using started = startedHost();
    const { host, io } = started;
    const medium = fillMedium(host, io, 128);
    const data = host.alloc(32 * PAGE);
    const segments = host.alloc(16 * PAGE);
    const piece = fc.record({
      bytes: fc.integer({ min: 1, max: 9000 }),
      gap: fc.nat(100),
      bucket: fc.boolean(),
    });
    const plan = fc.record({
      blocks: fc.integer({ min: 1, max: 128 }),
      pieces: fc.array(piece, { minLength: 1, maxLength: 30 }),
      perSegment: fc.integer({ min: 2, max: 9 }),
    });
    fc.assert(
      fc.property(plan, ({ blocks, pieces, perSegment }) => {
        const length = blocks * BLOCK;
        host.bytes(data, 32 * PAGE).fill(0);
        const expected = new Uint8Array(32 * PAGE);
        const descriptors: Descriptor[] = [];
        let from = 0;
        let to = 0;
        for (const { bytes, gap, bucket } of [...pieces, { bytes: length, gap: 0, bucket: true }]) {
          const count = Math.min(bytes, length - from);
          if (count === 0) break;
          if (bucket || to + gap + count > 32 * PAGE) descriptors.push([0, count, BUCKET]);
          else {
            to += gap;
            descriptors.push([host.iova(data + to), count, DATA]);
            expected.set(medium.subarray(from, from + count), to);
            to += count;
          }
          from += count;
        }
        // Cut into segments, each but the last ending with a link to the next.
        const groups: Descriptor[][] = [];
        for (let i = 0; i < descriptors.length; i += perSegment)
          groups.push(descriptors.slice(i, i + perSegment));
        const at = (i: number): number => segments + i * 512;
        const link = (i: number): Descriptor => {
          const isLast = i === groups.length - 1;
          return [
            host.iova(at(i)),
            ((groups[i]?.length ?? 0) + (isLast ? 0 : 1)) * 16,
            isLast ? LAST : SEGMENT,
          ];
        };
        for (const [i, group] of groups.entries()) {
          writeDescriptors(host, at(i), i === groups.length - 1 ? group : [...group, link(i + 1)]);
        }
        const dptr = descriptorWords(link(0));
        const { status } = io.run({
          opcode: IoOpcode.read,
          flags: PSDT_SGL,
          nsid: 1,
          dptr,
          cdw12: blocks - 1,
        });
        expect(status).toBe(SUCCESS);
        expect(Buffer.compare(host.bytes(data, 32 * PAGE), expected)).toBe(0);
      }),
      { numRuns: 150 },
    );
  });

  test("can be one data block of any alignment, in both directions", () => {
    using started = startedHost();
    const { host, io } = started;
    const at = host.alloc(PAGE) + 3;
    host.bytes(at, 512).fill(0x5a);
    const dptr = descriptorWords([host.iova(at), 512, DATA]);
    expect(io.run({ opcode: IoOpcode.write, flags: PSDT_SGL, nsid: 1, dptr, cdw10: 9 }).status).toBe(SUCCESS);
    host.bytes(at, 512).fill(0);
    // Longer than the data: the rest is left alone.
    const longer = descriptorWords([host.iova(at), 700, DATA]);
    host.bytes(at + 512, 100).fill(1);
    expect(io.run({ opcode: IoOpcode.read, flags: PSDT_SGL, nsid: 1, dptr: longer, cdw10: 9 }).status).toBe(
      SUCCESS,
    );
    expect(host.bytes(at, 512).every((byte) => byte === 0x5a)).toBe(true);
    expect(host.bytes(at + 512, 100).every((byte) => byte === 1)).toBe(true);
  });

  const AT = MEMORY_AT + (4 << 20);
  test.each<[string, Descriptor, readonly Descriptor[], number]>([
    ["too short", [AT, 511, DATA], [], NvmeStatus.dataSglLengthInvalid],
    ["of an unknown type", [AT, 512, 5], [], NvmeStatus.sglDescriptorTypeInvalid],
    ["of an unknown subtype", [AT, 512, DATA, 1], [], NvmeStatus.sglDescriptorTypeInvalid],
    ["outside the memory", [0x70_0000_0000, 512, DATA], [], NvmeStatus.dataTransferError],
    ["reaching beyond it", [MEMORY_AT + (8 << 20) - 100, 512, DATA], [], NvmeStatus.dataTransferError],
    ["with an empty segment", [AT, 0, LAST], [], NvmeStatus.invalidSglSegmentDescriptor],
    ["with a segment of half descriptors", [AT, 24, LAST], [], NvmeStatus.invalidSglSegmentDescriptor],
    ["with a segment outside", [0x70_0000_0000, 16, LAST], [], NvmeStatus.dataTransferError],
    ["with a segment of another kind of address", [AT, 16, LAST, 1], [], NvmeStatus.sglDescriptorTypeInvalid],
    [
      "with a link in the last segment",
      [AT, 16, LAST],
      [[AT, 16, LAST]],
      NvmeStatus.invalidSglSegmentDescriptor,
    ],
    [
      "with a link that isn't at the end",
      [AT, 32, SEGMENT],
      [
        [AT, 16, LAST],
        [AT, 512, DATA],
      ],
      NvmeStatus.invalidSglSegmentDescriptor,
    ],
    ["that just ends", [AT, 16, SEGMENT], [[AT, 512, DATA]], NvmeStatus.invalidSglSegmentDescriptor],
    ["leading to itself", [AT, 16, SEGMENT], [[AT, 16, SEGMENT]], NvmeStatus.invalidNumberOfSglDescriptors],
    ["of very many descriptors", [AT, 16 * 1025, LAST], [], NvmeStatus.invalidNumberOfSglDescriptors],
  ])("are refused: %s", (_, first, rest, status) => {
    using started = startedHost();
    const { host, io } = started;
    writeDescriptors(host, 4 << 20, rest);
    const dptr = descriptorWords(first);
    expect(io.run({ opcode: IoOpcode.read, flags: PSDT_SGL, nsid: 1, dptr }).status).toBe(status);
    expect(io.run({ opcode: IoOpcode.read, nsid: 1, prp1: MEMORY_AT }).status).toBe(SUCCESS);
  });
});
