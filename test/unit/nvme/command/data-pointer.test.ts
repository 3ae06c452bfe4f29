/** Data pointers of commands, PRPs and SGLs, for data in one or several ranges. */
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ArgumentError, ClosedError } from "../../../../src/core/errors.js";
import { Lease } from "../../../../src/core/lifetime/lease.js";
import type { DmaBuffer } from "../../../../src/dma/buffer.js";
import { type Iova, type IovaRange, iova } from "../../../../src/dma/iova/address.js";
import type { DmaMapper } from "../../../../src/dma/mapper.js";
import type { DmaSegment } from "../../../../src/dma/segments.js";
import { DmaSpace } from "../../../../src/dma/space.js";
import type { NvmeCommand } from "../../../../src/nvme/command/command.js";
import {
  checkDataPointers,
  dataListPages,
  writeDataPointers,
} from "../../../../src/nvme/command/data-pointer.js";
import {
  cutData,
  type DataList,
  type DataRange,
  dataBytes,
} from "../../../../src/nvme/command/data-ranges.js";
import { IoOpcode } from "../../../../src/nvme/spec/opcodes.js";
import { joined, walkPrps } from "../../../support/prp-walker.js";
import { type SglChunk, walkSgl } from "../../../support/sgl-walker.js";

const PAGE = 4096;
const MAX_BYTES = 4 * 1024 * 1024;
const UNTOUCHED = 0xdead_beef;
/** Near a multiple of 2^32, which a list may cross. */
const LIST_AT = 2n ** 33n - 4096n;
const NO_ALIGNMENT = 1 | (1 << 16) | (1 << 19);
const DWORDS = 2 | (1 << 16) | (1 << 19);

/** Maps where the test says, and scatters what is at or above {@link SCATTERED_AT}, as if nothing translated. */
const SCATTERED_AT = 1n << 44n;
class PlacingMapper implements DmaMapper {
  readonly name = "placing";
  readonly lease = new Lease("placing mapper", () => {});
  readonly extensions = { physicalSegments };

  iovaRanges(): IovaRange[] {
    return [{ start: iova(0n), last: iova(2n ** 64n - 1n) }];
  }

  alignmentBytes(): number {
    return PAGE;
  }

  map(_address: number, _sizeBytes: number, _access: string, fixed: bigint | undefined): Iova {
    return iova(fixed ?? 0n);
  }

  unmap(): void {}
}

/** Page i is at 3 i, but every fourth follows its predecessor. */
function physicalSegments(_address: number, at: bigint, sizeBytes: number): DmaSegment[] {
  if (at < SCATTERED_AT) return [{ iova: iova(at), sizeBytes }];
  return Array.from({ length: sizeBytes / PAGE }, (_, i) => ({
    iova: iova(at + BigInt((i % 4 === 1 ? 3 * (i - 1) + 1 : 3 * i) * PAGE)),
    sizeBytes: PAGE,
  }));
}

const space = new DmaSpace(new PlacingMapper());
const otherSpace = new DmaSpace(new PlacingMapper());
let buffers: DmaBuffer[];
beforeAll(() => {
  buffers = [
    space.alloc(MAX_BYTES, { iova: 2n ** 32n - BigInt(MAX_BYTES / 2) }),
    // Directly behind the first: adjacent ranges of both are one run.
    space.alloc(MAX_BYTES, { iova: 2n ** 32n + BigInt(MAX_BYTES / 2) }),
    space.alloc(16 * PAGE, { iova: 5n * 2n ** 32n - BigInt(3 * PAGE) }),
    space.alloc(64 * PAGE, { iova: SCATTERED_AT, scattered: true }),
  ];
});
afterAll(() => space.close());

/** The addresses where a controller must find the bytes of a list, from the buffers' own segments. */
function expected(data: DataList): SglChunk[] {
  const chunks: { address: bigint; length: number }[] = [];
  const result: SglChunk[] = [];
  const flush = (): void => {
    result.push(...joined(chunks.splice(0)));
  };
  for (const part of data) {
    if ("bitBucketBytes" in part) {
      flush();
      result.push({ bucket: part.bitBucketBytes });
      continue;
    }
    const offset = part.offset ?? 0;
    let skip = offset;
    let left = part.length ?? part.buffer.sizeBytes - offset;
    for (const { iova: at, sizeBytes } of part.buffer.segments) {
      const length = Math.min(left, sizeBytes - skip);
      if (length > 0) {
        chunks.push({ address: at + BigInt(skip), length });
        left -= length;
      }
      skip = Math.max(0, skip - sizeBytes);
    }
  }
  flush();
  return result;
}

const joinedSgl = (chunks: readonly SglChunk[]): SglChunk[] =>
  chunks.flatMap((chunk, i): SglChunk[] => {
    if ("bucket" in chunk) return [chunk];
    const before = chunks[i - 1];
    if (before !== undefined && !("bucket" in before)) {
      expect(before.address + BigInt(before.length)).not.toBe(chunk.address);
    }
    return [chunk];
  });

interface Walked {
  readonly chunks: SglChunk[];
  readonly metadata: SglChunk[] | undefined;
  readonly psdt: number;
  /** Descriptors of each segment. */
  readonly segments: readonly number[];
}

/** Writes a command's pointers as the queue pair does, and follows them as a controller does. */
function writeAndWalk(command: NvmeCommand, metadataBytes: number): Walked {
  const pages = dataListPages(MAX_BYTES, PAGE);
  const wordsPerPage = PAGE / 4;
  const listWords = pages * wordsPerPage;
  const words = new Uint32Array(listWords + 2 * wordsPerPage).fill(UNTOUCHED);
  const sqe = new Uint32Array(48).fill(UNTOUCHED);
  const slot = 16;
  sqe[slot] = command.opcode;
  sqe[slot + 4] = 0;
  sqe[slot + 5] = 0;
  writeDataPointers(sqe, slot, command, PAGE, {
    words,
    at: wordsPerPage,
    iovaLow: Number(LIST_AT % 2n ** 32n),
    iovaHigh: Number(LIST_AT / 2n ** 32n),
  });
  const wide = (memory: Uint32Array, at: number): bigint => {
    const [low, high] = [memory[at], memory[at + 1]];
    if (low === undefined || high === undefined) throw new Error(`nothing at word ${at}`);
    return BigInt(low) | (BigInt(high) << 32n);
  };
  const read = (address: bigint): bigint => {
    const word = Number(address - LIST_AT) / 4;
    if (word < 0 || word >= listWords) throw new Error(`the walk left the list: 0x${address.toString(16)}`);
    return wide(words, wordsPerPage + word);
  };
  // The entries beside it and other slots' lists are unchanged.
  expect([...sqe.subarray(0, slot), ...sqe.subarray(slot + 10)].every((w) => w === UNTOUCHED)).toBe(true);
  expect(words.subarray(0, wordsPerPage).every((w) => w === UNTOUCHED)).toBe(true);
  expect(words.subarray(wordsPerPage + listWords).every((w) => w === UNTOUCHED)).toBe(true);
  const psdt = ((sqe[slot] ?? 0) >>> 14) & 3;
  const mptr = wide(sqe, slot + 4);
  const { data } = command;
  if (data === undefined) throw new Error("every command here has data");
  if (psdt === 0) {
    const { chunks } = walkPrps(wide(sqe, slot + 6), wide(sqe, slot + 8), dataBytes(data), PAGE, read);
    const metadata =
      metadataBytes === 0 ? undefined : [{ address: mptr, length: metadataBytes } satisfies SglChunk];
    return { chunks: joined(chunks), metadata, psdt, segments: [] };
  }
  const walked = walkSgl([wide(sqe, slot + 6), wide(sqe, slot + 8)], read);
  let metadata: SglChunk[] | undefined;
  if (psdt === 2) metadata = [...walkSgl([read(mptr), read(mptr + 8n)], read).chunks];
  else if (metadataBytes > 0) metadata = [{ address: mptr, length: metadataBytes }];
  return {
    chunks: joinedSgl(walked.chunks),
    metadata,
    psdt,
    segments: walked.segments.map(({ descriptors }) => descriptors),
  };
}

const rangeOf = (aligned: boolean): fc.Arbitrary<DataRange> =>
  fc
    .record({
      which: fc.nat({ max: 3 }),
      at: fc.nat({ max: 2 ** 30 }),
      length: fc.integer({ min: 1, max: 3 * PAGE }),
      fine: aligned ? fc.constant(0) : fc.constantFrom(0, 0, 1, 4, 512, PAGE - 4),
    })
    .map(({ which, at, length, fine }) => {
      const buffer = buffers[which];
      if (buffer === undefined) throw new Error("no such buffer");
      const page = (at % (buffer.sizeBytes / PAGE)) * PAGE;
      const offset = Math.min(page + fine, buffer.sizeBytes - 1);
      const wanted = aligned ? Math.ceil(length / PAGE) * PAGE : length;
      return { buffer, offset, length: Math.min(wanted, buffer.sizeBytes - offset) };
    });
const bucket = fc.integer({ min: 1, max: 2 ** 14 }).map((bitBucketBytes) => ({ bitBucketBytes }));

/** Whether SGLs are requested, and how long their segments may be. */
const sglOption = fc.oneof(
  fc.boolean(),
  fc.integer({ min: 2, max: 300 }).map((segmentDescriptors) => ({ segmentDescriptors })),
  fc.integer({ min: 2, max: 8 }).map((segmentDescriptors) => ({ segmentDescriptors })),
);

/** The rule of the specification: all ranges but the first start, and all but the last end, at a page. */
function prpsCan(chunks: readonly SglChunk[]): boolean {
  return chunks.every((chunk, i) => {
    if ("bucket" in chunk) return false;
    const first = i === 0 ? chunk.address % 4n === 0n : chunk.address % BigInt(PAGE) === 0n;
    const end = chunk.address + BigInt(chunk.length);
    return first && (i === chunks.length - 1 || end % BigInt(PAGE) === 0n);
  });
}

const rules = (sgls: number) => ({ space, maxTransferBytes: MAX_BYTES, pageBytes: PAGE, sgls });

function fits(command: NvmeCommand, sgls: number): boolean {
  try {
    checkDataPointers(command, rules(sgls));
    return true;
  } catch (error) {
    expect(error).toBeInstanceOf(ArgumentError);
    return false;
  }
}

describe("data in several ranges", () => {
  test("leads a controller to exactly the caller's bytes in order, whatever the ranges", () => {
    let [prps, sgls, chained, long] = [0, 0, 0, 0];
    const parts = fc.oneof(
      fc.array(rangeOf(true), { minLength: 1, maxLength: 60 }),
      fc.array(fc.oneof({ weight: 5, arbitrary: rangeOf(false) }, { weight: 1, arbitrary: bucket }), {
        minLength: 1,
        maxLength: 40,
      }),
      // More descriptors than fit into a page of the list.
      fc.array(rangeOf(false), { minLength: 300, maxLength: 700, size: "max" }),
    );
    fc.assert(
      fc.property(parts, sglOption, (data, sgl) => {
        const command: NvmeCommand = { opcode: IoOpcode.read, data, sgl };
        const forced = sgl !== false;
        const most = typeof sgl === "object" ? (sgl.segmentDescriptors ?? 0) : undefined;
        const should = expected(data);
        if (dataBytes(data) > MAX_BYTES) {
          expect(fits(command, NO_ALIGNMENT)).toBe(false);
          return;
        }
        if (!fits(command, NO_ALIGNMENT)) {
          // Too many for the list, including the links between segments.
          const links = most === undefined ? 1 : Math.ceil((should.length - most) / (most - 1));
          expect(should.length + links).toBeGreaterThan(768);
          return;
        }
        const walked = writeAndWalk(command, 0);
        expect(walked.chunks).toEqual(should);
        expect(walked.psdt === 0).toBe(!forced && prpsCan(should));
        expect(fits(command, 0)).toBe(walked.psdt === 0);
        if (walked.psdt === 0) prps++;
        else sgls++;
        if (most === undefined) expect(walked.segments.length).toBeLessThanOrEqual(2);
        else {
          // All segments are full except the last.
          expect(walked.segments.slice(0, -1).every((count) => count === most)).toBe(true);
          expect(walked.segments.at(-1) ?? 0).toBeLessThanOrEqual(most);
        }
        if (walked.segments.length > 1) chained++;
        if (walked.segments.length > 20) long++;
      }),
      { numRuns: 600 },
    );
    // Every kind of pointer occurred.
    expect(Math.min(prps, sgls, chained, long)).toBeGreaterThan(20);
  });

  test("has its metadata beside it, by address or by its own SGL", () => {
    const kinds = new Set<number>();
    const one = fc.array(rangeOf(false), { minLength: 1, maxLength: 1 });
    const many = fc.array(rangeOf(false), { minLength: 1, maxLength: 300, size: "max" });
    fc.assert(
      fc.property(
        fc.oneof(one, many),
        fc.array(rangeOf(false), { minLength: 1, maxLength: 300, size: "max" }),
        fc.boolean(),
        sglOption,
        (data, several, one, sgl) => {
          const [first] = several;
          if (first === undefined || dataBytes(data) > MAX_BYTES) return;
          const metadata = one ? first : several;
          const command: NvmeCommand = { opcode: IoOpcode.write, data, metadata, sgl };
          if (!fits(command, NO_ALIGNMENT)) {
            // At most a link for each.
            expect(expected(data).length + expected(several).length).toBeGreaterThan(380);
            return;
          }
          const walked = writeAndWalk(command, one ? dataBytes(metadata) : dataBytes(several));
          expect(walked.chunks).toEqual(expected(data));
          expect(walked.metadata).toEqual(expected(one ? [first] : several));
          kinds.add(walked.psdt);
        },
      ),
      { numRuns: 400 },
    );
    expect([...kinds].sort()).toEqual([0, 1, 2]);
  });

  test("is cut into parts of the same bytes", () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(rangeOf(false), bucket), { minLength: 1, maxLength: 8 }),
        fc.array(fc.integer({ min: 1, max: 9000 }), { minLength: 1, maxLength: 10 }),
        (data, cuts) => {
          const total = dataBytes(data);
          const pieces: DataList[number][] = [];
          let at = 0;
          for (const cut of [...cuts, total]) {
            const length = Math.min(cut, total - at);
            if (length === 0) break;
            const piece = cutData(data, at, length);
            expect(dataBytes(piece)).toBe(length);
            pieces.push(...("buffer" in piece ? [piece] : piece));
            at += length;
          }
          const sizes = (chunks: SglChunk[]) => chunks.map((c) => ("bucket" in c ? c.bucket : c.length));
          if (data.every((part) => "buffer" in part)) expect(expected(pieces)).toEqual(expected(data));
          else expect(sum(sizes(expected(pieces)))).toBe(sum(sizes(expected(data))));
        },
      ),
    );
  });
});

const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0);

describe("checkDataPointers()", () => {
  const [read, write] = [IoOpcode.read, IoOpcode.write];
  const check = (command: NvmeCommand, sgls: number) => () => checkDataPointers(command, rules(sgls));
  const at = (which: number, offset: number, length: number) => {
    const buffer = buffers[which];
    if (buffer === undefined) throw new Error("no such buffer");
    return { buffer, offset, length };
  };

  test("rejects ranges that PRPs can't express if there are no SGLs", () => {
    const data = [at(0, 0, 512), at(1, 0, 512)];
    expect(check({ opcode: read, data }, 0)).toThrow(/PRPs can't describe these ranges/);
    expect(check({ opcode: read, data }, NO_ALIGNMENT)).not.toThrow();
    expect(check({ opcode: read, data: [at(0, 0, PAGE), at(2, 0, 512)] }, 0)).not.toThrow();
    expect(check({ opcode: read, data: at(0, 0, 512), sgl: true }, 0)).toThrow("doesn't support SGLs");
    const metadata = [at(0, 0, 8), at(2, 0, 8)];
    expect(check({ opcode: read, data: at(1, 0, 512), metadata }, 0)).toThrow("doesn't support SGLs");
  });

  test("rejects what this controller's SGLs don't support", () => {
    expect(check({ opcode: read, data: [at(0, 2, 510), at(1, 0, 2)] }, DWORDS)).toThrow("multiples of 4");
    expect(check({ opcode: read, data: [at(0, 0, 512), { bitBucketBytes: 512 }] }, 1)).toThrow("bit buckets");
    expect(check({ opcode: read, data: at(0, 0, 512), metadata: [at(0, 0, 8), at(2, 0, 8)] }, 1)).toThrow(
      "in one range",
    );
    expect(check({ opcode: write, data: [at(0, 0, 512), { bitBucketBytes: 512 }] }, NO_ALIGNMENT)).toThrow(
      "only commands that read",
    );
  });

  test("rejects empty lists, ranges outside their buffer, foreign and closed buffers, and too many bytes", () => {
    using foreign = otherSpace.alloc(PAGE, { iova: 0n });
    const closed = space.alloc(PAGE, { iova: 2n ** 40n });
    closed.close();
    const refused: DataList[] = [
      [],
      [at(2, 15 * PAGE, 2 * PAGE)],
      [at(2, -4, 512)],
      [at(2, 0, 0)],
      [at(2, 0, 0.5)],
      [{ buffer: foreign }],
      [at(0, 0, MAX_BYTES), at(2, 0, 4)],
      [{ bitBucketBytes: 0 }],
      [{ bitBucketBytes: MAX_BYTES + 1 }],
    ];
    for (const data of refused) {
      expect(check({ opcode: read, data }, NO_ALIGNMENT)).toThrow(ArgumentError);
    }
    expect(check({ opcode: read, data: { buffer: closed } }, 0)).toThrow(ClosedError);
    expect(check({ opcode: read, data: [{ buffer: closed }] }, 0)).toThrow(ClosedError);
    expect(check({ opcode: read, data: at(0, 2, 510) }, NO_ALIGNMENT)).toThrow("multiple of 4");
    for (const segmentDescriptors of [1, 0, -1, 2.5, Number.NaN, 65536])
      expect(check({ opcode: read, data: at(0, 0, 512), sgl: { segmentDescriptors } }, NO_ALIGNMENT)).toThrow(
        "sgl.segmentDescriptors",
      );
  });

  test("rejects more pieces than one command's list has room for", () => {
    const data = Array.from({ length: 800 }, (_, i) => at(0, i * 16, 8));
    expect(check({ opcode: read, data }, NO_ALIGNMENT)).toThrow(/need \d+ SGL descriptors/);
  });
});
