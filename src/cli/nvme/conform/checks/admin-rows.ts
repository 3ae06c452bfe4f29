/** Rows of admin commands that a controller may lack (OACS). */
import type { Oacs } from "../../../../nvme/spec/capabilities.js";
import type { ConformBench, Fields } from "../bench.js";
import { needs } from "../findings.js";
import { promises } from "./promises.js";

/** Operations of the medium may take hours; those that take longer aren't waited for. */
export const LONG_MS = 600_000;

/** A row of a check that needs a command. */
export const row = (
  bit: keyof typeof Oacs,
  name: string,
  section: string,
  run: (bench: ConformBench) => Promise<unknown>,
) =>
  [
    name,
    section,
    async (bench: ConformBench) => {
      needs(promises.oacs(await bench.controller(), bit), "there is no such command (OACS)");
      return await run(bench);
    },
  ] as const;

/** A row of a command that must be refused. */
export const refusedRow = (
  bit: keyof typeof Oacs,
  what: string,
  section: string,
  fields: (bench: ConformBench) => Promise<Fields>,
  ...expected: readonly number[]
) =>
  row(bit, `${what} is refused`, section, async (bench) => {
    const command = await fields(bench);
    await bench.fails(await bench.admin(), command, ...expected);
  });
