/** The `iova` command: parses the command line, runs the subcommand, and reports errors. */
import { ConfigError, IovaError } from "../core/errors.js";
import { parseOptions } from "./command-line.js";
import { OutputError, watchStandardOutput } from "./standard-output.js";
import { print, printCrash, printError } from "./terminal.js";

const HELP = `Usage: iova COMMAND

  doctor [BDF...] [--user NAME]
                  what keeps a device from being used on this host, and how to mend it;
                  see iova doctor --help
  list [--json]   PCI functions of this host: class, ids, IOMMU group, driver, and what uses them
  show BDF [--json]
                  header and capabilities of a function, decoded; of vfio-user:PATH and of a
                  mediated device's UUID, too
  bind BDF [--timeout MS]
                  bind a function to vfio-pci, for a driver in user space
  unbind BDF [--timeout MS]
                  unbind it from vfio-pci; the kernel then chooses a driver, as at boot
  vfs BDF [--json]
                  virtual functions of a function (SR-IOV), and what has them open
  vfs BDF --create N [--driver vfio-pci] [--timeout MS]
                  create them; --driver keeps the kernel's drivers away from them
  vfs BDF --remove [--timeout MS]
                  remove them all, unless one is in use
  mdev [--json]   mediated devices, and the drivers that make them
  mdev PARENT --create TYPE [--uuid UUID] [--timeout MS]
                  create one, and print its UUID
  mdev UUID --remove [--timeout MS]
                  remove it, unless it is in use
  compare [BDF]   measure iommufd against type1 on a device bound to vfio-pci, or in a guest with
                  --guest; see iova compare --help
  emulate DEVICE --socket PATH
                  serve an NVMe controller, or edu, to vfio-user clients; see iova emulate --help
  repl BDF        the prompt of Node.js with the function open: registers by name, peek, poke,
                  interrupts as they come; see iova repl --help
  nvme SUBCOMMAND TARGET
                  use an NVMe controller: list, identify, smart, read, write, ...;
                  see iova nvme --help
  new-driver NAME --vendor ID --device ID
                  write the package of a new driver, with tests that need no hardware;
                  see iova new-driver --help
  help            this text
  --version       the version of this package

A BDF is a PCI address such as 0000:00:03.0. Binding, --create and --remove need root. Nothing is taken
away from who uses it.
--timeout limits each step that the kernel may wait in (default 30000 milliseconds).
`;

const STATUS_USAGE = 2;
const MAX_TIMEOUT_MS = 600_000;

/** The commands that this file runs, each with its options. */
const commandOptions: Readonly<Record<string, readonly string[]>> = {
  list: ["json"],
  show: ["json"],
  bind: ["timeout"],
  unbind: ["timeout"],
  vfs: ["json", "timeout", "create", "driver", "remove"],
  mdev: ["json", "timeout", "create", "uuid", "remove"],
  help: [],
  version: [],
};

interface CommandLine {
  readonly command: string;
  readonly operands: readonly string[];
  readonly json: boolean;
  readonly timeoutMs: number | undefined;
  readonly create: string | undefined;
  readonly driver: string | undefined;
  readonly uuid: string | undefined;
  readonly remove: boolean;
}

function parse(argv: readonly string[]): CommandLine {
  const { values, positionals } = parsed(argv);
  const {
    help = false,
    version = false,
    json = false,
    timeout,
    create,
    driver,
    uuid,
    remove = false,
  } = values;
  const [first = "help", ...operands] = positionals;
  const command = help ? "help" : version ? "version" : first;
  const options = Object.hasOwn(commandOptions, command) ? commandOptions[command] : undefined;
  if (options === undefined) {
    throw new ConfigError(`unknown command ${JSON.stringify(command)}; see iova help`);
  }
  const foreign = Object.values(commandOptions)
    .flat()
    .find((name) => Object.hasOwn(values, name) && !options.includes(name));
  if (foreign !== undefined) throw new ConfigError(`${command} has no option --${foreign}; see iova help`);
  const timeoutMs = timeout === undefined ? undefined : milliseconds(timeout);
  return { command, operands, json, timeoutMs, create, driver, uuid, remove };
}

/** @throws ConfigError */
function parsed(argv: readonly string[]) {
  return parseOptions(
    argv,
    {
      json: { type: "boolean" },
      help: { type: "boolean" },
      version: { type: "boolean" },
      timeout: { type: "string", short: "t" },
      create: { type: "string" },
      driver: { type: "string" },
      uuid: { type: "string" },
      remove: { type: "boolean" },
    },
    "iova help",
  );
}

function milliseconds(text: string): number {
  const value = /^\d+$/.test(text) ? Number(text) : 0;
  if (value < 1 || value > MAX_TIMEOUT_MS) {
    throw new ConfigError(
      `--timeout ${JSON.stringify(text)}: expected milliseconds from 1 to ${MAX_TIMEOUT_MS}; see iova help`,
    );
  }
  return value;
}

function operand(command: string, operands: readonly string[]): string {
  const [bdf] = operands;
  if (bdf === undefined || operands.length > 1)
    throw new ConfigError(`${command} takes one BDF; see iova help`);
  return bdf;
}

async function main(): Promise<void> {
  const [first, ...rest] = process.argv.slice(2);
  // These commands parse their own options, and are loaded only when they are used.
  if (first === "doctor") return (await import("./doctor.js")).runDoctor(rest);
  if (first === "compare") return await (await import("./compare.js")).runCompare(rest);
  if (first === "emulate") return await (await import("./emulate.js")).runEmulate(rest);
  if (first === "repl") return await (await import("./repl/main.js")).runRepl(rest);
  if (first === "nvme") return await (await import("./nvme/main.js")).runNvme(rest);
  if (first === "new-driver") return (await import("./new-driver/main.js")).runNewDriver(rest);
  const line = parse(process.argv.slice(2));
  const { command, operands, json, timeoutMs } = line;
  switch (command) {
    case "list":
      if (operands.length > 0) throw new ConfigError(`list takes no operand, got ${operands.join(" ")}`);
      (await import("./list.js")).list(json);
      return;
    case "show":
      (await import("./show.js")).show(operand(command, operands), json);
      return;
    case "bind": {
      const { bindToVfio, VFIO_PCI } = await import("../pci/bind.js");
      const binding = bindToVfio(operand(command, operands), { timeoutMs });
      // The binding outlives this process.
      binding.relinquish();
      print(`${binding.bdf} is bound to ${VFIO_PCI} (before: ${binding.previousDriver ?? "no driver"})`);
      return;
    }
    case "unbind": {
      const { unbindFromVfio } = await import("../pci/bind.js");
      const bdf = operand(command, operands);
      print(`${bdf} is bound to ${unbindFromVfio(bdf, { timeoutMs }) ?? "no driver"}`);
      return;
    }
    case "vfs":
      await (await import("./vfs.js")).vfs(operand(command, operands), line);
      return;
    case "mdev":
      if (operands.length > 1) throw new ConfigError("mdev takes one operand; see iova help");
      await (await import("./mdev.js")).mdev(operands[0], line);
      return;
    case "version": {
      const { packageVersion } = await import("./package-file.js");
      print(packageVersion());
      return;
    }
    default:
      print(HELP);
  }
}

watchStandardOutput();
// Node would print the error as it is, and its message may quote a device.
process.on("uncaughtException", (error) => {
  printCrash(error);
  process.exit(1);
});
try {
  await main();
} catch (error) {
  if (!(error instanceof IovaError)) throw error;
  if (!(error instanceof OutputError)) report(error);
}

function report(error: IovaError): void {
  printError(error.message);
  process.exitCode = error instanceof ConfigError ? STATUS_USAGE : 1;
}
