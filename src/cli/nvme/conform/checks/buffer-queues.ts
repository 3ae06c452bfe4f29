/** Queues whose entries lie in the controller memory buffer. */
import type { DmaBuffer } from "../../../../dma/buffer.js";
import { IoOpcode } from "../../../../nvme/spec/opcodes.js";
import type { ConformBench } from "../bench.js";
import type { Row } from "../check.js";
import { expectSame, needs } from "../findings.js";
import { plainRead, range } from "./blocks.js";

const ENTRIES = 16;
/** Several times round each queue. */
const COMMANDS = 5 * ENTRIES;
const PAGE = 4096;

const worksIn = (what: string, parts: readonly ("sq" | "cq")[]): Row => [
  `commands work, also round the end, with ${what} in the controller memory buffer`,
  "PCIe Transport: Controller Memory Buffer",
  async (bench: ConformBench) => {
    needs(bench.cap.cmbs, "there is no controller memory buffer (CAP.CMBS)");
    const cmb = bench.raw.controllerMemoryBuffer();
    const { submissionQueues, completionQueues } = cmb.properties;
    const takes = { sq: submissionQueues, cq: completionQueues };
    needs(
      parts.every((part) => takes[part]),
      "the controller memory buffer isn't for that (CMBSZ)",
    );
    needs(bench.cap.minPageBytes === PAGE, `memory pages have ${bench.cap.minPageBytes} bytes`);
    const memory: { sq?: DmaBuffer; cq?: DmaBuffer } = {};
    for (const part of parts) {
      const buffer = cmb.alloc(PAGE);
      bench.keep(buffer);
      memory[part] = buffer;
    }
    const { nsid, blockBytes } = await bench.blocks();
    const wanted = await plainRead(bench, 0n, 1);
    const data = bench.alloc(blockBytes);
    const queue = await bench.pair({ entries: ENTRIES }, memory);
    for (let i = 0; i < COMMANDS; i++) {
      data.bytes.fill(~(wanted[0] ?? 0));
      await bench.ok(queue, { opcode: IoOpcode.read, nsid, data, cdw: range(0n, 1) });
      expectSame(data.bytes, wanted);
    }
    await bench.remove(queue);
    return undefined;
  },
];

export const bufferQueues: readonly Row[] = [
  worksIn("the submission queue", ["sq"]),
  worksIn("the completion queue", ["cq"]),
  worksIn("both queues", ["sq", "cq"]),
];
