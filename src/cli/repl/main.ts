/** `iova repl`: the prompt of Node.js with a PCI function open. */
import type { ConfigError } from "../../core/errors.js";
import { PciDevice } from "../../pci/device.js";
import { allBackendNames } from "../../pci/open.js";
import { parseCommandLine, usageError } from "../command-line.js";
import { replDescription } from "../described/repl.js";
import { print } from "../terminal.js";
import { namesFor } from "./names.js";
import { Prompt } from "./prompt.js";
import { loadRegisters } from "./registers-file.js";
import { runStatements } from "./statements.js";

const LAST_BAR = 5;

interface ReplOptions {
  readonly target: string;
  readonly registers: string | undefined;
  readonly bar: number;
  readonly backend: (typeof allBackendNames)[number] | undefined;
  readonly vfToken: string | undefined;
}

/** @throws ConfigError, and as PciDevice.open() */
export async function runRepl(argv: readonly string[]): Promise<void> {
  const options = parse(argv);
  const { backend, vfToken } = options;
  using device = PciDevice.open(options.target, { backend, vfToken });
  const { registers } = options;
  const regs = registers === undefined ? {} : await loadRegisters(registers, device.bar(options.bar));
  await converse(device, regs);
}

/** @throws ConfigError */
function parse(argv: readonly string[]): ReplOptions {
  const { values, positionals } = parseCommandLine(replDescription, argv);
  const [target, ...more] = positionals;
  if (target === undefined || more.length > 0) throw usage("repl takes one BDF or vfio-user:PATH");
  const backend = allBackendNames.find((name) => name === values.backend);
  if (values.backend !== undefined && backend === undefined)
    throw usage(`--backend ${values.backend}: expected one of ${allBackendNames.join(", ")}`);
  const { registers, bar = "0", "vf-token": vfToken } = values;
  if (!/^[0-5]$/.test(bar)) throw usage(`--bar ${bar}: expected a number from 0 to ${LAST_BAR}`);
  return { target, registers, bar: Number(bar), backend, vfToken };
}

function usage(problem: string): ConfigError {
  return usageError(replDescription, problem);
}

/** Runs the prompt, or the statements of standard input, until they end. */
async function converse(device: PciDevice, regs: Record<string, unknown>): Promise<void> {
  const prompt = process.stdin.isTTY && process.stdout.isTTY ? new Prompt(device) : undefined;
  const say = (line: string): void => (prompt === undefined ? print(line) : prompt.say(line));
  using _presence = device.onPresence(({ kind }) => say(`the device: ${kind}`));
  const names = namesFor(device, regs, say);
  try {
    await (prompt === undefined ? runStatements(process.stdin, names.context) : prompt.run(names.context));
  } finally {
    names.close();
  }
}
