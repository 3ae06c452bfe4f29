/** `iova emulate`: serves an emulated device at a socket until it is stopped. */

import { existsSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { ConfigError } from "../core/errors.js";
import { type EduFault, EmulatedEdu } from "../emulator/edu/device.js";
import type { DeviceFault } from "../emulator/faults/options.js";
import { deviceFaultFromText } from "../emulator/faults/text.js";
import { EmulatedNvme } from "../emulator/nvme/controller.js";
import { faultFromText } from "../emulator/nvme/faults.js";
import { type CmbUse, cmbUses } from "../emulator/nvme/host/cmb-rules.js";
import type { NvmeEmulatorOptions } from "../emulator/nvme/options.js";
import { makeOwnDevice } from "../emulator/own-device.js";
import { servePeer } from "../emulator/peer-server.js";
import { emulatedDeviceNames } from "../emulator/worker.js";
import type { BlockSpec } from "../registers/declaration.js";
import type { EmulatedDevice } from "../vfio-user/server/emulated-device.js";
import { VfioUserServer } from "../vfio-user/server/server.js";
import { parseCommandLine, usageError } from "./command-line.js";
import { commonEmulateOptions, emulateDescription } from "./described/emulate.js";
import { moduleError } from "./own-module.js";
import { print, printError } from "./terminal.js";

const UNITS: Readonly<Record<string, number>> = { "": 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };

/** Options of `iova emulate`, parsed. */
export interface EmulateOptions {
  /** A name, or the path of a module. */
  readonly device: string;
  readonly socket: string;
  readonly trustClients: boolean;
  /** Of an NVMe controller. */
  readonly nvme: NvmeEmulatorOptions;
  /** Sockets of other controllers of its NVM subsystem. */
  readonly peers: readonly string[];
  /** Of the others. */
  readonly faults: readonly DeviceFault<BlockSpec>[];
}

/** Parses a size such as `512M`. @throws ConfigError if `text` isn't a size */
function sizeOf(option: string, text: string): number {
  const [, digits, unit] = /^(\d+)([KMGT]?)$/i.exec(text) ?? [];
  const factor = UNITS[(unit ?? "").toUpperCase()];
  if (digits === undefined || factor === undefined) {
    throw new ConfigError(`--${option} ${text}: expected a size such as 512M or 4G`);
  }
  return Number(digits) * factor;
}

function numberOf(option: string, text: string): number {
  if (!/^\d+$/.test(text)) throw new ConfigError(`--${option} ${text}: expected a number`);
  return Number(text);
}

function oneOf<T extends string | number>(option: string, value: T, allowed: readonly T[]): T {
  if (!allowed.includes(value))
    throw new ConfigError(`--${option} ${value}: expected one of ${allowed.join(", ")}`);
  return value;
}

/** Whether a word is the path of a module: the names of devices have neither slash nor dot. */
function isPath(word: string): boolean {
  return /[/.]/.test(word);
}

/** @throws ConfigError unless the command line names one device */
function deviceOf(positionals: readonly string[]): string {
  const [name, ...more] = positionals;
  const isKnown = emulatedDeviceNames.some((known) => known === name);
  if (name !== undefined && (isKnown || isPath(name)) && more.length === 0) return name;
  const names = `${emulatedDeviceNames.join(", ")} or the path of a module`;
  const problem =
    name === undefined
      ? `emulate needs a device: ${names}`
      : more.length > 0
        ? `emulate takes one device, got ${positionals.join(" ")}`
        : `emulate has no device ${JSON.stringify(name)}: expected ${names}`;
  throw usageError(emulateDescription, problem);
}

/** @throws ConfigError */
export function parseEmulateOptions(argv: readonly string[]): EmulateOptions {
  const { values, positionals } = parseCommandLine(emulateDescription, argv);
  const device = deviceOf(positionals);
  const { socket } = values;
  if (socket === undefined || socket === "") throw new ConfigError("emulate needs --socket PATH");
  const foreign = Object.keys(values).filter((name) => !Object.hasOwn(commonEmulateOptions, name));
  if (device !== "nvme" && foreign.length > 0) {
    throw usageError(
      emulateDescription,
      `${device} has no option ${foreign.map((name) => `--${name}`).join(", ")}`,
    );
  }
  const trustClients = values["trust-clients"] ?? false;
  const faults = values.fault ?? [];
  if (device !== "nvme") {
    return { device, socket, trustClients, nvme: {}, peers: [], faults: faults.map(deviceFaultFromText) };
  }
  const blockSize = numberOf("block-size", values["block-size"] ?? "512");
  const metadata = numberOf("metadata", values.metadata ?? "0");
  return {
    device,
    socket,
    trustClients,
    faults: [],
    peers: peersOf(socket, values.peer ?? []),
    nvme: {
      sizeBytes: sizeOf("size", values.size ?? "1G"),
      file: values.file,
      incoming: values.incoming ?? false,
      namespaces: numberOf("namespaces", values.namespaces ?? "1"),
      blockSizeBytes: oneOf("block-size", blockSize, [512, 4096]) === 4096 ? 4096 : 512,
      metadataBytes: metadataOf(metadata),
      protection: numberOf("pi", values.pi ?? "0"),
      zoned: values.zns ?? false,
      keyValue: values["key-value"] ?? false,
      cmbBytes: sizeOf("cmb", values.cmb ?? "0"),
      hostMemoryBytes: sizeOf("host-memory", values["host-memory"] ?? "0"),
      anaGroups: numberOf("ana-groups", values["ana-groups"] ?? "0"),
      powerStates: numberOf("power-states", values["power-states"] ?? "1"),
      rpmbTargets: numberOf("rpmb", values.rpmb ?? "0"),
      opal: values.opal ?? false,
      bootPartitionBytes: sizeOf("boot-partitions", values["boot-partitions"] ?? "0"),
      cmbWithout: (values["cmb-without"]?.split(",") ?? []).map(cmbUseOf),
      queuePairs: numberOf("queue-pairs", values["queue-pairs"] ?? "64"),
      vectors: numberOf("vectors", values.vectors ?? "65"),
      serial: values.serial,
      doorbells:
        oneOf("doorbells", values.doorbells ?? "shared", ["shared", "messages"]) === "messages"
          ? "messages"
          : "shared",
      faults: faults.map(faultFromText),
    },
  };
}

/** @throws ConfigError */
function peersOf(socket: string, peers: readonly string[]): readonly string[] {
  for (const [i, peer] of peers.entries()) {
    if (peer === "") throw new ConfigError("--peer needs a path");
    if (peer === socket || peers.indexOf(peer) !== i)
      throw new ConfigError(`--peer ${peer}: another controller is served there`);
  }
  return peers;
}

function cmbUseOf(text: string): CmbUse {
  const use = cmbUses.find((each) => each === text);
  if (use === undefined)
    throw new ConfigError(`--cmb-without ${text}: expected one of ${cmbUses.join(", ")}`);
  return use;
}

function metadataOf(bytes: number): 0 | 8 | 16 | 64 {
  if (bytes === 0 || bytes === 8 || bytes === 16 || bytes === 64) return bytes;
  throw new ConfigError(`--metadata ${bytes}: expected one of 0, 8, 16, 64`);
}

/** Serves until SIGINT or SIGTERM, then removes the socket. @throws ConfigError, BusyError, SysError */
export async function runEmulate(argv: readonly string[]): Promise<void> {
  const options = parseEmulateOptions(argv);
  const stopped = new Promise<void>((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => resolve());
  });
  const device = await makeDevice(options);
  const peers: VfioUserServer[] = [];
  try {
    const served = { trustClients: options.trustClients, onNotice: printError };
    using server = new VfioUserServer(options.socket, device, served);
    if (device instanceof EmulatedNvme) {
      device.onRemove = () => server.disconnect();
      for (const socket of options.peers) peers.push(servePeer(device, socket, served));
    }
    const all = [options.socket, ...options.peers].map((socket) => `vfio-user:${socket}`);
    print(`${device.name} at ${all.join(" and ")}; Ctrl-C ends it`);
    await stopped;
  } finally {
    for (const each of peers) each.close();
    device.close();
  }
  // A device of the user's own may have timers left.
  if (isPath(options.device)) process.exit();
}

/** @throws ConfigError */
async function makeDevice({ device: name, nvme, faults }: EmulateOptions): Promise<EmulatedDevice> {
  if (name === "nvme") return EmulatedNvme.create(nvme);
  // The device checks the registers that the faults name.
  if (name === "edu") return new EmulatedEdu({ faults: faults as readonly EduFault[] });
  if (!existsSync(name)) throw new ConfigError(`emulate: there is no file ${name}`);
  const own = await makeOwnDevice(pathToFileURL(name).href, undefined).catch((thrown: unknown) => {
    throw moduleError(name, thrown);
  });
  try {
    if (faults.length > 0 && own.faults === undefined)
      throw new ConfigError(`${name} takes no --fault: its device has no member \`faults\``);
    for (const fault of faults) own.faults?.inject(fault);
    return own.device;
  } catch (error) {
    own.device.close();
    throw error;
  }
}
