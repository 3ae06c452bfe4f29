/** Sanitize, and its log. */
import { setTimeout as sleep } from "node:timers/promises";
import { hexDigits } from "../../../../core/hex-digits.js";
import { decodeBits, Sanicap } from "../../../../nvme/spec/capabilities.js";
import { SanitizeStatus, sanitizeLog } from "../../../../nvme/spec/log-pages.js";
import { AdminOpcode, LogPageId } from "../../../../nvme/spec/opcodes.js";
import { NvmeStatus } from "../../../../nvme/spec/status.js";
import type { ConformBench } from "../bench.js";
import { subjectOf } from "../check.js";
import { expect, needs } from "../findings.js";
import { LONG_MS } from "./admin-rows.js";
import { plainRead, range, scribble } from "./blocks.js";
import { readLog } from "./logs-and-features.js";

const SANITIZE = "Base: Sanitize command";
const { sanitize: sanitizeNvm } = AdminOpcode;
const { invalidField } = NvmeStatus;
const POLL_MS = 20;
/** SANACT of the erasures, and CDW10 with one pass for an overwrite. */
const erasures = [
  ["blockErase", "block erase", 2],
  ["overwrite", "overwrite", 3 | (1 << 4)],
  ["cryptoErase", "crypto erase", 4],
] as const;

async function sanitizeState(bench: ConformBench) {
  return sanitizeLog.decode(await readLog(bench, LogPageId.sanitizeStatus, 512));
}

async function sanicap(bench: ConformBench) {
  const { sanicap: word } = await bench.controller();
  const found = decodeBits(word, Sanicap);
  needs(
    erasures.some(([bit]) => found[bit] === true),
    "there is no such command (SANICAP)",
  );
  return found;
}

/** The plainest erasure that there is. */
async function anyErasure(bench: ConformBench): Promise<number> {
  const found = await sanicap(bench);
  return erasures.find(([bit]) => found[bit] === true)?.[2] ?? 2;
}

/** Waits for the end of an operation. @throws Broken if it fails */
async function sanitized(bench: ConformBench): Promise<void> {
  const end = performance.now() + LONG_MS;
  for (;;) {
    const { status, progress } = await sanitizeState(bench);
    if (status !== SanitizeStatus.inProgress) {
      const isDone =
        status === SanitizeStatus.completed || status === SanitizeStatus.completedWithoutDeallocation;
      expect(isDone, `the operation ended with state ${status}`);
      expect(progress === 0xffff, `SPROG ${hexDigits(progress, 4)}h after its end`);
      return;
    }
    expect(performance.now() < end, `it hasn't ended after ${LONG_MS} ms`);
    await sleep(POLL_MS);
  }
}

export const sanitize = subjectOf(
  "sanitize",
  [
    [
      "the Sanitize Status log says that no operation runs, or how far it is",
      "Base: Sanitize Status log page",
      async (bench) => {
        await sanicap(bench);
        const { status, progress } = await sanitizeState(bench);
        expect(status <= 4, `state ${status}`);
        const runs = status === SanitizeStatus.inProgress;
        expect(runs || progress === 0xffff, `SPROG ${hexDigits(progress, 4)}h, and nothing runs`);
      },
    ],
  ],
  [
    ...([0, 6, 7] as const).map(
      (action) =>
        [
          `the reserved sanitize action ${action} is refused`,
          SANITIZE,
          async (bench: ConformBench) => {
            await sanicap(bench);
            await bench.fails(await bench.admin(), { opcode: sanitizeNvm, cdw: [action] }, invalidField);
          },
        ] as const,
    ),
    ...erasures.map(
      ([bit, name, cdw10]) =>
        [
          `a sanitize by ${name} erases, or is refused if SANICAP lacks it`,
          SANITIZE,
          async (bench: ConformBench) => {
            const found = await sanicap(bench);
            const fields = { opcode: sanitizeNvm, cdw: [cdw10, 0x5a5a_5a5a] };
            if (found[bit] !== true) {
              await bench.fails(await bench.admin(), fields, invalidField);
              return "SANICAP lacks it";
            }
            const bytes = await scribble(bench, 0n, 8);
            await bench.ok(await bench.admin(), fields);
            await sanitized(bench);
            const { cdw10: logged } = await sanitizeState(bench);
            expect(logged === cdw10, `the log has CDW10 ${hexDigits(logged, 8)}h`);
            expect(!Buffer.from(bytes).equals(await plainRead(bench, 0n, 8)), "the data is still there");
            return undefined;
          },
        ] as const,
    ),
    [
      "while a sanitize operation runs, reads and another Sanitize are refused, and Identify works",
      SANITIZE,
      async (bench) => {
        const erasure = await anyErasure(bench);
        const { nsid } = await bench.blocks();
        const queue = await bench.io();
        const data = bench.alloc(16_384);
        await bench.ok(await bench.admin(), { opcode: sanitizeNvm, cdw: [erasure] });
        const read = await bench.send(queue, { opcode: 2, nsid, data, cdw: range(0n, 1) });
        const second = await bench.send(await bench.admin(), { opcode: sanitizeNvm, cdw: [erasure] });
        await bench.controller();
        const isOver = (await sanitizeState(bench)).status !== SanitizeStatus.inProgress;
        await sanitized(bench);
        // The second may have begun another.
        if (isOver) needs(false, "it ended too soon to look");
        for (const [what, { status }] of Object.entries({ read, second }))
          expect(status === NvmeStatus.sanitizeInProgress, `${what}: status ${hexDigits(status, 3)}h`);
      },
    ],
    [
      "a sanitize operation goes on over a reset",
      SANITIZE,
      async (bench) => {
        const erasure = await anyErasure(bench);
        const bytes = await scribble(bench, 0n, 8);
        await bench.ok(await bench.admin(), { opcode: sanitizeNvm, cdw: [erasure] });
        await bench.start();
        await sanitized(bench);
        expect(!Buffer.from(bytes).equals(await plainRead(bench, 0n, 8)), "the data is still there");
      },
    ],
  ],
);
