/** Blocks of the checked namespace: commands for them, plain reads, and random writes. */
import { randomBytes } from "node:crypto";
import { decodeBits, Oncs } from "../../../../nvme/spec/capabilities.js";
import { IoOpcode } from "../../../../nvme/spec/opcodes.js";
import type { Blocks, ConformBench } from "../bench.js";
import { expect, needs } from "../findings.js";
import { byPrps, type Shape } from "./shapes.js";

const { read, write } = IoOpcode;
const MASK = 0xffff_ffffn;

/** CDW10 to CDW12 of a command for a range of blocks. */
export function range(lba: bigint, count: number, control = 0): number[] {
  return [Number(lba & MASK), Number((lba >> 32n) & MASK), ((count - 1) | control) >>> 0];
}

/** A command for blocks from `lba` on, with its data in this shape. */
export async function transfer(
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
export async function plainRead(bench: ConformBench, lba: bigint, count: number): Promise<Uint8Array> {
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
export async function blocksFor(
  bench: ConformBench,
  bytes: number,
): Promise<Blocks & { readonly count: number }> {
  const found = await bench.blocks();
  const count = Math.ceil(bytes / found.blockBytes);
  const most = await bench.maxTransferBytes();
  needs(count * found.blockBytes <= most, `a command carries ${most} bytes at most`);
  needs(BigInt(count) <= found.sizeBlocks, `the namespace has ${found.sizeBlocks} blocks`);
  return { ...found, count };
}

/** @throws NotApplicable unless ONCS has the command */
export async function optional(bench: ConformBench, name: keyof typeof Oncs): Promise<void> {
  needs(decodeBits((await bench.controller()).oncs, Oncs)[name] === true, `there is no such command (ONCS)`);
}

/** Writes random blocks by a shape. @returns what was written */
export async function scribble(bench: ConformBench, lba: bigint, count: number): Promise<Uint8Array> {
  const { blockBytes } = await bench.blocks();
  const bytes = randomBytes(count * blockBytes);
  const shape = byPrps(bench, bytes.length, {});
  shape.write(bytes);
  await transfer(bench, write, lba, count, shape);
  return bytes;
}

/** @throws Broken unless blocks are these */
export async function expectBlocks(bench: ConformBench, lba: bigint, bytes: Uint8Array): Promise<void> {
  const { blockBytes } = await bench.blocks();
  const found = await plainRead(bench, lba, bytes.length / blockBytes);
  const at = found.findIndex((byte, i) => byte !== bytes[i]);
  expect(at < 0, `byte ${at} isn't what was written`);
}
