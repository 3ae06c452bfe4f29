/**
 * Declares a subcommand of one controller in a few lines: what its arguments are, what it does with the open controller, and the
 * JSON that it prints. Its options and texts are in described/nvme.
 */
import type { ConfigError } from "../../core/errors.js";
import type { NvmeController } from "../../nvme/controller.js";
import { parseOptions } from "../command-line.js";
import type { CommandDescription, OptionTable } from "../described/description.js";
import { print } from "../terminal.js";
import { bigOption, controllerOptions, numberOption, targetOperand, usage, wantsJson } from "./arguments.js";
import { openSource, STANDARD } from "./commands/data-file.js";
import { assertCanConfirm, confirm } from "./confirm.js";
import { layout } from "./layout.js";
import { withController } from "./open.js";
import { type Json, printJson } from "./output.js";
import type { NvmeSubcommand } from "./subcommand.js";
import { assertUnused, type Destroyed } from "./unused.js";

/** What a subcommand prints. */
export interface Result {
  readonly json: Json;
  /** By default made of the JSON. */
  readonly text?: string;
  /** What --raw-binary writes. */
  readonly bytes?: Uint8Array;
}

/**
 * Asks before something changes.
 * @param what happens, as a sentence without its full stop
 * @param destroyed whose data is lost: refuses what is in use
 */
export type Ask = (what: string, destroyed?: Destroyed) => Promise<void>;

/** What a subcommand does with the controller. @returns undefined if it has printed what there is */
export type Work = (nvme: NvmeController, ask: Ask) => Promise<Result | undefined>;

const MOST_U32 = 0xffff_ffff;
/** Most bytes of a file that one command could carry. */
const MOST_FILE_BYTES = 64 << 20;

/** The arguments of a command line. Each method throws a ConfigError that names the option and its value. */
export class Arguments<N extends string> {
  /** Whether it changes the device, and has to ask. */
  asks: boolean;

  constructor(
    /** The subcommand, for messages. */
    readonly name: string,
    /** The first of its operands, if it has words for that: what it is to do. */
    readonly verb: string,
    private readonly values: Readonly<Record<string, unknown>>,
    options: OptionTable,
  ) {
    this.asks = Object.hasOwn(options, "yes");
  }

  text(option: N): string | undefined {
    const given = this.values[option];
    return typeof given === "string" ? given : undefined;
  }

  has(option: N): boolean {
    return this.values[option] === true;
  }

  number(option: N, most: number = MOST_U32, least = 0): number | undefined {
    return numberOption(this.name, option, this.text(option), least, most);
  }

  big(option: N, most?: bigint, least?: bigint): bigint | undefined {
    return bigOption(this.name, option, this.text(option), least, most);
  }

  /** A number that has to be there. */
  needed(option: N, most: number = MOST_U32, least = 0): number {
    return this.number(option, most, least) ?? this.missing(option);
  }

  /** Numbers with commas between them. */
  list(option: N, most: bigint, least = 0n): readonly bigint[] | undefined {
    return this.text(option)
      ?.split(",")
      .map((each) => bigOption(this.name, option, each.trim(), least, most) ?? 0n);
  }

  /** The bytes of a file, or of standard input. */
  async file(option: N): Promise<Uint8Array | undefined> {
    const path = this.text(option);
    if (path === undefined) return undefined;
    if (path === STANDARD && this.asks && this.values["yes"] !== true)
      throw this.wrong("standard input holds the data and can't answer the question: add --yes");
    await using source = await openSource(path);
    const most = source.sizeBytes ?? MOST_FILE_BYTES + 1;
    const bytes = new Uint8Array(Math.min(most, MOST_FILE_BYTES + 1));
    const length = await source.read(bytes);
    if (length === 0 || length > MOST_FILE_BYTES)
      throw this.wrong(`--${option}: ${source.name} has ${length === 0 ? "no" : "too many"} bytes`);
    return bytes.subarray(0, length);
  }

  missing(option: string): never {
    throw this.wrong(`${this.name} needs --${option}`);
  }

  wrong(problem: string): ConfigError {
    return usage(this.name, problem);
  }
}

/** Reads the arguments before anything is opened. @returns what to do with the controller, or what to print without one */
export type Prepare<D extends CommandDescription> = (
  args: Arguments<Extract<keyof D["options"], string>>,
) => Work | Promise<Work | Result>;

/** A subcommand that also works on a controller that is open. */
export interface DeclaredSubcommand extends NvmeSubcommand {
  /** What it prints without options. @throws IovaError */
  onOpen(nvme: NvmeController): Promise<Result | undefined>;
}

/** Makes the subcommands that are described, in their order. */
export function commands<const D extends Readonly<Record<string, CommandDescription>>>(
  descriptions: D,
  prepares: { readonly [K in keyof D]: Prepare<D[K]> },
): readonly DeclaredSubcommand[] {
  const names: readonly (keyof D)[] = Object.keys(descriptions);
  return names.map((name) => command(descriptions[name], prepares[name]));
}

function command<const D extends CommandDescription>(
  description: D,
  prepare: Prepare<D>,
): DeclaredSubcommand {
  const name = description.name.replace("nvme ", "");
  const options: OptionTable = description.options;
  async function run(argv: readonly string[]): Promise<void> {
    const { values, positionals } = parseOptions(argv, options, description);
    const given = (option: string): string | undefined => {
      const value = values[option];
      return typeof value === "string" ? value : undefined;
    };
    const verbs = description.offers[0];
    const [verb = "", ...operands] = typeof verbs === "object" ? positionals : ["", ...positionals];
    if (typeof verbs === "object" && !verbs.includes(verb))
      throw usage(name, `${name} needs one of ${verbs.join(", ")}`);
    const target = targetOperand(name, operands);
    const opening = controllerOptions(name, {
      backend: given("backend"),
      timeout: given("timeout"),
      "vf-token": given("vf-token"),
      "trust-server": values["trust-server"] === true,
      quirks: given("quirks"),
    });
    const json = wantsJson(name, {
      json: values["json"] === true,
      "output-format": given("output-format"),
    });
    const args = new Arguments<Extract<keyof D["options"], string>>(name, verb, values, options);
    const work = await prepare(args);
    if (typeof work !== "function") return show(work, json, false);
    const yes = values["yes"] === true || !args.asks;
    assertCanConfirm(name, yes);
    const result = await withController(target, opening, (nvme) =>
      work(nvme, async (what, destroyed) => {
        if (destroyed !== undefined) await assertUnused(nvme, destroyed, values["force"] === true);
        await confirm(nvme, what, yes);
      }),
    );
    if (result !== undefined) show(result, json, values["raw-binary"] === true);
  }
  async function onOpen(nvme: NvmeController): Promise<Result | undefined> {
    const work = await prepare(new Arguments<Extract<keyof D["options"], string>>(name, "", {}, options));
    return typeof work === "function" ? await work(nvme, async () => {}) : work;
  }
  return { description, run, onOpen };
}

function show({ json, text, bytes }: Result, asJson: boolean, raw: boolean): void {
  if (raw && bytes !== undefined) process.stdout.write(bytes);
  else if (asJson) printJson(json);
  else print(text ?? layout(json));
}
