/** `iova repl`: the prompt of Node.js with a PCI function open. */
import { ConfigError } from "../../core/errors.js";
import { PciDevice } from "../../pci/device.js";
import { allBackendNames } from "../../pci/open.js";
import { parseOptions } from "../command-line.js";
import { print } from "../terminal.js";
import { NAMES_HELP, namesFor } from "./names.js";
import { Prompt } from "./prompt.js";
import { loadRegisters } from "./registers-file.js";
import { runStatements } from "./statements.js";

const HELP = `Usage: iova repl BDF [--registers FILE] [--bar N] [--backend NAME] [--vf-token UUID]

Opens a function that is bound to vfio-pci (iova bind), or vfio-user:PATH, which resets it, and starts the prompt of
Node.js with these names:

${NAMES_HELP}
Tab completes names. .exit, or Ctrl-D, closes the device. A program can also come from standard input: it can await, and
print(VALUE) shows a value as the prompt does.

  --registers FILE     a module that exports blocks of registers (registerBlock() of iova/pci)
  --bar N              the BAR that they are in (default 0)
  --backend NAME       ${allBackendNames.join(", ")}; default: the first that works
  --vf-token UUID      the secret of a physical function and its virtual functions
  --help               this text
`;

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
  if (options === undefined) {
    print(HELP);
    return;
  }
  const { backend, vfToken } = options;
  using device = PciDevice.open(options.target, { backend, vfToken });
  const { registers } = options;
  const regs = registers === undefined ? {} : await loadRegisters(registers, device.bar(options.bar));
  await converse(device, regs);
}

/** @returns undefined if help is asked for @throws ConfigError */
function parse(argv: readonly string[]): ReplOptions | undefined {
  const { values, positionals } = parsed(argv);
  if (values.help === true) return undefined;
  const [target, ...more] = positionals;
  if (target === undefined || more.length > 0) throw usage("repl takes one BDF or vfio-user:PATH");
  const backend = allBackendNames.find((name) => name === values.backend);
  if (values.backend !== undefined && backend === undefined)
    throw usage(`--backend ${values.backend}: expected one of ${allBackendNames.join(", ")}`);
  const { registers, bar = "0", "vf-token": vfToken } = values;
  if (!/^[0-5]$/.test(bar)) throw usage(`--bar ${bar}: expected a number from 0 to ${LAST_BAR}`);
  return { target, registers, bar: Number(bar), backend, vfToken };
}

/** @throws ConfigError */
function parsed(argv: readonly string[]) {
  return parseOptions(
    argv,
    {
      registers: { type: "string" },
      bar: { type: "string" },
      backend: { type: "string" },
      "vf-token": { type: "string" },
      help: { type: "boolean" },
    },
    "iova repl --help",
  );
}

function usage(problem: string): ConfigError {
  return new ConfigError(`${problem}; see iova repl --help`);
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
