/** Commands of the NVM command set: reads, boundaries, data pointers, and what changes data. */
import { randomBytes } from "node:crypto";
import { IovaError } from "../../../../core/errors.js";
import type { DmaBuffer } from "../../../../dma/buffer.js";
import { decodeBits, Oncs, Sgls, Vwc } from "../../../../nvme/spec/capabilities.js";
import { BROADCAST_NSID, IoOpcode } from "../../../../nvme/spec/opcodes.js";
import { ControllerConfig, ControllerStatus, NvmeRegister } from "../../../../nvme/spec/registers.js";
import { NvmeStatus } from "../../../../nvme/spec/status.js";
import type { Blocks, ConformBench, Fields } from "../bench.js";
import { subjectOf } from "../check.js";
import { expect, NotApplicable, needs } from "../findings.js";
import { byPrps, bySgl, type Shape, sglHalf } from "./shapes.js";

const READ = "NVM: Read command";
const WRITE = "NVM: Write command";
const PRP = "Base: Physical Region Page Entry and List";
const SGL = "Base: Scatter Gather List";
const { read, write, flush, compare, verify, writeZeroes, datasetManagement, writeUncorrectable } = IoOpcode;
const { lbaOutOfRange, invalidField, invalidNamespace, invalidOpcode, prpOffsetInvalid } = NvmeStatus;
const FUA = 1 << 30;
const LIMITED_RETRY = 2 ** 31;
const MASK = 0xffff_ffffn;

/** CDW10 to CDW12 of a command for a range of blocks. */
function range(lba: bigint, count: number, control = 0): number[] {
  return [Number(lba & MASK), Number((lba >> 32n) & MASK), ((count - 1) | control) >>> 0];
}

/** A command for blocks from `lba` on, with its data in this shape. */
async function transfer(
  bench: ConformBench,
  opcode: number,
  lba: bigint,
  count: number,
  shape: Partial<Shape>,
  control = 0,
): Promise<void> {
  const { nsid } = await bench.blocks();
  await bench.ok(await bench.io(), { ...shape, opcode, nsid, cdw: range(lba, count, control) });
}

/** Reads blocks page by page, which is the plainest way. */
async function plainRead(bench: ConformBench, lba: bigint, count: number): Promise<Uint8Array> {
  const { blockBytes } = await bench.blocks();
  const atOnce = Math.max(1, 4096 / blockBytes);
  const parts: Uint8Array[] = [];
  for (let done = 0; done < count; done += atOnce) {
    const blocks = Math.min(atOnce, count - done);
    const shape = byPrps(bench, blocks * blockBytes, {});
    await transfer(bench, read, lba + BigInt(done), blocks, shape);
    parts.push(shape.read());
  }
  return Buffer.concat(parts);
}

/** Blocks that a shape of several pages needs. @throws NotApplicable if no command carries or no namespace has them */
async function blocksFor(bench: ConformBench, bytes: number): Promise<Blocks & { readonly count: number }> {
  const found = await bench.blocks();
  const count = Math.ceil(bytes / found.blockBytes);
  const most = await bench.maxTransferBytes();
  needs(count * found.blockBytes <= most, `a command carries ${most} bytes at most`);
  needs(BigInt(count) <= found.sizeBlocks, `the namespace has ${found.sizeBlocks} blocks`);
  return { ...found, count };
}

/** A check that a shape's data are those of plain reads. */
const shaped = (
  what: string,
  section: string,
  bytes: (page: number) => number,
  shape: (bench: ConformBench, bytes: number) => Shape | Promise<Shape>,
) =>
  [
    `a read by ${what} has the right data`,
    section,
    async (bench: ConformBench) => {
      const { count, blockBytes } = await blocksFor(bench, bytes(bench.cap.minPageBytes));
      const found = await shape(bench, count * blockBytes);
      found.write(randomBytes(count * blockBytes));
      await transfer(bench, read, 0n, count, found);
      const wanted = await plainRead(bench, 0n, count);
      const at = found.read().findIndex((byte, i) => byte !== wanted[i]);
      expect(at < 0, `byte ${at} differs`);
    },
  ] as const;

/** The highest memory below 2^48. @throws NotApplicable if the address space has none above 4 GiB, or leaves no choice */
function above4GiB(bench: ConformBench, bytes: number): DmaBuffer {
  for (let bit = 47n; bit >= 32n; bit--) {
    try {
      return bench.alloc(bytes, { iova: 1n << bit });
    } catch (error) {
      if (!(error instanceof IovaError)) throw error;
    }
  }
  throw new NotApplicable("the address space has nothing there that can be chosen");
}

/** @throws NotApplicable unless Identify Controller has SGLs */
async function sgls(bench: ConformBench) {
  const found = decodeBits((await bench.controller()).sgls, Sgls);
  needs(Number(found.support) > 0, "there are no SGLs (SGLS)");
  return found;
}

/** A check of a read that must be refused. */
const refused = (
  what: string,
  fields: (bench: ConformBench, blocks: Blocks) => Promise<Partial<Fields>> | Partial<Fields>,
  ...expected: readonly number[]
) =>
  [
    `a read ${what} is refused`,
    READ,
    async (bench: ConformBench) => {
      const blocks = await bench.blocks();
      const plain = { opcode: read, nsid: blocks.nsid, data: bench.alloc(16_384), cdw: range(0n, 1) };
      await bench.fails(await bench.io(), { ...plain, ...(await fields(bench, blocks)) }, ...expected);
    },
  ] as const;

async function optional(bench: ConformBench, name: keyof typeof Oncs): Promise<void> {
  needs(decodeBits((await bench.controller()).oncs, Oncs)[name] === true, `there is no such command (ONCS)`);
}

/** Writes random blocks by a shape. @returns what was written */
async function scribble(bench: ConformBench, lba: bigint, count: number): Promise<Uint8Array> {
  const { blockBytes } = await bench.blocks();
  const bytes = randomBytes(count * blockBytes);
  const shape = byPrps(bench, bytes.length, {});
  shape.write(bytes);
  await transfer(bench, write, lba, count, shape);
  return bytes;
}

async function expectBlocks(bench: ConformBench, lba: bigint, bytes: Uint8Array): Promise<void> {
  const { blockBytes } = await bench.blocks();
  const found = await plainRead(bench, lba, bytes.length / blockBytes);
  const at = found.findIndex((byte, i) => byte !== bytes[i]);
  expect(at < 0, `byte ${at} isn't what was written`);
}

export const io = subjectOf(
  "I/O commands",
  [
    [
      "a read of a block writes all of it",
      READ,
      async (bench) => {
        const { blockBytes } = await bench.blocks();
        const shapes = [byPrps(bench, blockBytes, {}), byPrps(bench, blockBytes, {})] as const;
        for (const [i, shape] of shapes.entries()) {
          shape.write(new Uint8Array(blockBytes).fill(i === 0 ? 0x55 : 0xaa));
          await transfer(bench, read, 0n, 1, shape);
        }
        const at = shapes[0].read().findIndex((byte, i) => byte !== shapes[1].read()[i]);
        expect(at < 0, `byte ${at} differs in two reads`);
      },
    ],
    [
      "Compare finds what Read has read, and finds a difference",
      "NVM: Compare command",
      async (bench) => {
        await optional(bench, "compare");
        const { blockBytes, nsid } = await bench.blocks();
        const shape = byPrps(bench, blockBytes, {});
        await transfer(bench, read, 0n, 1, shape);
        await transfer(bench, compare, 0n, 1, shape);
        const other = shape.read();
        other[blockBytes - 1] = (other[blockBytes - 1] ?? 0) ^ 1;
        shape.write(other);
        const fields = { ...shape, opcode: compare, nsid, cdw: range(0n, 1) };
        await bench.fails(await bench.io(), fields, NvmeStatus.compareFailure);
      },
    ],
    [
      "Flush succeeds",
      "Base: Flush command",
      async (bench) => {
        const { nsid } = await bench.blocks();
        await bench.ok(await bench.io(), { opcode: flush, nsid });
      },
    ],
    [
      "Flush of all namespaces succeeds if VWC says so",
      "Base: Flush command",
      async (bench) => {
        await bench.blocks();
        needs(
          Number(decodeBits((await bench.controller()).vwc, Vwc).flushBehavior) === 3,
          "VWC doesn't say so",
        );
        await bench.ok(await bench.io(), { opcode: flush, nsid: BROADCAST_NSID });
      },
    ],
    [
      "Verify succeeds",
      "NVM: Verify command",
      async (bench) => {
        await optional(bench, "verify");
        await transfer(bench, verify, 0n, 1, {});
      },
    ],
    [
      "a read with FUA and one with Limited Retry succeed",
      READ,
      async (bench) => {
        const { blockBytes } = await bench.blocks();
        for (const control of [FUA, LIMITED_RETRY])
          await transfer(bench, read, 0n, 1, byPrps(bench, blockBytes, {}), control);
      },
    ],
    [
      "the last block can be read",
      READ,
      async (bench) => {
        const { blockBytes, sizeBlocks } = await bench.blocks();
        await transfer(bench, read, sizeBlocks - 1n, 1, byPrps(bench, blockBytes, {}));
      },
    ],
    [
      "fifteen reads at once have the data of reads one by one",
      READ,
      async (bench) => {
        const { blockBytes, nsid } = await bench.blocks();
        const queue = await bench.io();
        const shapes = Array.from({ length: 15 }, () => byPrps(bench, blockBytes, {}));
        const cids = shapes.map((shape, i) =>
          bench.post(queue, { ...shape, opcode: read, nsid, cdw: range(BigInt(i), 1) }),
        );
        queue.sq.ringDoorbell();
        const failed: number[] = [];
        await bench.until("fifteen completions", () => {
          for (let each = bench.take(queue); each !== undefined; each = bench.take(queue))
            if (each.status !== 0) failed.push(each.status);
          bench.status();
          return cids.every((cid) => !queue.outstanding.has(cid));
        });
        expect(failed.length === 0, `${failed.length} failed`);
        const wanted = await plainRead(bench, 0n, 15);
        expect(Buffer.concat(shapes.map((shape) => shape.read())).equals(wanted), "data differ");
      },
    ],
    [
      "a read of MDTS succeeds",
      "Base: Identify Controller, MDTS",
      async (bench) => {
        const bytes = await bench.maxTransferBytes();
        const { count } = await blocksFor(bench, bytes);
        needs(count <= 65_536, "a command names 65,536 blocks at most");
        await transfer(bench, read, 0n, count, byPrps(bench, bytes, {}));
        return `${bytes} bytes`;
      },
    ],
    refused(
      "of a block more than MDTS",
      async (bench, { blockBytes, sizeBlocks }) => {
        const { mdts } = await bench.controller();
        const count = (2 ** mdts * bench.cap.minPageBytes) / blockBytes + 1;
        needs(mdts > 0 && count <= 65_536 && BigInt(count) <= sizeBlocks, "no command is too long");
        return { cdw: range(0n, count) };
      },
      invalidField,
    ),
    refused("beyond the last block", (_, { sizeBlocks }) => ({ cdw: range(sizeBlocks, 1) }), lbaOutOfRange),
    refused("over the end", (_, { sizeBlocks }) => ({ cdw: range(sizeBlocks - 1n, 2) }), lbaOutOfRange),
    refused("of block 2^64 - 1", () => ({ cdw: range(2n ** 64n - 1n, 2) }), lbaOutOfRange),
    refused("of namespace 0", () => ({ nsid: 0 }), invalidNamespace),
    refused("of a namespace that there can't be", () => ({ nsid: 0xffff_fff0 }), invalidNamespace),
    refused("of all namespaces", () => ({ nsid: BROADCAST_NSID }), invalidNamespace, invalidField),
    refused("with an unknown opcode", () => ({ opcode: 0x7f }), invalidOpcode),
    refused(
      "whose PRP2 doesn't start at a page",
      async (bench) => {
        const { count } = await blocksFor(bench, 2 * bench.cap.minPageBytes);
        return { prp2: bench.alloc(8192).iova + 512n, cdw: range(0n, count) };
      },
      prpOffsetInvalid,
    ),
    refused(
      "with a page in its PRP list that doesn't start at a page",
      async (bench) => {
        const { count } = await blocksFor(bench, 3 * bench.cap.minPageBytes);
        const list = bench.alloc(4096);
        const page = bench.alloc(8192).iova;
        new BigUint64Array(list.bytes.buffer, list.bytes.byteOffset, 2).set([page, page + 512n]);
        return { prp2: list.iova, cdw: range(0n, count) };
      },
      prpOffsetInvalid,
    ),
    shaped(
      "a page",
      PRP,
      (page) => page,
      (bench, bytes) => byPrps(bench, bytes, {}),
    ),
    shaped(
      "a block at the end of a page",
      PRP,
      () => 1,
      (bench, bytes) => byPrps(bench, bytes, { offset: Math.max(0, bench.cap.minPageBytes - bytes) }),
    ),
    shaped(
      "PRP1 with an offset of 4, and PRP2",
      PRP,
      () => 4096,
      (bench, bytes) => byPrps(bench, bytes, { offset: 4 }),
    ),
    shaped(
      "two pages",
      PRP,
      (page) => 2 * page,
      (bench, bytes) => byPrps(bench, bytes, {}),
    ),
    shaped(
      "a PRP list of falling addresses",
      PRP,
      (page) => 6 * page,
      (bench, bytes) => byPrps(bench, bytes, { isReversed: true }),
    ),
    shaped(
      "PRP1 with an offset, and a PRP list within a page",
      PRP,
      (page) => 5 * page,
      (bench, bytes) => byPrps(bench, bytes, { offset: 1024, listAt: 128 }),
    ),
    shaped(
      "a PRP list that ends at the end of its page",
      PRP,
      (page) => 4 * page,
      (bench, bytes) => byPrps(bench, bytes, { listAt: bench.cap.minPageBytes - 24 }),
    ),
    shaped(
      "a PRP list that goes on in another page",
      PRP,
      (page) => 6 * page,
      (bench, bytes) => byPrps(bench, bytes, { listAt: bench.cap.minPageBytes - 24 }),
    ),
    shaped(
      "an address above 4 GiB",
      PRP,
      (page) => page,
      (bench, bytes) => {
        const memory = above4GiB(bench, bytes);
        const whole = byPrps(bench, bytes, {});
        return {
          ...whole,
          prp1: memory.iova,
          prp2: 0n,
          read: () => memory.bytes.slice(),
          write: (data) => memory.write(data),
        };
      },
    ),
    shaped(
      "an SGL data block",
      SGL,
      () => 4096,
      async (bench, bytes) => {
        await sgls(bench);
        return bySgl(bench, [bytes]);
      },
    ),
    shaped(
      "an SGL segment of three data blocks",
      SGL,
      () => 4096,
      async (bench, bytes) => {
        await sgls(bench);
        return bySgl(bench, [4, 508, bytes - 512]);
      },
    ),
    shaped(
      "an SGL of two segments",
      SGL,
      () => 4096,
      async (bench, bytes) => {
        await sgls(bench);
        return bySgl(bench, [1024, 512, bytes - 1536], true);
      },
    ),
    shaped(
      "an SGL of single bytes",
      SGL,
      () => 512,
      async (bench, bytes) => {
        needs(Number((await sgls(bench)).support) === 1, "SGLs need dwords (SGLS)");
        return bySgl(bench, [1, 3, bytes - 4]);
      },
    ),
    [
      "an SGL that is too short is refused",
      SGL,
      async (bench) => {
        await sgls(bench);
        const { nsid, blockBytes } = await bench.blocks();
        const shape = { ...bySgl(bench, [blockBytes]), prp2: sglHalf(blockBytes / 2, 0n) };
        const fields = { ...shape, opcode: read, nsid, cdw: range(0n, 1) };
        await bench.fails(await bench.io(), fields, NvmeStatus.dataSglLengthInvalid);
      },
    ],
  ],
  [
    [
      "Write and Read have the same data, through each shape",
      WRITE,
      async (bench) => {
        const { count, blockBytes } = await blocksFor(bench, 6 * bench.cap.minPageBytes);
        const end = bench.cap.minPageBytes - 24;
        for (const options of [
          {},
          { offset: 4 },
          { isReversed: true },
          { listAt: end },
          { offset: 512, listAt: end },
        ]) {
          const bytes = randomBytes(count * blockBytes);
          const shape = byPrps(bench, bytes.length, options);
          shape.write(bytes);
          await transfer(bench, write, 0n, count, shape);
          await expectBlocks(bench, 0n, bytes);
        }
      },
    ],
    [
      "Write by an SGL",
      WRITE,
      async (bench) => {
        await sgls(bench);
        const { count, blockBytes } = await blocksFor(bench, 4096);
        const bytes = randomBytes(count * blockBytes);
        const shape = bySgl(bench, [1024, 512, bytes.length - 1536], true);
        shape.write(bytes);
        await transfer(bench, write, 0n, count, shape);
        await expectBlocks(bench, 0n, bytes);
      },
    ],
    [
      "a write changes no other block",
      WRITE,
      async (bench) => {
        const { blockBytes } = await bench.blocks();
        const before = await scribble(bench, 0n, 3);
        const middle = await scribble(bench, 1n, 1);
        before.set(middle, blockBytes);
        await expectBlocks(bench, 0n, before);
      },
    ],
    [
      "the last block can be written, and none beyond it",
      WRITE,
      async (bench) => {
        const { nsid, sizeBlocks } = await bench.blocks();
        await expectBlocks(bench, sizeBlocks - 1n, await scribble(bench, sizeBlocks - 1n, 1));
        const data = bench.alloc(16_384);
        for (const [lba, count] of [
          [sizeBlocks, 1],
          [sizeBlocks - 1n, 2],
        ] as const)
          await bench.fails(
            await bench.io(),
            { opcode: write, nsid, data, cdw: range(lba, count) },
            lbaOutOfRange,
          );
      },
    ],
    [
      "data survive a reset and a shutdown",
      "Base: Controller Level Reset",
      async (bench) => {
        const bytes = await scribble(bench, 0n, 8);
        await bench.start();
        await expectBlocks(bench, 0n, bytes);
        const { bar } = bench;
        bar.write32(NvmeRegister.CC, bar.read32(NvmeRegister.CC) | ControllerConfig.SHN_NORMAL);
        const { SHST_MASK, SHST_COMPLETE } = ControllerStatus;
        await bench.until("the shutdown", () => (bench.status() & SHST_MASK) === SHST_COMPLETE, 60_000);
        await bench.start();
        await expectBlocks(bench, 0n, bytes);
      },
    ],
    [
      "Write Zeroes makes zeros, and no more",
      "NVM: Write Zeroes command",
      async (bench) => {
        await optional(bench, "writeZeroes");
        const { blockBytes } = await bench.blocks();
        const bytes = await scribble(bench, 0n, 4);
        await transfer(bench, writeZeroes, 1n, 2, {});
        bytes.fill(0, blockBytes, 3 * blockBytes);
        await expectBlocks(bench, 0n, bytes);
      },
    ],
    [
      "Deallocate leaves blocks that can be read, and the others as they were",
      "NVM: Dataset Management command",
      async (bench) => {
        await optional(bench, "datasetManagement");
        const { blockBytes, nsid } = await bench.blocks();
        const bytes = await scribble(bench, 0n, 8);
        const data = bench.alloc(4096);
        data.bytes.fill(0, 0, 16);
        new DataView(data.bytes.buffer, data.bytes.byteOffset).setUint32(4, 4, true);
        await bench.ok(await bench.io(), { opcode: datasetManagement, nsid, data, cdw: [0, 1 << 2] });
        await plainRead(bench, 0n, 4);
        await expectBlocks(bench, 4n, bytes.subarray(4 * blockBytes));
      },
    ],
    [
      "a block of Write Uncorrectable can't be read until it is written",
      "NVM: Write Uncorrectable command",
      async (bench) => {
        await optional(bench, "writeUncorrectable");
        const { nsid } = await bench.blocks();
        await transfer(bench, writeUncorrectable, 2n, 1, {});
        const fields = { opcode: read, nsid, data: bench.alloc(16_384), cdw: range(2n, 1) };
        await bench.fails(await bench.io(), fields, NvmeStatus.unrecoveredReadError);
        await expectBlocks(bench, 2n, await scribble(bench, 2n, 1));
      },
    ],
  ],
);
