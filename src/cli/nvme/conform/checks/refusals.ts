/** Rows of commands that must be refused. */
import type { Oncs } from "../../../../nvme/spec/capabilities.js";
import { NvmeStatus } from "../../../../nvme/spec/status.js";
import type { Blocks, ConformBench, Fields } from "../bench.js";
import { optional, range } from "./blocks.js";

const { lbaOutOfRange, invalidNamespace } = NvmeStatus;
/** A check of a command that must be refused for its range or its namespace. */
export const refusals = (opcode: number, name: string, needed?: keyof typeof Oncs) =>
  (
    [
      ["of a block beyond the last", (n) => ({ cdw: range(n.sizeBlocks, 1) }), lbaOutOfRange],
      ["over the end", (n) => ({ cdw: range(n.sizeBlocks - 1n, 2) }), lbaOutOfRange],
      ["of block 2^63", () => ({ cdw: range(2n ** 63n, 1) }), lbaOutOfRange],
      ["of a namespace that there can't be", () => ({ nsid: 0xffff_fff0 }), invalidNamespace],
    ] as const satisfies readonly (readonly [string, (n: Blocks) => Partial<Fields>, number])[]
  ).map(
    ([what, fields, expected]) =>
      [
        `a ${name} ${what} is refused`,
        `NVM: ${name} command`,
        async (bench: ConformBench) => {
          if (needed !== undefined) await optional(bench, needed);
          const blocks = await bench.blocks();
          // Write Zeroes, Write Uncorrectable and Verify have no data.
          const data = (opcode & 3) === 0 ? {} : { data: bench.alloc(16_384) };
          const plain = { opcode, nsid: blocks.nsid, cdw: range(0n, 1), ...data };
          await bench.fails(await bench.io(), { ...plain, ...fields(blocks) }, expected);
        },
      ] as const,
  );

/** A check of an admin command that must be refused. */
export const refused = (
  what: string,
  section: string,
  fields: (bench: ConformBench) => Promise<Fields> | Fields,
  ...expected: readonly number[]
) =>
  [
    `${what} is refused`,
    section,
    async (bench: ConformBench) => {
      await bench.start();
      await bench.fails(await bench.admin(), await fields(bench), ...expected);
    },
  ] as const;
