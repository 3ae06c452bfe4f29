/** Interrupts of each kind, by vector. */

import { AdminOpcode, FeatureId } from "../../../../nvme/spec/opcodes.js";
import { NvmeRegister } from "../../../../nvme/spec/registers.js";
import { NvmeStatus } from "../../../../nvme/spec/status.js";
import type { InterruptKind } from "../../../../pci/interrupts.js";
import type { ConformBench } from "../bench.js";
import { subjectOf } from "../check.js";
import { expect, needs } from "../findings.js";
import { comes, counting, provoke } from "./counting.js";
import { msixMasks } from "./msix-masks.js";

const SECTION = "PCIe Transport: Interrupts";

/** A check that a queue with vector 0 interrupts. */
const works = (kind: InterruptKind) =>
  [
    `a completion interrupts by ${kind}`,
    SECTION,
    async (bench: ConformBench) =>
      await counting(bench, kind, async (counts) => {
        await provoke(bench, await bench.pair({ vector: 0 }), counts);
        await bench.until("the interrupt", () => (counts[0] ?? 0) > 0);
        return undefined;
      }),
  ] as const;

export const interrupts = subjectOf("interrupts", [
  works("msix"),
  works("msi"),
  works("intx"),
  [
    "each vector interrupts for its queue, and no other vector",
    SECTION,
    async (bench) =>
      await counting(bench, "msix", async (counts) => {
        for (const vector of counts.keys()) {
          const queue = await bench.pair({ vector });
          await provoke(bench, queue, counts);
          await bench.until(`the interrupt of vector ${vector}`, () => (counts[vector] ?? 0) > 0);
          const others = counts.flatMap((count, other) =>
            other !== vector && other !== 0 && count > 0 ? [other] : [],
          );
          expect(others.length === 0, `vector ${vector} was asked for, and ${others.join()} interrupted`);
          await bench.remove(queue);
        }
        return `${counts.length} vectors`;
      }),
  ],
  [
    "INTMS masks the interrupt pin, and INTMC lets what came meanwhile through",
    "Base: Interrupt Mask Set (INTMS)",
    async (bench) =>
      await counting(bench, "intx", async (counts) => {
        const queue = await bench.pair({ vector: 0 });
        bench.bar.write32(NvmeRegister.INTMS, 1);
        counts.fill(0);
        await provoke(bench, queue, counts);
        // The admin commands before it may have interrupted late.
        await comes(bench, () => false);
        counts.fill(0);
        const cid = bench.post(queue, { opcode: 0, nsid: (await bench.blocks()).nsid });
        queue.sq.ringDoorbell();
        const cq = queue.sq.completionQueue;
        await bench.until("the completion", () => cq.ring.peek() >= 0);
        expect(!(await comes(bench, () => counts[0] !== 0)), "it interrupted although it is masked");
        bench.bar.write32(NvmeRegister.INTMC, 1);
        await bench.until("the interrupt after INTMC", () => (counts[0] ?? 0) > 0);
        await bench.completed(queue, cid);
        return undefined;
      }),
  ],
  [
    "two completion queues share a vector",
    SECTION,
    async (bench) =>
      await counting(bench, "msix", async (counts) => {
        needs(counts.length > 1, "there is one vector, which the admin queue has");
        for (const queue of [await bench.pair({ vector: 1 }), await bench.pair({ vector: 1 })]) {
          await provoke(bench, queue, counts);
          await bench.until("the interrupt", () => (counts[1] ?? 0) > 0);
        }
        return undefined;
      }),
  ],
  [
    "with interrupt coalescing no completion is forgotten",
    "Base: Interrupt Coalescing",
    async (bench) =>
      await counting(bench, "msix", async (counts) => {
        needs(counts.length > 1, "there is one vector, which the admin queue has");
        const set = { opcode: AdminOpcode.setFeatures, cdw: [FeatureId.interruptCoalescing, 0xff07] };
        const { status } = await bench.send(await bench.admin(), set);
        needs(status !== NvmeStatus.featureNotChangeable, "it isn't changeable");
        expect(status === 0, `Set Features: status ${status}`);
        const queue = await bench.pair({ vector: 1 });
        for (let i = 0; i < 3; i++) {
          await provoke(bench, queue, counts);
          await bench.until("the interrupt", () => (counts[1] ?? 0) > 0);
        }
        return undefined;
      }),
  ],
  [
    "a completion queue without IEN doesn't interrupt",
    "Base: Create I/O Completion Queue command",
    async (bench) =>
      await counting(bench, "msix", async (counts) => {
        needs(counts.length > 1, "there is one vector, which the admin queue has");
        const queue = await bench.pair();
        await provoke(bench, queue, counts);
        const any = (): boolean => counts.slice(1).some((count) => count > 0);
        expect(!(await comes(bench, any)), "it interrupted");
        return undefined;
      }),
  ],
  ...msixMasks,
]);
