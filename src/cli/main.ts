/** The `iova` command: parses the command line, runs the subcommand, and reports errors. */
import { parseArgs } from "node:util";
import { ConfigError, IovaError } from "../core/errors.js";
import { OutputError, watchStandardOutput } from "./standard-output.js";
import { print, printCrash, printError } from "./terminal.js";

const HELP = `Usage: iova COMMAND

  list [--json]   PCI functions of this host: class, ids, IOMMU group, driver, and what uses them
  bind BDF        bind a function to vfio-pci, for a driver in user space
  unbind BDF      unbind it from vfio-pci; the kernel then chooses a driver, as at boot
  compare [BDF]   measure iommufd against type1 on a device bound to vfio-pci, or in a guest with
                  --guest; see iova compare --help
  emulate DEVICE --socket PATH
                  serve an NVMe controller, or edu, to vfio-user clients; see iova emulate --help
  nvme SUBCOMMAND TARGET
                  use an NVMe controller: list, identify, smart, read, write, ...;
                  see iova nvme --help
  help            this text

A BDF is a PCI address such as 0000:00:03.0. Binding needs root, and fails if the function is in use.
`;

const STATUS_USAGE = 2;

function parse(argv: readonly string[]): { command: string; operands: string[]; json: boolean } {
  try {
    const { values, positionals } = parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: { json: { type: "boolean", default: false }, help: { type: "boolean", default: false } },
    });
    const [command = "help", ...operands] = positionals;
    return { command: values.help ? "help" : command, operands, json: values.json };
  } catch (error) {
    throw new ConfigError(error instanceof Error ? error.message : String(error), { cause: error });
  }
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
  if (first === "compare") return await (await import("./compare.js")).runCompare(rest);
  if (first === "emulate") return await (await import("./emulate.js")).runEmulate(rest);
  if (first === "nvme") return await (await import("./nvme/main.js")).runNvme(rest);
  const { command, operands, json } = parse(process.argv.slice(2));
  switch (command) {
    case "list":
      (await import("./list.js")).list(json);
      return;
    case "bind": {
      const { bindToVfio, VFIO_PCI } = await import("../pci/bind.js");
      const binding = bindToVfio(operand(command, operands));
      // The binding outlives this process.
      binding.relinquish();
      print(`${binding.bdf} is bound to ${VFIO_PCI} (before: ${binding.previousDriver ?? "no driver"})`);
      return;
    }
    case "unbind": {
      const { unbindFromVfio } = await import("../pci/bind.js");
      const bdf = operand(command, operands);
      print(`${bdf} is bound to ${unbindFromVfio(bdf) ?? "no driver"}`);
      return;
    }
    case "help":
      print(HELP);
      return;
    default:
      throw new ConfigError(`unknown command ${JSON.stringify(command)}; see iova help`);
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
