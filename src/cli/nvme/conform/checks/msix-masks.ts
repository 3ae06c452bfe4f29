/** Masks of MSI-X, and its pending bits: what is masked waits, and nothing gets lost. */
import {
  CAPABILITY_MSIX,
  MESSAGE_CONTROL,
  MSIX_ENTRY_BYTES,
  MSIX_FUNCTION_MASK,
} from "../../../../vfio/message-interrupts.js";
import type { ConformBench } from "../bench.js";
import type { Row } from "../check.js";
import { expect, needs } from "../findings.js";
import { comes, counting } from "./counting.js";

const TABLE = 4;
const PENDING = 8;
/** Vector Control in an entry, whose bit 0 masks the vector. */
const VECTOR_CONTROL = 12;
const MASKED = 1;
const ALL_ONES = 0xffff_ffff;

/** Where the capability is in configuration space. */
function capabilityOf({ device }: ConformBench): number {
  return device.config.capabilities().find(({ id }) => id === CAPABILITY_MSIX)?.offset ?? 0;
}

/** A dword of the table or of the pending bits. @param which offset of its register in the capability */
function dwordOf({ device }: ConformBench, capability: number, which: number, offset: number) {
  const place = device.config.read32(capability + which);
  const bar = device.bar(place & 7);
  const at = ((place & ~7) >>> 0) + offset;
  return { read: () => bar.read32(at), write: (value: number) => bar.write32(at, value) };
}

/** A bit that masks a vector, or all of them. */
interface Mask {
  /** @throws NotApplicable if VFIO keeps it to itself */
  set(isMasked: boolean): void;
}

/** A check that a mask holds an interrupt back, and that the pending bit tells so. */
const holdsBack = (
  name: string,
  maskOf: (bench: ConformBench, capability: number, vector: number) => Mask,
): Row => [
  name,
  "PCIe: MSI-X Capability and Table Structure",
  async (bench: ConformBench) =>
    await counting(bench, "msix", async (counts) => {
      const vector = counts.length - 1;
      needs(vector > 0, "there is one vector, which the admin queue has");
      const queue = await bench.pair({ vector });
      const { nsid } = await bench.blocks();
      const capability = capabilityOf(bench);
      const mask = maskOf(bench, capability, vector);
      const bits = dwordOf(bench, capability, PENDING, 4 * (vector >> 5));
      const isPending = (): boolean => ((bits.read() >>> (vector & 31)) & 1) === 1;
      const came = (): boolean => (counts[vector] ?? 0) > 0;
      mask.set(true);
      try {
        const cid = bench.post(queue, { opcode: 0, nsid });
        queue.sq.ringDoorbell();
        await bench.completed(queue, cid);
        expect(!(await comes(bench, came)), `vector ${vector} interrupted although it is masked`);
        expect(isPending(), `the pending bit of vector ${vector} isn't set`);
      } finally {
        mask.set(false);
      }
      await bench.until(`the interrupt of vector ${vector} after its mask`, came);
      expect(!isPending(), `the pending bit of vector ${vector} stays`);
      return `vector ${vector}`;
    }),
];

export const msixMasks: readonly Row[] = [
  holdsBack(
    "a vector that its entry of the MSI-X table masks is pending, and interrupts when the mask is cleared",
    (bench, capability, vector) => {
      const control = dwordOf(bench, capability, TABLE, MSIX_ENTRY_BYTES * vector + VECTOR_CONTROL);
      return {
        set: (isMasked) => {
          const before = control.read();
          needs(before !== ALL_ONES, "VFIO keeps the table to itself");
          control.write(isMasked ? before | MASKED : before & ~MASKED);
          expect(
            (control.read() & MASKED) === Number(isMasked),
            `the mask bit of vector ${vector} doesn't change`,
          );
        },
      };
    },
  ),
  holdsBack(
    "a vector is pending while Function Mask of MSI-X is set, and interrupts when that is cleared",
    ({ device: { config } }, capability) => ({
      set: (isMasked) => {
        const at = capability + MESSAGE_CONTROL;
        const before = config.read16(at);
        config.write16(at, isMasked ? before | MSIX_FUNCTION_MASK : before & ~MSIX_FUNCTION_MASK);
        const isSet = (config.read16(at) & MSIX_FUNCTION_MASK) !== 0;
        needs(isSet === isMasked, "VFIO keeps Message Control to itself");
      },
    }),
  ),
];
