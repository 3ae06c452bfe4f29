/**
 * What descriptions of options and of data from outside share. zod's small build ("zod/mini") makes them: what every program
 * needs when it opens a device costs a fifth of the time there that the large one takes, and it counts (docs/internals/performance.md).
 */
import * as z from "zod/mini";
import en from "zod/v4/locales/en.js";
import { show } from "./check.js";
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
const reading = lazily(() => ({ jitless: true, reportInput: true, error: en().localeError }));

/** Longest text of a value in an error. */
const SHOWN_CHARACTERS = 60;

/** What is wrong, with the value. @param place of the value in what the user gave */
function describe(place: readonly PropertyKey[], issue: z.core.$ZodIssue): string {
  const at = [...place, ...issue.path];
  if (issue.code === "invalid_union") {
    // The alternative of the value's type tells more than "Invalid input".
    const fitting = issue.errors.find((issues) => issues.length > 0 && !issues.some(isOtherType));
    if (fitting !== undefined) return fitting.map((each) => describe(at, each)).join("; ");
    const expected = new Set(issue.errors.flat().flatMap(expectedBy));
    return `${nameOf(at)}: expected one of ${[...expected].join(", ")}${gotText(issue)}`;
  }
  return `${nameOf(at)}: ${issue.message}${gotText(issue)}`;
}

function nameOf(at: readonly PropertyKey[]): string {
  return at.map(String).join(".") || "options";
}

/** Whether the value can't be meant as this alternative of a union. */
function isOtherType({ path, code }: z.core.$ZodIssue): boolean {
  return path.length === 0 && (code === "invalid_type" || code === "invalid_value");
}

function expectedBy(issue: z.core.$ZodIssue): string[] {
  if (issue.code === "invalid_value") return issue.values.map(show);
  return issue.code === "invalid_type" ? [issue.expected] : [issue.message];
}

/** The value, unless it is an object, missing, or a secret. */
function gotText(issue: z.core.$ZodIssue): string {
  const { input } = issue;
  if (input === undefined || (typeof input === "object" && input !== null) || typeof input === "function") {
    return "";
  }
  if (issue.code === "custom" && issue.params?.["isSecret"] === true) return "";
  const text = show(input);
  return `, got ${text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}...` : text}`;
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
  return readAt([], schema, value);
}

/** @param place of the value in what the user gave */
function readAt<T extends z.core.$ZodType>(
  place: readonly string[],
  schema: T,
  value: unknown,
): z.output<T> | Problems {
  const result = z.safeParse(schema, value, reading());
  if (result.success) return result.data;
  return new Problems(result.error.issues.map((issue) => describe(place, issue)).join("; "), result.error);
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

/**
 * Reads options one by one, and describes only those that were given: schemas take milliseconds to make, and most programs
 * leave most of the options out.
 */
export class GivenOptions<T extends object> {
  private readonly problems: Problems[] = [];
  private readonly known = new Set<string>();

  /**
   * @param what names them in the error: "NVMe options"
   * @throws ConfigError: no object
   */
  constructor(
    private readonly what: string,
    private readonly options: T,
  ) {
    if (typeof options !== "object" || options === null || Array.isArray(options)) {
      throw new ConfigError(`${what}: must be an object`);
    }
  }

  /** @returns undefined where it was left out, or is wrong: then {@link end} tells */
  get<S extends z.core.$ZodType>(name: keyof T & string, schema: () => S): z.output<S> | undefined {
    this.known.add(name);
    const value: unknown = this.options[name];
    if (value === undefined) return undefined;
    const result = readAt([name], schema(), value);
    if (!(result instanceof Problems)) return result;
    this.problems.push(result);
    return undefined;
  }

  /** All that can be given was asked for. @throws ConfigError naming every option that is wrong or not known */
  end(): void {
    const texts = this.problems.map(({ text }) => text);
    for (const name of Object.keys(this.options))
      if (!this.known.has(name)) texts.push(`${name}: unknown option`);
    if (texts.length === 0) return;
    throw new ConfigError(`${this.what}: ${texts.join("; ")}`, { cause: this.problems[0]?.cause });
  }
}
