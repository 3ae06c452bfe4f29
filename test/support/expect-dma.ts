/** Checks that DMA by the edu device works in both directions. */
import { randomBytes } from "node:crypto";
import { expect } from "vitest";
import type { DmaBuffer } from "../../src/index.js";
import type { Edu } from "./edu.js";

/** The device copies 256 random bytes within the buffer, by way of its own memory. */
export async function expectDma(edu: Edu, buffer: DmaBuffer, from = 0, to = 2048): Promise<void> {
  const data = randomBytes(256);
  buffer.bytes.set(data, from);
  await edu.load(buffer.iova + BigInt(from), 256);
  await edu.store(buffer.iova + BigInt(to), 256);
  expect(Buffer.compare(buffer.view(to, 256), data)).toBe(0);
}
