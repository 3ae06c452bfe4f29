/** Commands of the NVM command set that change data. */
import { randomBytes } from "node:crypto";
import type { DmaBuffer } from "../../../../dma/buffer.js";
import { identifyNamespace } from "../../../../nvme/spec/identify.js";
import { IoOpcode } from "../../../../nvme/spec/opcodes.js";
import { ControllerConfig, NvmeRegister } from "../../../../nvme/spec/registers.js";
import { NvmeStatus } from "../../../../nvme/spec/status.js";
import type { ConformBench } from "../bench.js";
import type { Row } from "../check.js";
import { expect, needs } from "../findings.js";
import { blocksFor, expectBlocks, optional, plainRead, range, scribble, transfer } from "./blocks.js";
import { sgls } from "./pointers.js";
import { refusals } from "./refusals.js";
import { byPrps, bySgl } from "./shapes.js";

const WRITE = "NVM: Write command";
const { read, write, compare, writeZeroes, datasetManagement, writeUncorrectable, copy } = IoOpcode;
const { lbaOutOfRange, invalidField } = NvmeStatus;

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

export const writes: readonly Row[] = [
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
];
