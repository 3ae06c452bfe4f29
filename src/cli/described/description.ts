/**
 * What a description of a command consists of. --help, the man page and the completions of shells are made of descriptions, and
 * the options are parsed by them. Descriptions import nothing but each other, so that `iova --help` loads no library.
 */

/** What a shell can offer in a place: words, or what it finds itself. */
export type Offer =
  | readonly string[]
  /** Files and folders. */
  | "file"
  | "folder"
  /** Addresses of PCI functions of this host. */
  | "function"
  /** Those, or vfio-user: and the path of a socket. */
  | "target"
  /** UUIDs of mediated devices, and devices whose drivers make them. */
  | "mediated"
  /** Vendor and device ids of this host's functions, and classes. */
  | "id"
  | "class"
  /** Names of the commands. */
  | "command"
  /** Anything, such as a number. */
  | "nothing";

interface Described {
  /** What it does, without a full stop. */
  readonly text: string;
}

/** An option without a value. */
export interface FlagOption extends Described {
  readonly type: "boolean";
  readonly short?: string;
}

/** An option with a value. */
export interface ValueOption extends Described {
  readonly type: "string";
  readonly short?: string;
  /** The value's name, such as `MS`. */
  readonly argument: string;
  readonly offer: Offer;
  /** Whether the value may begin with a dash, so that help writes `--name=VALUE`. */
  readonly joined?: true;
}

/** An option that can be given more than once. */
export interface RepeatedOption extends ValueOption {
  readonly multiple: true;
}

/** Options by their long names, also as util.parseArgs takes them. */
export type OptionTable = Readonly<Record<string, FlagOption | ValueOption | RepeatedOption>>;

export function flag(text: string, short?: string): FlagOption {
  return { type: "boolean", text, ...(short === undefined ? {} : { short }) };
}

/** @param offer what a shell can offer as the value */
export function value(
  argument: string,
  text: string,
  {
    offer = "nothing",
    ...more
  }: { readonly short?: string; readonly offer?: Offer; readonly joined?: true } = {},
): ValueOption {
  return { type: "string", argument, text, offer, ...more };
}

export function repeated(argument: string, text: string, offer: Offer = "nothing"): RepeatedOption {
  return { ...value(argument, text, { offer }), multiple: true };
}

/** A command line that works, and what it does. */
export interface Example {
  readonly command: string;
  readonly text: string;
}

/** Terms and what they mean, below a sentence. */
export interface TermList {
  readonly title: string;
  readonly terms: readonly (readonly [term: string, text: string])[];
}

/** A command, or a subcommand of `iova nvme`. */
export interface CommandDescription {
  /** What is typed after `iova`, such as `list` or `nvme read`. */
  readonly name: string;
  /** Operands in short, for lists of commands. */
  readonly operands: string;
  /** What it does, in a line without a full stop. */
  readonly summary: string;
  /** The ways to call it, without `iova NAME`. */
  readonly usage: readonly string[];
  /** Paragraphs. */
  readonly text: readonly string[];
  readonly lists?: readonly TermList[];
  /** What a shell can offer as operands, in their order; the last also for all after it. */
  readonly offers: readonly Offer[];
  readonly options: OptionTable;
  readonly examples: readonly Example[];
  /** Exit statuses that mean something else than {@link STATUSES}. */
  readonly statuses?: Readonly<Record<number, string>>;
  /** Other names of a subcommand, each with the arguments that it stands for. */
  readonly aliases?: Readonly<Record<string, readonly string[]>>;
}

/** Exit statuses of every command. */
export const STATUSES: Readonly<Record<number, string>> = {
  0: "done",
  1: "failed, with the reason in one line on standard error",
  2: "wrong usage",
};

/** Keeps the exact types of the options, by which the parsed values have theirs. */
export function describe<const T extends CommandDescription>(description: T): T {
  return description;
}
