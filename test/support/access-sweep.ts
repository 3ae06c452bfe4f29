/** Reads and writes through an iommufd access at all alignments. */
import { randomFillSync } from "node:crypto";
import { expect } from "vitest";
import { MappedMemory } from "../../src/index.js";
import { tryIoctl } from "../../src/sys/ioctl.js";
import { encodeTestCommand, IOMMU_TEST_CMD, type MockAccess, TestOp } from "./mock.js";
import { PAGE } from "./mock-domain.js";

const AROUND = 50;
const LONGEST = 64;
const WRITE = 1;
const SLOW_PATH = 4;

/**
 * Reads and writes every length below 64 at every offset around the edge of the first page, then reads all.
 * @param at where `memory` is mapped
 */
export function sweepAccess(access: MockAccess, at: bigint, memory: MappedMemory, slowPath = false): void {
  using scratch = MappedMemory.anonymous(memory.sizeBytes, { populate: true });
  const { bytes } = memory;
  const tmp = scratch.bytes;
  const pool = randomFillSync(new Uint8Array(memory.sizeBytes));
  bytes.set(pool);
  const pathFlag = slowPath ? SLOW_PATH : 0;
  // Reuses one command for tens of thousands of calls.
  const { command, union } = encodeTestCommand(TestOp.accessRw, access.fd, [[16, BigInt(scratch.address)]]);
  const failed: string[] = [];
  const move = (offset: number, length: number, flags: number): void => {
    union.setBigUint64(0, at + BigInt(offset), true);
    union.setBigUint64(8, BigInt(length), true);
    union.setUint32(24, flags | pathFlag, true);
    const result = tryIoctl(access.iommufd.fd, IOMMU_TEST_CMD, command);
    let same = 0;
    while (same < length && bytes[offset + same] === tmp[same]) same++;
    if (result !== 0 || same < length) failed.push(`${flags} ${offset} ${length}: ${result}, ${same} alike`);
  };

  let random = 0;
  for (let offset = PAGE - AROUND; offset < PAGE + AROUND; offset++) {
    for (let length = 1; length < LONGEST; length++) {
      tmp.fill(0, 0, LONGEST);
      move(offset, length, 0);
      random = (random + 61) % (pool.length - LONGEST);
      tmp.set(pool.subarray(random, random + LONGEST));
      move(offset, length, WRITE);
    }
  }
  move(0, memory.sizeBytes, 0);
  expect(failed).toEqual([]);
  // Shows that the data wasn't there by chance.
  expect(Buffer.compare(bytes, pool)).not.toBe(0);
}
