/** `iova nvme`: finds the subcommand. Each has a file of its own, and is in the list below. */
import { ConfigError } from "../../core/errors.js";
import { print } from "../terminal.js";
import { feature } from "./commands/feature.js";
import { format } from "./commands/format.js";
import { identify } from "./commands/identify.js";
import { list } from "./commands/list.js";
import { log } from "./commands/log.js";
import { read } from "./commands/read.js";
import { regs } from "./commands/regs.js";
import { smart } from "./commands/smart.js";
import { trim } from "./commands/trim.js";
import { write } from "./commands/write.js";
import { zns } from "./commands/zns.js";
import { perf } from "./perf/perf.js";
import type { NvmeSubcommand } from "./subcommand.js";

const subcommands: readonly NvmeSubcommand[] = [
  list,
  identify,
  smart,
  log,
  feature,
  regs,
  read,
  write,
  trim,
  format,
  zns,
  perf,
];

function helpText(): string {
  const lines = subcommands.map(({ name, operands, summary }) => {
    const usage = `${name} ${operands}`.trimEnd();
    return usage.length <= 30
      ? `  ${usage.padEnd(30)}  ${summary}`
      : `  ${usage}\n  ${"".padEnd(30)}  ${summary}`;
  });
  return `Usage: iova nvme SUBCOMMAND ...

${lines.join("\n")}

TARGET is a PCI address such as 0000:00:03.0 of a function bound to vfio-pci (iova bind), or
vfio-user:PATH. nvme-cli's names of subcommands and options work too, and --json prints its
keys. See iova nvme SUBCOMMAND --help. Status 0: done; 1: failed; 2: wrong usage.
`;
}

function find(name: string): { command: NvmeSubcommand; prefix: readonly string[] } | undefined {
  for (const command of subcommands) {
    if (command.name === name) return { command, prefix: [] };
    const prefix = command.aliases?.[name];
    if (prefix !== undefined) return { command, prefix };
  }
  return undefined;
}

function asksForHelp(argv: readonly string[]): boolean {
  const end = argv.indexOf("--");
  return argv.slice(0, end < 0 ? argv.length : end).some((word) => word === "--help" || word === "-h");
}

/** @throws ConfigError on wrong usage, IovaError where the work fails */
export async function runNvme(argv: readonly string[]): Promise<void> {
  const [name, ...rest] = argv;
  if (name === undefined || name === "help" || name === "--help" || name === "-h") {
    print(helpText());
    return;
  }
  const found = find(name);
  if (found === undefined) {
    throw new ConfigError(`unknown subcommand ${JSON.stringify(name)} of nvme; see iova nvme --help`);
  }
  if (asksForHelp(rest)) {
    print(found.command.help);
    return;
  }
  await found.command.run([...found.prefix, ...rest]);
}
