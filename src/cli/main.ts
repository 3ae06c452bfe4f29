/** The `iova` command: finds the subcommand, prints help, and reports errors. */
import { ConfigError, IovaError } from "../core/errors.js";
import { Interrupted } from "./binding/interrupted.js";
import type { CommandName } from "./described/all.js";
import { OutputError, watchStandardOutput } from "./standard-output.js";
import { print, printCrash, printError } from "./terminal.js";

const STATUS_USAGE = 2;

type Run = (argv: readonly string[]) => void | Promise<void>;

/** The programs of the commands, loaded when they are called. Their descriptions are in described/. */
const programs: Readonly<Record<CommandName, () => Promise<Run>>> = {
  doctor: async () => (await import("./host/doctor.js")).runDoctor,
  restore: async () => (await import("./host/restore.js")).runRestore,
  list: async () => (await import("./list.js")).runList,
  show: async () => (await import("./show.js")).runShow,
  bind: async () => (await import("./binding/bind.js")).runBind,
  unbind: async () => (await import("./binding/unbind.js")).runUnbind,
  permissions: async () => (await import("./host/permissions.js")).runPermissions,
  hugepages: async () => (await import("./host/hugepages.js")).runHugePages,
  serve: async () => (await import("./host/serve.js")).runServe,
  watch: async () => (await import("./host/watch.js")).runWatch,
  reset: async () => (await import("./reset.js")).runReset,
  sriov: async () => (await import("./sriov.js")).runSriov,
  vfs: async () => (await import("./vfs.js")).runVfs,
  mdev: async () => (await import("./mdev.js")).runMdev,
  compare: async () => (await import("./compare.js")).runCompare,
  emulate: async () => (await import("./emulate.js")).runEmulate,
  repl: async () => (await import("./repl/main.js")).runRepl,
  nvme: async () => (await import("./nvme/main.js")).runNvme,
  "new-driver": async () => (await import("./new-driver/main.js")).runNewDriver,
  completion: async () => (await import("./completion.js")).runCompletion,
  help: async () => help,
};

function isCommand(name: string): name is CommandName {
  return Object.hasOwn(programs, name);
}

async function main(argv: readonly string[]): Promise<void> {
  const end = argv.indexOf("--");
  const own = end < 0 ? argv : argv.slice(0, end);
  const asksForHelp = own.some((word) => word === "--help" || word === "-h");
  const words = own.filter((word) => !word.startsWith("-"));
  if (asksForHelp) return await help(words);
  if (own.includes("--version")) {
    const { packageVersion } = await import("./package-file.js");
    print(packageVersion());
    return;
  }
  const [name, ...rest] = argv;
  if (name === undefined) {
    await help([]);
    const { firstStep } = await import("./host/first-step.js");
    print(`\n${firstStep()}`);
    return;
  }
  if (!isCommand(name)) throw unknownCommand(name);
  const run = await programs[name]();
  await run(rest);
}

/** Prints the help of a command, or of a subcommand of nvme; without one, the list. @throws ConfigError */
async function help([name, subcommand]: readonly string[]): Promise<void> {
  const { helpText, overviewText } = await import("./printed/help.js");
  const { findDescription } = await import("./described/all.js");
  if (name === undefined) {
    print(overviewText());
    return;
  }
  const found = findDescription(name, subcommand);
  if (found === undefined)
    throw isCommand(name)
      ? new ConfigError(
          `unknown subcommand ${JSON.stringify(subcommand)} of ${name}; see iova ${name} --help`,
        )
      : unknownCommand(name);
  print(helpText(found));
}

function unknownCommand(name: string): ConfigError {
  return new ConfigError(`unknown command ${JSON.stringify(name)}; see iova help`);
}

watchStandardOutput();
// Node would print the error as it is, and its message may quote a device.
process.on("uncaughtException", (error) => {
  printCrash(error);
  process.exit(1);
});
try {
  await main(process.argv.slice(2));
} catch (error) {
  if (error instanceof Interrupted) endBy(error);
  else if (!(error instanceof IovaError)) throw error;
  else if (!(error instanceof OutputError)) report(error);
}

/** Ends this process as the signal would have, so that a shell sees it. */
function endBy(error: Interrupted): void {
  printError(error.message);
  process.kill(process.pid, error.signal);
}

function report(error: IovaError): void {
  printError(error.message);
  process.exitCode = error instanceof ConfigError ? STATUS_USAGE : 1;
}
