/** `iova nvme list`: the NVMe controllers of this host, with any driver. */

import { IovaError } from "../../../core/errors.js";
import { visible } from "../../../core/visible.js";
import { NVME_CLASS } from "../../../nvme/class-code.js";
import { NvmeController } from "../../../nvme/controller.js";
import { isKnownNvme } from "../../../nvme/quirks/controller-quirks.js";
import type { NvmeQuirk } from "../../../nvme/quirks/quirks.js";
import {
  findPciFunction,
  ifThere,
  listPciFunctions,
  type PciFunction,
  readPciFunction,
} from "../../../pci/sysfs.js";
import { holdersText, vfioHolders } from "../../../pci/usage/holders.js";
import { usersOf } from "../../../pci/usage/users.js";
import { VFIO_PCI } from "../../../pci/vfio-driver.js";
import { parseCommandLine } from "../../command-line.js";
import { nvmeListDescription } from "../../described/nvme/information.js";
import { table } from "../../table.js";
import { isSocketTarget } from "../../target.js";
import { deviceText, print } from "../../terminal.js";
import { type ControllerOptions, checkTarget, controllerOptions, wantsJson } from "../arguments.js";
import { kernelController } from "../kernel-nvme.js";
import { decimalBytes, type Json, printJson } from "../output.js";
import type { NvmeSubcommand } from "../subcommand.js";

interface ListedNamespace {
  /** Device node, if the kernel has the namespace. */
  readonly device?: string;
  readonly nsid: number;
  readonly blockSizeBytes: number;
  readonly sizeBlocks: bigint;
  readonly usedBlocks: bigint | undefined;
}

interface Listed {
  readonly address: string;
  readonly driver: string | undefined;
  readonly iommuGroup: number | undefined;
  /** The kernel's name of the controller. */
  readonly name?: string;
  readonly model?: string;
  readonly serial?: string;
  readonly firmware?: string;
  readonly namespaces: readonly ListedNamespace[];
  /** Quirks that the driver minds, if it opened the controller. */
  readonly quirks?: readonly NvmeQuirk[];
  /** What uses the controller, or why it could not be read. */
  readonly notes: readonly string[];
}

async function opened(address: string, options: ControllerOptions): Promise<Partial<Listed>> {
  await using nvme = await NvmeController.open(address, options);
  const namespaces: ListedNamespace[] = [];
  const notes: string[] = [];
  for (const nsid of await nvme.namespaceIds()) {
    try {
      const { blockSizeBytes, sizeBlocks, identify } = await nvme.namespace(nsid);
      namespaces.push({ nsid, blockSizeBytes, sizeBlocks, usedBlocks: identify.nuse });
    } catch (error) {
      if (!(error instanceof IovaError)) throw error;
      notes.push(`namespace ${nsid}: ${error.message}`);
    }
  }
  const { mn, sn, fr } = nvme.identify;
  const strings = { model: deviceText(mn), serial: deviceText(sn), firmware: deviceText(fr) };
  return { ...strings, namespaces, quirks: nvme.quirks, notes };
}

/** Describes a function. Opens it only if it is bound to vfio-pci and not in use. */
async function listed(fn: PciFunction, options: ControllerOptions): Promise<Listed> {
  const { bdf: address, driver, iommuGroup } = fn;
  const base = { address, driver, iommuGroup, namespaces: [], notes: [] };
  if (driver !== VFIO_PCI) {
    const kernel = ifThere(() => kernelController(address));
    const notes = ifThere(() => usersOf(address)) ?? [];
    if (kernel === undefined) return { ...base, notes };
    const namespaces = kernel.namespaces.map(({ name, ...rest }) => ({ device: `/dev/${name}`, ...rest }));
    return { ...base, ...kernel, namespaces, notes };
  }
  const holders = vfioHolders(address);
  if (holders.length > 0) return { ...base, notes: [`open in ${holdersText(holders)}`] };
  try {
    return { ...base, ...(await opened(address, options)) };
  } catch (error) {
    if (!(error instanceof IovaError)) throw error;
    return { ...base, notes: [error.message] };
  }
}

/** Describes a target. Unlike a function of the bus, a vfio-user server that can't be reached is an error. */
async function asked(target: string, options: ControllerOptions): Promise<Listed> {
  if (!isSocketTarget(target)) return await listed(readPciFunction(target), options);
  const driver = target.startsWith("vfio-user:") ? "vfio-user" : VFIO_PCI;
  const base = { address: target, driver, iommuGroup: undefined, namespaces: [], notes: [] };
  return { ...base, ...(await opened(target, options)) };
}

function listJson(entries: readonly Listed[]): Json {
  return {
    Devices: entries.map(({ address, driver, iommuGroup, name, ...entry }) => ({
      Controller: name,
      Address: address,
      Transport: address.startsWith("vfio-user:") ? "vfio-user" : "pcie",
      Driver: driver ?? null,
      IommuGroup: iommuGroup ?? null,
      SerialNumber: entry.serial,
      ModelNumber: entry.model,
      Firmware: entry.firmware,
      Namespaces: entry.namespaces.map(({ device, nsid, blockSizeBytes, sizeBlocks, usedBlocks }) => ({
        NameSpace: nsid,
        DevicePath: device,
        UsedBytes: usedBlocks === undefined ? undefined : usedBlocks * BigInt(blockSizeBytes),
        MaximumLBA: sizeBlocks,
        PhysicalSize: sizeBlocks * BigInt(blockSizeBytes),
        SectorSize: blockSizeBytes,
      })),
      Quirks: entry.quirks?.map(({ name, reason, source }) => ({
        Name: name,
        Reason: reason,
        Source: source,
      })),
      Notes: entry.notes,
    })),
  };
}

function listText(entries: readonly Listed[], verbose: boolean): string {
  if (entries.length === 0) return "no NVMe controllers";
  const rows = entries.flatMap((entry) => {
    const { address, driver, serial, model, namespaces } = entry;
    const head = [address, driver ?? "-", serial ?? "-", model ?? "-"];
    if (namespaces.length === 0) return [[...head, "-", "-", "-", "-"]];
    return namespaces.map(({ device, nsid, blockSizeBytes, sizeBlocks, usedBlocks }) => [
      ...head,
      String(nsid),
      device ?? "-",
      usage(sizeBlocks, usedBlocks, blockSizeBytes),
      `${blockSizeBytes} B`,
    ]);
  });
  const notes = entries.flatMap(({ address, notes: own }) =>
    own.map((note) => `${address}: ${visible(note)}`),
  );
  const quirks = entries.flatMap(({ address, quirks: own }) =>
    own?.length === 0
      ? [`${address}: quirks: none`]
      : (own ?? []).map(({ name, reason, source }) => `${address}: quirk ${name}: ${reason} (${source})`),
  );
  const headings = ["Address", "Driver", "SN", "Model", "Namespace", "Node", "Usage", "Format"];
  return [table(headings, rows), ...notes, ...(verbose ? quirks : [])].join("\n");
}

function usage(size: bigint, used: bigint | undefined, blockSizeBytes: number): string {
  const bytes = (blocks: bigint): string => decimalBytes(blocks * BigInt(blockSizeBytes));
  return used === undefined ? bytes(size) : `${bytes(used)} / ${bytes(size)}`;
}

async function run(argv: readonly string[]): Promise<void> {
  const { values, positionals } = parseCommandLine(nvmeListDescription, argv);
  const json = wantsJson("list", values);
  const options = controllerOptions("list", values);
  const targets = positionals.map((target) => checkTarget("list", target));
  const entries: Listed[] = [];
  if (targets.length > 0) for (const target of targets) entries.push(await asked(target, options));
  else {
    for (const fn of listPciFunctions()) {
      if (fn.classCode !== NVME_CLASS && !isKnownNvme(fn)) continue;
      const entry = await listed(fn, options);
      // One that has gone meanwhile is left out.
      if (findPciFunction(fn.bdf) !== undefined) entries.push(entry);
    }
  }
  if (json) printJson(listJson(entries));
  else print(listText(entries, values.verbose === true));
}

export const list: NvmeSubcommand = { description: nvmeListDescription, run };
