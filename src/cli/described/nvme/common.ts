/** Options and sentences that subcommands of `iova nvme` share. */
import { backend, vfToken } from "../common.js";
import { flag, type OptionTable, type ValueOption, value } from "../description.js";

export const TARGET =
  "TARGET is a PCI address such as 0000:00:03.0 of a function bound to vfio-pci (iova bind), vfio-user:PATH, or served:PATH@BDF (iova serve).";

/** Options of every subcommand that opens a controller. */
export const controllerOptions = {
  backend,
  timeout: value("MS", "time limit of each command in milliseconds (default 30000)", { short: "t" }),
  "vf-token": vfToken,
  "trust-server": flag("vfio-user: also map files that the server could truncate (SPDK)"),
  quirks: value(
    "LIST",
    'add and remove known quirks (+NAME,-NAME), or give the whole list (NAME,NAME); "none"',
    { joined: true },
  ),
} as const;

/** Options of every subcommand with JSON output. */
export const jsonOptions = {
  json: flag("print JSON"),
  "output-format": value("FORMAT", "json, the same as --json; or normal", {
    short: "o",
    offer: ["json", "normal"],
  }),
} as const;

export const yesOption = flag("don't ask; needed without a terminal");

/** Of every subcommand that destroys data. */
export const forceOption = flag("also destroy partitions, file systems and volumes, without a look for them");

/** The only namespace, unless there are several. */
export const namespaceOption = value("N", "the namespace (default: the only one)", { short: "n" });

/** The range of blocks that read, write and trim take. */
export const blocksOptions = {
  "start-block": value("N", "first logical block (default 0)", { short: "s" }),
  blocks: value("N", "how many logical blocks"),
  "block-count": value("N", "zero-based, as in nvme-cli: 0 is one block", { short: "c" }),
  "data-size": value("BYTES", "the same in bytes, a multiple of the block size", { short: "z" }),
} as const;

/** Options of every subcommand that is declared by {@link reads} and {@link changes}. @param taken short names that its own have */
function sharedOptions(taken: string) {
  const unlessTaken = (option: ValueOption): ValueOption => {
    const { short, ...bare } = option;
    return short !== undefined && taken.includes(short) ? bare : option;
  };
  return {
    ...jsonOptions,
    ...controllerOptions,
    "output-format": unlessTaken(jsonOptions["output-format"]),
    timeout: unlessTaken(controllerOptions.timeout),
  };
}

/** What a subcommand has beside what all have. */
interface Own<O extends OptionTable> {
  /** What it can't do without, for the line of usage. */
  readonly needs?: string;
  /** What the summary doesn't say. */
  readonly text?: string;
  readonly options: O;
  /** What follows the target, and what that does. */
  readonly example: readonly [args: string, text: string];
  readonly aliases?: Readonly<Record<string, readonly string[]>>;
}

function declared<const O extends OptionTable>(
  name: string,
  summary: string,
  { needs = "", text, options, example: [args, does], aliases = {} }: Own<O>,
  yes: string,
) {
  const taken = Object.values(options).map(({ short = "" }) => short);
  const line = (...words: readonly string[]): string => words.filter((word) => word !== "").join(" ");
  return {
    name: `nvme ${name}`,
    operands: line("TARGET", needs),
    summary,
    usage: [line("TARGET", needs, "[OPTIONS]", yes)],
    text: [...(text === undefined ? [] : [text]), TARGET],
    offers: ["target", "nothing"],
    options: { ...sharedOptions(taken.join("")), ...options },
    examples: [{ command: line("iova nvme", name, "0000:00:03.0", args, yes), text: does }],
    aliases,
  } as const;
}

/** A subcommand that only reads from a controller. */
export function reads<const O extends OptionTable>(name: string, summary: string, own: Own<O>) {
  return declared(name, summary, own, "");
}

/** A subcommand that changes something, and asks before it does. */
export function changes<const O extends OptionTable>(name: string, summary: string, own: Own<O>) {
  return declared(name, summary, { ...own, options: { ...own.options, yes: yesOption } }, "--yes");
}

/** A subcommand that destroys data. It refuses what holds partitions or a file system, and asks. */
export function destroys<const O extends OptionTable>(name: string, summary: string, own: Own<O>) {
  return changes(name, summary, { ...own, options: { ...own.options, force: forceOption } });
}
