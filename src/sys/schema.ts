/**
 * What descriptions of options and of data from outside share. zod's small build ("zod/mini") makes them: what every program
 * needs when it opens a device costs a fifth of the time there that the large one takes, and it counts (docs/performance.md).
 */
import * as z from "zod/mini";
import en from "zod/v4/locales/en.js";
import { ConfigError } from "./errors.js";
import { lazily } from "./lazy.js";

/** A whole number in [min, max]. */
export function integer(min: number, max = Number.MAX_SAFE_INTEGER): z.ZodMiniNumberFormat {
  return z.int().check(z.minimum(min), z.maximum(max));
}

/** A number in [min, max]. */
export function number(min: number, max: number): z.ZodMiniNumber {
  return z.number().check(z.minimum(min), z.maximum(max));
}

/**
 * How values are read here: once per object, so compiling a parser would take longer than it saves; and with words for what is
 * wrong, which the small build has none of by itself.
 */
const reading = lazily(() => ({ jitless: true, error: en().localeError }));

/**
 * Whether no option was given: then nothing has to be read, and for a program's first connection the schema, which takes
 * milliseconds to make, needn't be there.
 */
export function isEmpty(options: unknown): boolean {
  return typeof options === "object" && options !== null && Object.keys(options).length === 0;
}

/** What is wrong with a value, as one line. */
export class Problems {
  constructor(
    readonly text: string,
    readonly cause: Error,
  ) {}
}

/** @returns what the schema makes of the value, or what is wrong with it */
export function read<T extends z.core.$ZodType>(schema: T, value: unknown): z.output<T> | Problems {
  const result = z.safeParse(schema, value, reading());
  if (result.success) return result.data;
  const { issues } = result.error;
  return new Problems(
    issues.map(({ path, message }) => `${path.join(".") || "options"}: ${message}`).join("; "),
    result.error,
  );
}

/**
 * @param what names them in the error: "NVMe options"
 * @throws ConfigError naming every option that is wrong
 */
export function readOptions<T extends z.core.$ZodType>(
  what: string,
  schema: T,
  options: unknown,
): z.output<T> {
  const result = read(schema, options);
  if (result instanceof Problems) throw new ConfigError(`${what}: ${result.text}`, { cause: result.cause });
  return result;
}
