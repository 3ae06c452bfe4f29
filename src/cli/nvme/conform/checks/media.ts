/** Format NVM, Sanitize and firmware: everything here destroys data or could change the controller, if it did what it mustn't. */
import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { hexDigits } from "../../../../core/hex-digits.js";
import { decodeBits, Fna, Frmw, Oacs, Sanicap } from "../../../../nvme/spec/capabilities.js";
import { identifyNamespace } from "../../../../nvme/spec/identify.js";
import { firmwareSlotLog, SanitizeStatus, sanitizeLog } from "../../../../nvme/spec/log-pages.js";
import { AdminOpcode, IdentifyCns, LogPageId } from "../../../../nvme/spec/opcodes.js";
import { NvmeRegister } from "../../../../nvme/spec/registers.js";
import { NvmeStatus } from "../../../../nvme/spec/status.js";
import type { ConformBench, Fields } from "../bench.js";
import { subjectOf } from "../check.js";
import { expect, needs } from "../findings.js";
import { expectBlocks, plainRead, range, scribble } from "./blocks.js";
import { readLog } from "./logs-and-features.js";

const FORMAT = "Base: Format NVM command";
const SANITIZE = "Base: Sanitize command";
const FIRMWARE = "Base: Firmware Commit command";
const DOWNLOAD = "Base: Firmware Image Download command";
const { formatNvm, sanitize, firmwareCommit, firmwareImageDownload } = AdminOpcode;
const { invalidField, invalidNamespace, invalidFormat, invalidFirmwareSlot, invalidFirmwareImage } =
  NvmeStatus;
/** Operations of the medium may take hours; those that take longer aren't waited for. */
const LONG_MS = 600_000;
const POLL_MS = 20;
/** SANACT of the erasures, and CDW10 with one pass for an overwrite. */
const erasures = [
  ["blockErase", "block erase", 2],
  ["overwrite", "overwrite", 3 | (1 << 4)],
  ["cryptoErase", "crypto erase", 4],
] as const;

/** A row of a check that needs an optional command. */
const row = (
  bit: "format" | "firmware",
  name: string,
  section: string,
  run: (bench: ConformBench) => Promise<unknown>,
) =>
  [
    name,
    section,
    async (bench: ConformBench) => {
      needs(
        decodeBits((await bench.controller()).oacs, Oacs)[bit] === true,
        "there is no such command (OACS)",
      );
      return await run(bench);
    },
  ] as const;

/** A row of a command that must be refused. */
const refused = (
  bit: "format" | "firmware",
  what: string,
  section: string,
  fields: (bench: ConformBench) => Promise<Fields>,
  ...expected: readonly number[]
) =>
  row(bit, `${what} is refused`, section, async (bench) => {
    const command = await fields(bench);
    await bench.fails(await bench.admin(), command, ...expected);
  });

async function namespace(bench: ConformBench) {
  const { nsid } = await bench.blocks();
  const { nlbaf, lbaf, flbas } = identifyNamespace.decode(await bench.identify(IdentifyCns.namespace, nsid));
  return { nsid, formats: lbaf.slice(0, Math.min(nlbaf, 15) + 1), current: flbas & 0xf };
}

const format = async (
  bench: ConformBench,
  cdw10: (count: number, now: number) => number,
): Promise<Fields> => {
  const { nsid, formats, current } = await namespace(bench);
  return { opcode: formatNvm, nsid, cdw: [cdw10(formats.length, current)] };
};

/** Sends a command that may take long. */
async function longOk(bench: ConformBench, fields: Fields): Promise<void> {
  await bench.ok(await bench.admin(), fields, Math.max(LONG_MS, bench.timeoutMs));
}

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

async function slots(bench: ConformBench) {
  const found = decodeBits((await bench.controller()).frmw, Frmw);
  const { afi, frs } = firmwareSlotLog.decode(await readLog(bench, LogPageId.firmwareSlot, 512));
  const count = Number(found.slots);
  const first = found.firstSlotReadOnly === true ? 2 : 1;
  const writable = Array.from({ length: count }, (_, i) => i + 1).filter((slot) => slot >= first);
  return { count, writable, active: afi & 7, frs, readOnly: first === 2 };
}

const commit = (action: number, slot: number): Fields => ({
  opcode: firmwareCommit,
  cdw: [slot | (action << 3)],
});
const download = (bench: ConformBench, at: number, bytes: number): Fields => {
  const data = bench.alloc(bytes);
  data.bytes.set(randomBytes(bytes));
  return { opcode: firmwareImageDownload, data, cdw: [bytes / 4 - 1, at / 4] };
};

/** A slot that can be written, and isn't the running one's. */
async function spare(bench: ConformBench): Promise<number> {
  const { writable, active } = await slots(bench);
  const slot = writable.find((one) => one !== active) ?? 0;
  needs(slot !== 0, "no slot can be written but the active one");
  return slot;
}

export const media = subjectOf(
  "format, sanitize, firmware",
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
    row("format", "a format erases, and keeps the LBA format that it names", FORMAT, async (bench) => {
      const bytes = await scribble(bench, 0n, 8);
      await longOk(bench, await format(bench, (_, now) => now));
      const { blockBytes } = await bench.blocks();
      const after = await plainRead(bench, 0n, 8);
      expect(after.length === 8 * blockBytes && !Buffer.from(bytes).equals(after), "the data is still there");
    }),
    row("format", "a format with user data erase erases", FORMAT, async (bench) => {
      const bytes = await scribble(bench, 0n, 8);
      await longOk(bench, await format(bench, (_, now) => now | (1 << 9)));
      expect(!Buffer.from(bytes).equals(await plainRead(bench, 0n, 8)), "the data is still there");
    }),
    row("format", "a cryptographic erase erases, or is refused if FNA lacks it", FORMAT, async (bench) => {
      const { cryptographicErase } = decodeBits((await bench.controller()).fna, Fna);
      const bytes = await scribble(bench, 0n, 8);
      const fields = await format(bench, (_, now) => now | (2 << 9));
      if (cryptographicErase !== true) {
        await bench.fails(await bench.admin(), fields, invalidField);
        return "FNA lacks it";
      }
      await longOk(bench, fields);
      expect(!Buffer.from(bytes).equals(await plainRead(bench, 0n, 8)), "the data is still there");
      return undefined;
    }),
    row("format", "each LBA format without metadata can be had, and works", FORMAT, async (bench) => {
      const { nsid, formats, current } = await namespace(bench);
      const plain = formats.flatMap(({ metadataBytes, blockSizeBytes }, i) =>
        metadataBytes === 0 && blockSizeBytes >= 512 ? [i] : [],
      );
      try {
        for (const index of plain) {
          await longOk(bench, { opcode: formatNvm, nsid, cdw: [index] });
          const { blockBytes } = await bench.blocks();
          const wanted = formats[index]?.blockSizeBytes;
          expect(blockBytes === wanted, `blocks of ${blockBytes} bytes after a format to ${wanted}`);
          await expectBlocks(bench, 1n, await scribble(bench, 1n, 2));
        }
      } finally {
        await longOk(bench, { opcode: formatNvm, nsid, cdw: [current] });
      }
      return `${plain.length} formats`;
    }),
    refused(
      "format",
      "a format to an LBA format that there isn't",
      FORMAT,
      (bench) =>
        format(bench, (count) => {
          needs(count < 16, "there are 16 LBA formats");
          return 15;
        }),
      invalidFormat,
    ),
    refused(
      "format",
      "a format with protection and without metadata",
      FORMAT,
      (bench) => format(bench, (_, now) => now | (1 << 5)),
      invalidFormat,
      invalidField,
    ),
    refused(
      "format",
      "a format with a reserved type of protection",
      FORMAT,
      (bench) => format(bench, (_, now) => now | (7 << 5)),
      invalidFormat,
      invalidField,
    ),
    refused(
      "format",
      "a format with a reserved secure erase setting",
      FORMAT,
      (bench) => format(bench, (_, now) => now | (7 << 9)),
      invalidField,
    ),
    ...[0, 0xffff_fff0].map((nsid) =>
      refused(
        "format",
        `a format of namespace ${hexDigits(nsid, 8)}h`,
        FORMAT,
        async (bench) => ({ ...(await format(bench, (_, now) => now)), nsid }),
        invalidNamespace,
        invalidField,
      ),
    ),
    ...([0, 6, 7] as const).map(
      (action) =>
        [
          `the reserved sanitize action ${action} is refused`,
          SANITIZE,
          async (bench: ConformBench) => {
            await sanicap(bench);
            await bench.fails(await bench.admin(), { opcode: sanitize, cdw: [action] }, invalidField);
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
            const fields = { opcode: sanitize, cdw: [cdw10, 0x5a5a_5a5a] };
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
        await bench.ok(await bench.admin(), { opcode: sanitize, cdw: [erasure] });
        const read = await bench.send(queue, { opcode: 2, nsid, data, cdw: range(0n, 1) });
        const second = await bench.send(await bench.admin(), { opcode: sanitize, cdw: [erasure] });
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
        await bench.ok(await bench.admin(), { opcode: sanitize, cdw: [erasure] });
        await bench.start();
        await sanitized(bench);
        expect(!Buffer.from(bytes).equals(await plainRead(bench, 0n, 8)), "the data is still there");
      },
    ],
    refused(
      "firmware",
      "the reserved commit action 5",
      FIRMWARE,
      async (bench) => commit(5, await spare(bench)),
      invalidField,
    ),
    refused(
      "firmware",
      "a commit to a slot that there isn't",
      FIRMWARE,
      async (bench) => {
        const { count } = await slots(bench);
        needs(count < 7, "all 7 slots exist");
        return commit(0, count + 1);
      },
      invalidFirmwareSlot,
    ),
    refused(
      "firmware",
      "a commit to a slot that can't be written",
      FIRMWARE,
      async (bench) => {
        needs((await slots(bench)).readOnly, "slot 1 can be written");
        return commit(0, 1);
      },
      invalidFirmwareSlot,
    ),
    refused(
      "firmware",
      "an activation of an empty slot",
      FIRMWARE,
      async (bench) => {
        const { writable, frs } = await slots(bench);
        const empty = writable.find((slot) => (frs[slot - 1] ?? "").replace(/[\0 ]/g, "") === "");
        needs(empty !== undefined, "no slot is empty");
        return commit(2, empty ?? 0);
      },
      invalidFirmwareSlot,
      invalidFirmwareImage,
    ),
    refused(
      "firmware",
      "a commit without a download",
      FIRMWARE,
      async (bench) => {
        await bench.start();
        return commit(0, await spare(bench));
      },
      invalidFirmwareImage,
    ),
    refused(
      "firmware",
      "a commit of random bytes",
      FIRMWARE,
      async (bench) => {
        const slot = await spare(bench);
        await bench.start();
        await bench.ok(await bench.admin(), download(bench, 0, 4096));
        return commit(0, slot);
      },
      invalidFirmwareImage,
    ),
    row(
      "firmware",
      "pieces that overlap are refused, at once or with the commit",
      DOWNLOAD,
      async (bench) => {
        const slot = await spare(bench);
        const admin = await bench.start();
        await bench.ok(admin, download(bench, 4096, 4096));
        const { status } = await bench.send(admin, download(bench, 4096, 4096));
        expect(status === 0 || status === NvmeStatus.overlappingRange, `status ${hexDigits(status, 3)}h`);
        await bench.fails(admin, commit(0, slot), invalidFirmwareImage, NvmeStatus.overlappingRange);
        await bench.stop();
      },
    ),
    refused(
      "firmware",
      "a piece that isn't at a multiple of FWUG",
      DOWNLOAD,
      async (bench) => {
        const { fwug } = await bench.controller();
        needs(fwug !== 0 && fwug !== 0xff, `FWUG ${hexDigits(fwug, 2)}h`);
        return download(bench, 4, 4096);
      },
      invalidField,
    ),
    row("firmware", "what was refused has left the slots as they were", FIRMWARE, async (bench) => {
      const before = JSON.stringify(await slots(bench));
      const admin = await bench.start();
      await bench.ok(admin, download(bench, 0, 4096));
      await bench.send(admin, commit(0, await spare(bench)));
      await bench.start();
      expect(JSON.stringify(await slots(bench)) === before, "they changed");
    }),
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
