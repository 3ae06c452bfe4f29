/** Parses command lines by descriptions. Every command's errors have one form. */
import { parseArgs } from "node:util";
import { ConfigError } from "../core/errors.js";
import { MAX_TIMEOUT_MS } from "./described/common.js";
import type { CommandDescription, OptionTable } from "./described/description.js";

/** What a command line says, by a table of options. */
type Parsed<T extends OptionTable> = ReturnType<
  typeof parseArgs<{ args: string[]; allowPositionals: true; options: T }>
>;

/**
 * Parses the arguments of a command by its description.
 * @throws ConfigError
 */
export function parseCommandLine<const T extends CommandDescription>(
  command: T,
  argv: readonly string[],
): Parsed<T["options"]> {
  const options: T["options"] = command.options;
  return parseOptions(argv, options, command);
}

/**
 * Calls util.parseArgs; its errors become one line.
 * @param options those of the command that may be given here
 * @throws ConfigError
 */
export function parseOptions<const T extends OptionTable>(
  argv: readonly string[],
  options: T,
  command: Pick<CommandDescription, "name">,
): Parsed<T> {
  try {
    return parseArgs({ args: [...argv], allowPositionals: true, options });
  } catch (cause) {
    const text = cause instanceof Error ? cause.message : String(cause);
    throw usageError(command, text.split(/\.\s|\n/, 1)[0] ?? text, cause);
  }
}

/** The error of a wrong command line: it names the command that explains the right one. */
export function usageError(
  { name }: Pick<CommandDescription, "name">,
  problem: string,
  cause?: unknown,
): ConfigError {
  const message = `${problem}; see iova ${name} --help`;
  return new ConfigError(message, cause === undefined ? undefined : { cause });
}

/** The value of --timeout. @throws ConfigError */
export function stepTimeoutOf(
  command: Pick<CommandDescription, "name">,
  text: string | undefined,
): number | undefined {
  if (text === undefined) return undefined;
  const value = /^\d+$/.test(text) ? Number(text) : 0;
  if (value >= 1 && value <= MAX_TIMEOUT_MS) return value;
  throw usageError(
    command,
    `--timeout ${JSON.stringify(text)}: expected milliseconds from 1 to ${MAX_TIMEOUT_MS}`,
  );
}

/** The only operand. @param what it is, such as `BDF` @throws ConfigError */
export function onlyOperand(
  command: Pick<CommandDescription, "name">,
  operands: readonly string[],
  what: string,
): string {
  const [operand] = operands;
  if (operand === undefined || operands.length > 1)
    throw usageError(command, `${command.name} takes one ${what}`);
  return operand;
}
