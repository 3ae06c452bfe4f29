/** Start, reset and shutdown. */
import { AdminOpcode } from "../../../../nvme/spec/opcodes.js";
import { ControllerConfig, ControllerStatus, NvmeRegister } from "../../../../nvme/spec/registers.js";
import type { ConformBench } from "../bench.js";
import { subjectOf } from "../check.js";
import { expect, needs } from "../findings.js";

const INITIALIZATION = "Base: Controller Initialization";
const { CC, CSTS } = NvmeRegister;

/** Shuts the controller down, and starts it again. @param before what is done first */
async function shutDown(bench: ConformBench, how: number, before = async () => {}): Promise<void> {
  await bench.start();
  const { bar } = bench;
  const { rtd3e } = await bench.controller();
  await before();
  await bench.shutDown(how, Math.max(rtd3e / 1000, 10_000));
  await bench.start();
  expect((bar.read32(CSTS) & ControllerStatus.SHST_MASK) === 0, "CSTS.SHST isn't 0 after the next start");
  await bench.controller();
}

export const reset = subjectOf(
  "start, reset, shutdown",
  [
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
      "a reset by CC.EN keeps AQA, ASQ and ACQ",
      "Base: Controller Level Reset",
      async (bench) => {
        const queue = await bench.start(16);
        const { bar } = bench;
        const admin = () => [
          bar.read32(NvmeRegister.AQA),
          bar.read64(NvmeRegister.ASQ),
          bar.read64(NvmeRegister.ACQ),
        ];
        const { iova } = queue.sq.memory;
        const before = admin();
        await bench.stop();
        expect(before[1] === iova && admin().every((value, i) => value === before[i]), "one changed");
      },
    ],
    [
      "a reset with reads outstanding writes nothing afterwards, and I/O works again",
      "Base: Controller Level Reset",
      async (bench) => {
        const { nsid, blockBytes } = await bench.blocks();
        for (let round = 0; round < 5; round++) {
          const queue = await bench.io();
          const data = bench.alloc(16 * blockBytes, { iovaAlignBytes: bench.cap.minPageBytes });
          for (let i = 0; i < 15; i++)
            bench.post(queue, { opcode: 2, nsid, prp1: data.iova + BigInt(i * blockBytes), cdw: [i, 0, 0] });
          queue.sq.ringDoorbell();
          await bench.stop();
          data.bytes.fill(0xe5);
          await bench.ok(await bench.io(), { opcode: 2, nsid, data: bench.alloc(16_384), cdw: [0, 0, 0] });
          const at = data.bytes.findIndex((byte) => byte !== 0xe5);
          expect(at < 0, `byte ${at} was written after CSTS.RDY 0`);
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
      "a function-level reset ends commands that are outstanding",
      "PCIe Transport: PCI Function Level Reset",
      async (bench) => {
        needs(bench.device.io.info().resettable, "the function has no reset");
        const { nsid } = await bench.blocks();
        const queue = await bench.io();
        for (let i = 0; i < 8; i++) bench.post(queue, { opcode: 0, nsid });
        queue.sq.ringDoorbell();
        bench.device.reset();
        await bench.until("CSTS.RDY 0", () => (bench.status() & 1) === 0, bench.readyMs);
        await bench.stop();
        await bench.ok(await bench.io(), { opcode: 0, nsid });
      },
    ],
    [
      "a shutdown with commands outstanding completes, also an abrupt one",
      "Base: Controller Shutdown",
      async (bench) => {
        for (const how of [ControllerConfig.SHN_NORMAL, ControllerConfig.SHN_ABRUPT])
          await shutDown(bench, how, async () => {
            const { nsid } = await bench.blocks();
            const queue = await bench.io();
            for (let i = 0; i < 8; i++) bench.post(queue, { opcode: 0, nsid });
            queue.sq.ringDoorbell();
          });
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
  ],
  [
    [
      "an NVM subsystem reset leaves a controller that starts, and CSTS.NSSRO says so",
      "Base: NVM Subsystem Reset",
      async (bench) => {
        needs(bench.cap.nssrs, "there is none (CAP.NSSRS)");
        await bench.start();
        const { bar } = bench;
        bar.write32(NvmeRegister.NSSR, 0x4e56_4d65);
        const isReset = (): boolean => (bar.read32(NvmeRegister.CSTS) & 1) === 0;
        await bench.until("CSTS.RDY 0", isReset, bench.readyMs);
        expect((bar.read32(NvmeRegister.CSTS) & 0x10) !== 0, "CSTS.NSSRO 0");
        expect((bar.read32(NvmeRegister.CC) & 1) === 0, "CC.EN 1");
        bar.write32(NvmeRegister.CSTS, 0x10);
        expect((bar.read32(NvmeRegister.CSTS) & 0x10) === 0, "a 1 doesn't clear CSTS.NSSRO");
        await bench.start();
        await bench.controller();
      },
    ],
  ],
);
