/** Parses command lines. Every command's errors have one form. */
import { type ParseArgsConfig, parseArgs } from "node:util";
import { ConfigError } from "../core/errors.js";

/** Options as util.parseArgs takes them. */
export type OptionTable = NonNullable<ParseArgsConfig["options"]>;

/**
 * Calls util.parseArgs; its errors become one line.
 * @param help the command that lists the options
 * @throws ConfigError
 */
export function parseOptions<const T extends OptionTable>(
  argv: readonly string[],
  options: T,
  help: string,
): ReturnType<typeof parseArgs<{ args: string[]; allowPositionals: true; options: T }>> {
  try {
    return parseArgs({ args: [...argv], allowPositionals: true, options });
  } catch (cause) {
    const text = cause instanceof Error ? cause.message : String(cause);
    throw new ConfigError(`${text.split(/\.\s|\n/, 1)[0] ?? text}; see ${help}`, { cause });
  }
}
