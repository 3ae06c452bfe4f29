/** Reads through data pointers of every shape: PRPs, SGLs, the controller memory buffer. */
import { randomBytes } from "node:crypto";
import { IovaError } from "../../../../core/errors.js";
import type { DmaBuffer } from "../../../../dma/buffer.js";
import type { ControllerMemoryBuffer } from "../../../../nvme/memory/cmb.js";
import { decodeBits, Sgls } from "../../../../nvme/spec/capabilities.js";
import { IoOpcode } from "../../../../nvme/spec/opcodes.js";
import { NvmeStatus } from "../../../../nvme/spec/status.js";
import type { ConformBench, Fields } from "../bench.js";
import type { Row } from "../check.js";
import { expect, expectSame, NotApplicable, needs } from "../findings.js";
import { blocksFor, plainRead, range, transfer } from "./blocks.js";
import { byPrps, bySgl, type Shape, sglHalf } from "./shapes.js";

const PRP = "Base: Physical Region Page Entry and List";
const SGL = "Base: Scatter Gather List";
const { read } = IoOpcode;
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
export async function sgls(bench: ConformBench) {
  const found = decodeBits((await bench.controller()).sgls, Sgls);
  needs(Number(found.support) > 0, "there are no SGLs (SGLS)");
  return found;
}

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

export const pointers: readonly Row[] = [
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
];
