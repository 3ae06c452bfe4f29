import { decodeBits, Vwc } from "../../../../nvme/spec/capabilities.js";
import { AdminOpcode, BROADCAST_NSID, IoOpcode } from "../../../../nvme/spec/opcodes.js";
import { NvmeStatus } from "../../../../nvme/spec/status.js";
import type { Blocks, ConformBench, Fields } from "../bench.js";
import { subjectOf } from "../check.js";
import { expect, expectSame, needs } from "../findings.js";
import { blocksFor, optional, plainRead, range, transfer } from "./blocks.js";
import { pointers } from "./pointers.js";
import { refusals } from "./refusals.js";
import { byPrps } from "./shapes.js";
import { writes } from "./writes.js";

const READ = "NVM: Read command";
const { read, flush, compare, verify, datasetManagement } = IoOpcode;
const { lbaOutOfRange, invalidField, invalidNamespace, invalidOpcode, prpOffsetInvalid } = NvmeStatus;
const FUA = 1 << 30;
const LIMITED_RETRY = 2 ** 31;
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
      "a command can have the id of an admin command that is outstanding",
      "Base: Submission Queue Entry, Command Identifier",
      async (bench) => {
        const { nsid } = await bench.blocks();
        const admin = await bench.start();
        const queue = await bench.io();
        const cid = bench.post(admin, { opcode: AdminOpcode.asyncEventRequest });
        admin.sq.ringDoorbell();
        await bench.controller();
        await bench.ok(queue, { opcode: flush, nsid, cid });
        // A start is the end of the request.
        await bench.start();
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
    ...pointers,
  ],
  writes,
);
