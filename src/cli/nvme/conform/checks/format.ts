/** Format NVM. */
import { hexDigits } from "../../../../core/hex-digits.js";
import { decodeBits, Fna } from "../../../../nvme/spec/capabilities.js";
import { identifyNamespace } from "../../../../nvme/spec/identify.js";
import { AdminOpcode, IdentifyCns } from "../../../../nvme/spec/opcodes.js";
import { NvmeStatus } from "../../../../nvme/spec/status.js";
import type { ConformBench, Fields } from "../bench.js";
import { subjectOf } from "../check.js";
import { expect, needs } from "../findings.js";
import { LONG_MS, refusedRow, row } from "./admin-rows.js";
import { expectBlocks, plainRead, scribble } from "./blocks.js";

const FORMAT = "Base: Format NVM command";
const { formatNvm } = AdminOpcode;
const { invalidField, invalidNamespace, invalidFormat } = NvmeStatus;

async function namespace(bench: ConformBench) {
  const { nsid } = await bench.blocks();
  const { nlbaf, lbaf, flbas } = identifyNamespace.decode(await bench.identify(IdentifyCns.namespace, nsid));
  return { nsid, formats: lbaf.slice(0, Math.min(nlbaf, 15) + 1), current: flbas & 0xf };
}

const formatFields = async (
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

export const format = subjectOf(
  "format",
  [],
  [
    row("format", "a format erases, and keeps the LBA format that it names", FORMAT, async (bench) => {
      const bytes = await scribble(bench, 0n, 8);
      await longOk(bench, await formatFields(bench, (_, now) => now));
      const { blockBytes } = await bench.blocks();
      const after = await plainRead(bench, 0n, 8);
      expect(after.length === 8 * blockBytes && !Buffer.from(bytes).equals(after), "the data is still there");
    }),
    row("format", "a format with user data erase erases", FORMAT, async (bench) => {
      const bytes = await scribble(bench, 0n, 8);
      await longOk(bench, await formatFields(bench, (_, now) => now | (1 << 9)));
      expect(!Buffer.from(bytes).equals(await plainRead(bench, 0n, 8)), "the data is still there");
    }),
    row("format", "a cryptographic erase erases, or is refused if FNA lacks it", FORMAT, async (bench) => {
      const { cryptographicErase } = decodeBits((await bench.controller()).fna, Fna);
      const bytes = await scribble(bench, 0n, 8);
      const fields = await formatFields(bench, (_, now) => now | (2 << 9));
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
    refusedRow(
      "format",
      "a format to an LBA format that there isn't",
      FORMAT,
      (bench) =>
        formatFields(bench, (count) => {
          needs(count < 16, "there are 16 LBA formats");
          return 15;
        }),
      invalidFormat,
    ),
    refusedRow(
      "format",
      "a format with protection and without metadata",
      FORMAT,
      (bench) => formatFields(bench, (_, now) => now | (1 << 5)),
      invalidFormat,
      invalidField,
    ),
    refusedRow(
      "format",
      "a format with a reserved type of protection",
      FORMAT,
      (bench) => formatFields(bench, (_, now) => now | (7 << 5)),
      invalidFormat,
      invalidField,
    ),
    refusedRow(
      "format",
      "a format with a reserved secure erase setting",
      FORMAT,
      (bench) => formatFields(bench, (_, now) => now | (7 << 9)),
      invalidField,
    ),
    ...[0, 0xffff_fff0].map((nsid) =>
      refusedRow(
        "format",
        `a format of namespace ${hexDigits(nsid, 8)}h`,
        FORMAT,
        async (bench) => ({ ...(await formatFields(bench, (_, now) => now)), nsid }),
        invalidNamespace,
        invalidField,
      ),
    ),
  ],
);
