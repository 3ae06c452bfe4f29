/** `iova nvme`: finds the subcommand. Each has a file of its own, and is in the list below. */
import { usageError } from "../command-line.js";
import { nvmeDescription } from "../described/nvme.js";
import { helpText } from "../printed/help.js";
import { print } from "../terminal.js";
import { dataCommands } from "./admin/data.js";
import { fdpCommands } from "./admin/fdp.js";
import { logCommands } from "./admin/logs.js";
import { maintenanceCommands } from "./admin/maintenance.js";
import { namespaceCommands } from "./admin/namespaces.js";
import { reportCommands } from "./admin/report.js";
import { rpmbCommands } from "./admin/rpmb.js";
import { sedCommands } from "./admin/sed.js";
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
import { conform } from "./conform/conform.js";
import { blockCommands } from "./io/blocks.js";
import { kvCommands } from "./io/kv.js";
import { reservationCommands } from "./io/reservations.js";
import { perf } from "./perf/perf.js";
import { controllerCommands } from "./raw/controller.js";
import { passthruCommands } from "./raw/passthru.js";
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
  ...namespaceCommands,
  ...logCommands,
  ...maintenanceCommands,
  ...fdpCommands,
  ...dataCommands,
  ...rpmbCommands,
  ...sedCommands,
  ...blockCommands,
  ...reservationCommands,
  ...kvCommands,
  ...controllerCommands,
  ...passthruCommands,
  ...reportCommands,
  perf,
  conform,
];

function find(name: string): { command: NvmeSubcommand; prefix: readonly string[] } | undefined {
  for (const command of subcommands) {
    const { name: full, aliases } = command.description;
    if (full === `nvme ${name}`) return { command, prefix: [] };
    const prefix = aliases !== undefined && Object.hasOwn(aliases, name) ? aliases[name] : undefined;
    if (prefix !== undefined) return { command, prefix };
  }
  return undefined;
}

/** @throws ConfigError on wrong usage, IovaError where the work fails */
export async function runNvme(argv: readonly string[]): Promise<void> {
  const [name, ...rest] = argv;
  if (name === undefined || name === "help") {
    print(helpText(nvmeDescription));
    return;
  }
  const found = find(name);
  if (found === undefined)
    throw usageError(nvmeDescription, `unknown subcommand ${JSON.stringify(name)} of nvme`);
  await found.command.run([...found.prefix, ...rest]);
}
