/** Command-line options of the guest tool. */
import { parseArgs } from "node:util";
import { type KernelVariant, kernelVariants } from "./kernel.js";

export interface CliOptions {
  mode: "run" | "prepare" | "help";
  command: string[];
  qemuArgs: string[];
  defaultDevices: boolean;
  append: string[];
  memory: string;
  cpus: number;
  kernel?: string;
  series?: string;
  variant?: KernelVariant;
  update: boolean;
  debianKernel?: { readonly modules: boolean };
  qemu?: string;
  timeoutMs?: number;
  console: boolean;
  trace: string[];
  qemuLog?: string;
  shareDir?: string;
}

/** An invalid command line: the message has one line, and the exit status is 2. */
export class UsageError extends Error {
  override name = "UsageError";
}

export const HELP = `Usage: npm run guest -- [options] -- COMMAND [ARGUMENT...]

Boots a QEMU guest with a kernel built from Debian's newest source, runs COMMAND in it
(in the current folder; the guest sees this host's files and writes to a copy in memory)
and ends with its status. The first run fetches and builds what is missing.

  --qemu-arg ARG        add to QEMU's command line; repeatable; an option and its value
                        may come together: --qemu-arg '-device edu'
  --no-default-devices  leave out intel-iommu, nvme, edu and pci-testdev
  --append ARGS         add to the kernel's command line; repeatable
  --memory SIZE         memory of the guest (default 3G)
  --cpus N              processors of the guest (default 2)
  --kernel FILE         boot this kernel image
  --series X.Y          boot Debian's newest kernel of this series
  --variant NAME        boot that kernel with guest/kernel-NAME.config over kernel.config:
                        iommufd-container, no-vfio
  --debian-kernel       boot Debian 12's own kernel package, with its modules
  --qemu FILE           use this QEMU
  --share FOLDER        mount this host folder, writable, at /mnt/share
  --timeout SECONDS     kill a guest that runs longer; the status is then 124
  --console             show the kernel's console on stderr
  --trace PATTERN       trace QEMU events, into the file of --qemu-log; repeatable
  --qemu-log FILE       QEMU's log
  --prepare             only fetch and build what is missing
  --update              look whether Debian has a newer kernel
  --help                this text

COMMAND finds IOVA_GUEST=1, IOVA_GUEST_SHARE (a folder it shares with the host) and
IOVA_KERNEL_HEADERS (uAPI headers of the guest's kernel) in its environment.
The status is 125 when the guest died before COMMAND ended.
`;

const TABLE = {
  "qemu-arg": { type: "string", multiple: true },
  "no-default-devices": { type: "boolean" },
  append: { type: "string", multiple: true },
  memory: { type: "string" },
  cpus: { type: "string" },
  kernel: { type: "string" },
  series: { type: "string" },
  variant: { type: "string" },
  "debian-kernel": { type: "boolean" },
  qemu: { type: "string" },
  share: { type: "string" },
  timeout: { type: "string" },
  console: { type: "boolean" },
  trace: { type: "string", multiple: true },
  "qemu-log": { type: "string" },
  prepare: { type: "boolean" },
  update: { type: "boolean" },
  help: { type: "boolean" },
} as const;

const MAX_CPUS = 16; // CONFIG_NR_CPUS

export function parseOptions(args: readonly string[]): CliOptions {
  const split = args.indexOf("--");
  const own = split < 0 ? args : args.slice(0, split);
  const command = split < 0 ? [] : args.slice(split + 1);
  const { values, positionals } = parse(own);
  const [stray] = positionals;
  if (stray !== undefined) throw new UsageError(`unexpected argument ${stray}: write the command after a --`);
  const mode = values.help ? "help" : values.prepare ? "prepare" : "run";
  if (mode === "run" && command.length === 0)
    throw new UsageError("no COMMAND: write it after a --; see --help");

  const cpus = Number(values.cpus ?? 2);
  if (!Number.isInteger(cpus) || cpus < 1 || cpus > MAX_CPUS) {
    throw new UsageError(`--cpus ${values.cpus}: must be a number from 1 to ${MAX_CPUS}`);
  }
  const memory = values.memory ?? "3G";
  if (!/^[1-9]\d*[MG]$/i.test(memory))
    throw new UsageError(`--memory ${memory}: must be a size such as 512M or 3G`);
  const timeout = Number(values.timeout ?? 1);
  if (!(timeout > 0 && timeout <= 86_400)) {
    throw new UsageError(
      `--timeout ${values.timeout}: must be a number of seconds, more than 0 and at most 86400`,
    );
  }
  if (values.series !== undefined && !/^\d+\.\d+$/.test(values.series)) {
    throw new UsageError(`--series ${values.series}: must be a kernel series such as 6.12`);
  }
  const variant = kernelVariants.find((name) => name === values.variant);
  if (values.variant !== undefined && variant === undefined) {
    throw new UsageError(`--variant ${values.variant}: must be one of ${kernelVariants.join(", ")}`);
  }
  if (values.trace !== undefined && values["qemu-log"] === undefined) {
    throw new UsageError("--trace needs a file for the events: add --qemu-log FILE");
  }
  return {
    mode,
    command,
    qemuArgs: (values["qemu-arg"] ?? []).flatMap(splitOption),
    defaultDevices: !values["no-default-devices"],
    append: values.append ?? [],
    memory,
    cpus,
    update: values.update ?? false,
    console: values.console ?? false,
    trace: values.trace ?? [],
    ...(values.kernel === undefined ? {} : { kernel: values.kernel }),
    ...(values.series === undefined ? {} : { series: values.series }),
    ...(variant === undefined ? {} : { variant }),
    ...(values["debian-kernel"] === true ? { debianKernel: { modules: true } } : {}),
    ...(values.qemu === undefined ? {} : { qemu: values.qemu }),
    ...(values.timeout === undefined ? {} : { timeoutMs: timeout * 1000 }),
    ...(values["qemu-log"] === undefined ? {} : { qemuLog: values["qemu-log"] }),
    ...(values.share === undefined ? {} : { shareDir: values.share }),
  };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({ args: joinValues(args), options: TABLE, allowPositionals: true });
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    throw new UsageError(`${text.split(/\.\s|\n/, 1)[0]}; see --help`);
  }
}

/** "--name value" as "--name=value": parseArgs refuses a value of its own that starts with a dash, as QEMU's do. */
function joinValues(args: readonly string[]): string[] {
  const takesValue = new Set<string>();
  for (const [name, { type }] of Object.entries(TABLE)) {
    if (type === "string") takesValue.add(`--${name}`);
  }
  const joined: string[] = [];
  for (let index = 0; index < args.length; index++) {
    const arg = args[index] ?? "";
    const value = args[index + 1];
    if (takesValue.has(arg) && value !== undefined) {
      joined.push(`${arg}=${value}`);
      index++;
    } else {
      joined.push(arg);
    }
  }
  return joined;
}

/** Splits "-device edu", given as one argument, into two. */
function splitOption(arg: string): string[] {
  const [, option, value] = /^(-\S+)\s+(.*)$/s.exec(arg) ?? [];
  return option !== undefined && value !== undefined ? [option, value] : [arg];
}
