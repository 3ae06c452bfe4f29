/** Sizes on the command line: `512M`. */
import { usageError } from "../command-line.js";
import type { CommandDescription } from "../described/description.js";

const UNITS = { K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };

/** A size in bytes. @throws ConfigError */
export function sizeOf(command: Pick<CommandDescription, "name">, option: string, text: string): number {
  const [, digits, unit] = /^([1-9]\d{0,5})([KMGT])$/.exec(text) ?? [];
  const factor = Object.entries(UNITS).find(([name]) => name === unit)?.[1];
  if (digits === undefined || factor === undefined)
    throw usageError(command, `${option} ${JSON.stringify(text)}: expected a size such as 512M or 4G`);
  return Number(digits) * factor;
}
