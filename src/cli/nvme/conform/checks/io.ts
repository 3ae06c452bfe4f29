/** Commands of the NVM command set: reads, boundaries, data pointers, and what changes data. */
import { randomBytes } from "node:crypto";
import { IovaError } from "../../../../core/errors.js";
import type { DmaBuffer } from "../../../../dma/buffer.js";
import type { ControllerMemoryBuffer } from "../../../../nvme/memory/cmb.js";
import { decodeBits, type Oncs, Sgls, Vwc } from "../../../../nvme/spec/capabilities.js";
import { identifyNamespace } from "../../../../nvme/spec/identify.js";
import { BROADCAST_NSID, IoOpcode } from "../../../../nvme/spec/opcodes.js";
import { ControllerConfig, NvmeRegister } from "../../../../nvme/spec/registers.js";
import { NvmeStatus } from "../../../../nvme/spec/status.js";
import type { Blocks, ConformBench, Fields } from "../bench.js";
import { subjectOf } from "../check.js";
import { expect, expectSame, NotApplicable, needs } from "../findings.js";
import { blocksFor, expectBlocks, optional, plainRead, range, scribble, transfer } from "./blocks.js";
import { byPrps, bySgl, type Shape, sglHalf } from "./shapes.js";

const READ = "NVM: Read command";
const WRITE = "NVM: Write command";
const PRP = "Base: Physical Region Page Entry and List";
const SGL = "Base: Scatter Gather List";
const { read, write, flush, compare, verify, writeZeroes, datasetManagement, writeUncorrectable, copy } =
  IoOpcode;
const { lbaOutOfRange, invalidField, invalidNamespace, invalidOpcode, prpOffsetInvalid } = NvmeStatus;
const FUA = 1 << 30;
const LIMITED_RETRY = 2 ** 31;
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
      expectSame(found.read(), wanted);
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

/** A check of a command that must be refused for its range or its namespace. */
const refusals = (opcode: number, name: string, needed?: keyof typeof Oncs) =>
  (
    [
      ["of a block beyond the last", (n) => ({ cdw: range(n.sizeBlocks, 1) }), lbaOutOfRange],
      ["over the end", (n) => ({ cdw: range(n.sizeBlocks - 1n, 2) }), lbaOutOfRange],
      ["of block 2^63", () => ({ cdw: range(2n ** 63n, 1) }), lbaOutOfRange],
      ["of a namespace that there can't be", () => ({ nsid: 0xffff_fff0 }), invalidNamespace],
    ] as const satisfies readonly (readonly [string, (n: Blocks) => Partial<Fields>, number])[]
  ).map(
    ([what, fields, expected]) =>
      [
        `a ${name} ${what} is refused`,
        `NVM: ${name} command`,
        async (bench: ConformBench) => {
          if (needed !== undefined) await optional(bench, needed);
          const blocks = await bench.blocks();
          // Write Zeroes, Write Uncorrectable and Verify have no data.
          const data = (opcode & 3) === 0 ? {} : { data: bench.alloc(16_384) };
          const plain = { opcode, nsid: blocks.nsid, cdw: range(0n, 1), ...data };
          await bench.fails(await bench.io(), { ...plain, ...fields(blocks) }, expected);
        },
      ] as const,
  );

/** A check that a wrong SGL is refused. */
const wrongSgl = (
  what: string,
  change: (shape: Shape, bytes: number) => Partial<Fields>,
  ...expected: readonly number[]
) =>
  [
    `an SGL ${what} is refused`,
    SGL,
    async (bench: ConformBench) => {
      await sgls(bench);
      const { nsid, blockBytes } = await bench.blocks();
      const shape = bySgl(bench, [blockBytes / 2, blockBytes / 2]);
      const fields = { ...shape, opcode: read, nsid, cdw: range(0n, 1), ...change(shape, blockBytes) };
      await bench.fails(await bench.io(), fields, ...expected);
    },
  ] as const;

/** Memory in the controller's buffer. @throws NotApplicable unless it takes these */
function inBuffer(bench: ConformBench, what: "reads" | "writes" | "lists"): ControllerMemoryBuffer {
  needs(bench.cap.cmbs, "there is no controller memory buffer (CAP.CMBS)");
  const buffer = bench.raw.controllerMemoryBuffer();
  needs(buffer.properties[what], `the controller memory buffer isn't for that (CMBSZ)`);
  return buffer;
}

/** Blocks that are written while the controller is stopped are old or new, each of them. */
const torn = (what: string, stop: (bench: ConformBench) => Promise<void>) =>
  [
    `a block is old or new if ${what} comes while it is written`,
    "NVM: Atomic Operation",
    async (bench: ConformBench) => {
      const { nsid, blockBytes } = await bench.blocks();
      for (let round = 1; round <= 4; round++) {
        const fill = (value: number): DmaBuffer => {
          const data = bench.alloc(16_384);
          data.bytes.fill(value);
          return data;
        };
        const queue = await bench.io();
        const [old, young] = [fill(round), fill(0x80 + round)];
        const at = { opcode: write, nsid };
        for (let i = 0; i < 8; i++) await bench.ok(queue, { ...at, data: old, cdw: range(BigInt(i), 1) });
        for (let i = 0; i < 8; i++) bench.post(queue, { ...at, data: young, cdw: range(BigInt(i), 1) });
        queue.sq.ringDoorbell();
        await stop(bench);
        const bytes = await plainRead(bench, 0n, 8);
        for (let i = 0; i < 8; i++) {
          const block = bytes.subarray(i * blockBytes, (i + 1) * blockBytes);
          const isWhole = block.every((byte) => byte === block[0]);
          expect(isWhole, `block ${i} is torn`);
          expect(block[0] === round || block[0] === 0x80 + round, `block ${i} has ${block[0]}`);
        }
      }
    },
  ] as const;

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
        expectSame(shapes[0].read(), shapes[1].read());
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
    ...refusals(compare, "Compare", "compare"),
    ...refusals(verify, "Verify", "verify"),
    refused("with PSDT 3, which is reserved,", () => ({ flags: 0xc0 }), invalidField),
    refused("with FUSE 3, which is reserved,", () => ({ flags: 3 }), invalidField),
    [
      "Flush of a namespace that there can't be is refused",
      "Base: Flush command",
      async (bench) =>
        await bench.fails(await bench.io(), { opcode: flush, nsid: 0xffff_fff0 }, invalidNamespace),
    ],
    [
      "a read of MDTS with an offset in its first page succeeds",
      "Base: Identify Controller, MDTS",
      async (bench) => {
        const bytes = await bench.maxTransferBytes();
        const { count } = await blocksFor(bench, bytes);
        needs(count <= 65_536, "a command names 65,536 blocks at most");
        await transfer(bench, read, 0n, count, byPrps(bench, bytes, { offset: 2048, listAt: 8 }));
      },
    ],
    [
      "hints of Dataset Management change nothing, for 1 range and for 256",
      "NVM: Dataset Management command",
      async (bench) => {
        await optional(bench, "datasetManagement");
        const { nsid } = await bench.blocks();
        const before = await plainRead(bench, 0n, 4);
        const data = bench.alloc(4096);
        data.bytes.fill(0);
        for (let at = 0; at < 4096; at += 16) data.bytes[at + 4] = 4;
        for (const count of [1, 256])
          await bench.ok(await bench.io(), { opcode: datasetManagement, nsid, data, cdw: [count - 1, 3] });
        expect(Buffer.from(before).equals(await plainRead(bench, 0n, 4)), "data changed");
      },
    ],
    shaped(
      "pages in the controller memory buffer",
      "PCIe Transport: Controller Memory Buffer",
      () => 4096,
      (bench, bytes) => {
        const memory = inBuffer(bench, "reads").alloc(Math.max(4096, bytes));
        bench.keep(memory);
        // A buffer of a device is touched word by word.
        const { words } = memory.memory;
        return {
          prp1: memory.iova,
          prp2: memory.iova + BigInt(bench.cap.minPageBytes),
          read: () => new Uint8Array(Uint32Array.from({ length: bytes / 4 }, (_, i) => words[i] ?? 0).buffer),
          write: (data) => {
            const from = new DataView(data.buffer, data.byteOffset);
            for (let i = 0; i < bytes / 4; i++) words[i] = from.getUint32(4 * i, true);
          },
        };
      },
    ),
    wrongSgl(
      "with a reserved type of descriptor",
      (_, bytes) => ({ prp2: sglHalf(bytes, 9n) }),
      NvmeStatus.sglDescriptorTypeInvalid,
      NvmeStatus.invalidSglSegmentDescriptor,
    ),
    wrongSgl(
      "with a segment of 24 bytes",
      () => ({ prp2: sglHalf(24, 3n) }),
      NvmeStatus.invalidSglSegmentDescriptor,
      NvmeStatus.invalidNumberOfSglDescriptors,
    ),
    wrongSgl(
      "whose segment has one of its two descriptors",
      () => ({ prp2: sglHalf(16, 3n) }),
      NvmeStatus.dataSglLengthInvalid,
      NvmeStatus.invalidNumberOfSglDescriptors,
    ),
    [
      "a bit bucket takes what it is for, if SGLS has it",
      SGL,
      async (bench) => {
        needs((await sgls(bench)).bitBucket === true, "there is none (SGLS)");
        const { blockBytes } = await bench.blocks();
        const wanted = await plainRead(bench, 0n, 1);
        const shape = bySgl(bench, [blockBytes / 2, blockBytes / 2]);
        shape.write(new Uint8Array(blockBytes).fill(0xe5));
        // The second descriptor becomes a bit bucket.
        shape.list?.bytes.set([0x10], 16 + 15);
        await transfer(bench, read, 0n, 1, shape);
        const found = shape.read();
        const half = blockBytes / 2;
        const at = found.findIndex((byte, i) => byte !== (i < half ? wanted[i] : 0xe5));
        expect(at < 0, `byte ${at} differs`);
      },
    ],
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
    ...refusals(write, "Write"),
    ...refusals(writeZeroes, "Write Zeroes", "writeZeroes"),
    ...refusals(writeUncorrectable, "Write Uncorrectable", "writeUncorrectable"),
    torn("a reset", (bench) => bench.stop()),
    torn("an abrupt shutdown", async (bench) => {
      await bench.shutDown(ControllerConfig.SHN_ABRUPT);
      await bench.stop();
    }),
    [
      "Deallocate of a block beyond the last is refused, or ignored",
      "NVM: Dataset Management command",
      async (bench) => {
        await optional(bench, "datasetManagement");
        const { nsid, sizeBlocks } = await bench.blocks();
        const data = bench.alloc(4096);
        const view = new DataView(data.bytes.buffer, data.bytes.byteOffset);
        data.bytes.fill(0, 0, 16);
        view.setUint32(4, 1, true);
        view.setBigUint64(8, sizeBlocks, true);
        const fields = { opcode: datasetManagement, nsid, data, cdw: [0, 1 << 2] };
        // It is advice, so a controller may leave out what it can't follow.
        const { status } = await bench.send(await bench.io(), fields);
        expect(status === 0 || status === lbaOutOfRange, `status ${status.toString(16)}h`);
      },
    ],
    [
      "Write Zeroes of as many blocks as a command names succeeds",
      "NVM: Write Zeroes command",
      async (bench) => {
        await optional(bench, "writeZeroes");
        const { sizeBlocks, blockBytes } = await bench.blocks();
        const version = bench.bar.read32(NvmeRegister.VS);
        const wzsl = version >= 0x2_0000 ? (await bench.identify(6))[1] : 0;
        const most = wzsl === 0 ? 65_536 : (2 ** (wzsl ?? 0) * bench.cap.minPageBytes) / blockBytes;
        const count = Math.min(65_536, most, Number(sizeBlocks));
        await scribble(bench, BigInt(count - 1), 1);
        await transfer(bench, writeZeroes, 0n, count, {});
        const last = await plainRead(bench, BigInt(count - 1), 1);
        expect(
          last.every((byte) => byte === 0),
          "the last of them isn't zero",
        );
        return `${count} blocks`;
      },
    ],
    [
      "Copy copies two ranges, in their order",
      "NVM: Copy command",
      async (bench) => {
        await optional(bench, "copy");
        const { nsid, blockBytes } = await bench.blocks();
        const ns = identifyNamespace.decode(await bench.identify(0, nsid));
        needs(
          ns.mssrl >= 2 && ns.mcl >= 3 && ns.msrc >= 1,
          `MSSRL ${ns.mssrl}, MCL ${ns.mcl}, MSRC ${ns.msrc}`,
        );
        const bytes = await scribble(bench, 0n, 8);
        const data = bench.alloc(4096);
        const view = new DataView(data.bytes.buffer, data.bytes.byteOffset);
        data.bytes.fill(0, 0, 64);
        for (const [i, [lba, count]] of [[4n, 2] as const, [1n, 1] as const].entries()) {
          view.setBigUint64(32 * i + 8, lba, true);
          view.setUint16(32 * i + 16, count - 1, true);
        }
        const fields = { opcode: copy, nsid, data, cdw: [16, 0, 1] };
        await bench.ok(await bench.io(), fields);
        const part = (from: number, to: number) => bytes.subarray(from * blockBytes, to * blockBytes);
        await expectBlocks(bench, 16n, Buffer.concat([part(4, 6), part(1, 2)]));
        const reserved = { ...fields, cdw: [16, 0, 1 | (15 << 8)] };
        await bench.fails(await bench.io(), reserved, invalidField);
      },
    ],
    [
      "Compare and Write, fused, write only what compares",
      "NVM: Fused Operations",
      async (bench) => {
        needs(((await bench.controller()).fuses & 1) === 1, "there is none (FUSES)");
        const { nsid, blockBytes } = await bench.blocks();
        const bytes = await scribble(bench, 0n, 1);
        const queue = await bench.io();
        for (const fits of [false, true]) {
          const [old, young] = [byPrps(bench, blockBytes, {}), byPrps(bench, blockBytes, {})];
          old.write(fits ? bytes : randomBytes(blockBytes));
          young.write(new Uint8Array(blockBytes).fill(0x3c));
          const [one, other] = [
            bench.post(queue, { ...old, flags: 1, opcode: compare, nsid, cdw: range(0n, 1) }),
            bench.post(queue, { ...young, flags: 2, opcode: write, nsid, cdw: range(0n, 1) }),
          ];
          queue.sq.ringDoorbell();
          const statuses = new Map<number, number>();
          await bench.until("both completions", () => {
            for (let each = bench.take(queue); each !== undefined; each = bench.take(queue))
              statuses.set(each.cid, each.status);
            bench.status();
            return statuses.size === 2;
          });
          const wanted = fits
            ? [0, 0]
            : [NvmeStatus.compareFailure, NvmeStatus.commandAbortedDueToFailedFusedCommand];
          const found = [statuses.get(one), statuses.get(other)];
          expect(found.join() === wanted.join(), `statuses ${found.join()}, not ${wanted.join()}`);
          await expectBlocks(bench, 0n, fits ? young.read() : bytes);
        }
      },
    ],
    [
      "data survive a reset and a shutdown",
      "Base: Controller Level Reset",
      async (bench) => {
        const bytes = await scribble(bench, 0n, 8);
        await bench.start();
        await expectBlocks(bench, 0n, bytes);
        await bench.shutDown(ControllerConfig.SHN_NORMAL);
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
