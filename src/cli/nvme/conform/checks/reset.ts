/** Start, reset and shutdown. */
import { AdminOpcode } from "../../../../nvme/spec/opcodes.js";
import { ControllerConfig, ControllerStatus, NvmeRegister } from "../../../../nvme/spec/registers.js";
import type { ConformBench } from "../bench.js";
import { subjectOf } from "../check.js";
import { expect, needs } from "../findings.js";

const INITIALIZATION = "Base: Controller Initialization";
const { CC, CSTS } = NvmeRegister;

/** Shuts the controller down, and starts it again. */
async function shutDown(bench: ConformBench, how: number): Promise<void> {
  await bench.start();
  const { bar } = bench;
  const { rtd3e } = await bench.controller();
  bar.write32(CC, bar.read32(CC) | how);
  const limitMs = Math.max(rtd3e / 1000, 10_000);
  const { SHST_MASK, SHST_COMPLETE } = ControllerStatus;
  await bench.until("CSTS.SHST 10b", () => (bench.status() & SHST_MASK) === SHST_COMPLETE, limitMs);
  await bench.start();
  expect((bar.read32(CSTS) & SHST_MASK) === 0, "CSTS.SHST isn't 0 after the next start");
  await bench.controller();
}

export const reset = subjectOf("start, reset, shutdown", [
  [
    "CSTS.RDY follows CC.EN within CAP.TO, ten times",
    INITIALIZATION,
    async (bench) => {
      for (let i = 0; i < 10; i++) await bench.start();
    },
  ],
  ...[2, 3, 4096].map(
    (entries) =>
      [
        `an admin queue of ${entries} entries works, also round its end`,
        "Base: Admin Queue Attributes (AQA)",
        async (bench: ConformBench) => {
          await bench.start(entries);
          for (let i = 0; i < 5; i++) await bench.controller();
        },
      ] as const,
  ),
  [
    "a reset begins with empty queues: head 0, phase 1",
    "Base: Controller Level Reset",
    async (bench) => {
      for (let i = 0; i < 3; i++) {
        const { sqHead } = await bench.ok(await bench.start(), {
          opcode: AdminOpcode.identify,
          data: bench.alloc(4096),
          cdw: [1],
        });
        expect(sqHead === 1, `SQHD ${sqHead} after the first command`);
      }
    },
  ],
  [
    "a reset ends outstanding commands without a completion",
    "Base: Controller Level Reset",
    async (bench) => {
      const queue = await bench.start();
      bench.post(queue, { opcode: AdminOpcode.asyncEventRequest });
      queue.sq.ringDoorbell();
      await bench.controller();
      await bench.start();
      await bench.controller();
    },
  ],
  [
    "the largest memory page of CAP.MPSMAX works",
    "Base: Controller Configuration (CC)",
    async (bench) => {
      const bytes = bench.cap.maxPageBytes;
      needs(
        bytes > bench.cap.minPageBytes && bytes <= 1 << 16,
        `pages of ${bench.cap.minPageBytes} to ${bytes} bytes`,
      );
      const alignment = { alignBytes: bytes, iovaAlignBytes: bytes };
      const memory = [bench.alloc(bytes, alignment), bench.alloc(bytes, alignment)];
      await bench.start(32, { pageBytes: bytes, memory });
      // 4 KiB anywhere in such a page need no PRP2.
      const data = bench.alloc(bytes, alignment);
      await bench.ok(await bench.admin(), {
        opcode: AdminOpcode.identify,
        prp1: data.iova + BigInt(bytes - 4096),
        cdw: [1],
      });
      await bench.stop();
    },
  ],
  [
    "a function-level reset leaves a controller that starts",
    "PCIe Transport: PCI Function Level Reset",
    async (bench) => {
      await bench.stop();
      needs(bench.device.io.info().resettable, "the function has no reset");
      bench.device.reset();
      await bench.until("CSTS.RDY 0", () => (bench.status() & 1) === 0, bench.readyMs);
      expect((bench.bar.read32(CC) & 1) === 0, "CC.EN 1 after the reset");
      await bench.controller();
    },
  ],
  [
    "a normal shutdown completes",
    "Base: Controller Shutdown",
    (bench) => shutDown(bench, ControllerConfig.SHN_NORMAL),
  ],
  [
    "an abrupt shutdown completes",
    "Base: Controller Shutdown",
    (bench) => shutDown(bench, ControllerConfig.SHN_ABRUPT),
  ],
]);
