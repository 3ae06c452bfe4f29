/**
 * Mediated devices: devices that a kernel driver, their parent's, makes by software, such as parts of a graphics card. They have a
 * UUID. Lists, creates and removes them by sysfs (the kernel's Documentation/driver-api/vfio-mediated-device.rst).
 */
import { existsSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { checkKeys, checkString, show } from "../core/check.js";
import { ArgumentError, BusyError, SysError, UnsupportedError } from "../core/errors.js";
import { Resource } from "../core/lifetime/resource.js";
import { kernelLinkName, kernelNames, kernelRealPath, kernelText } from "../sys/kernel-files.js";
import { writeWithin, writeWithinAsync } from "../sys/kernel-wait.js";
import { sysfsPath } from "../vfio/cdev.js";
import { isUuid } from "../vfio/uuid.js";
import { refusalHint, StepWait } from "./steps/kernel-steps.js";
import { holdersOf, holdersText, vfioNodesAt } from "./usage/holders.js";

const PARENTS = "/sys/class/mdev_bus";
const DEVICES = "/sys/bus/mdev/devices";

/** A kind of mediated device that a parent can make. */
export interface MediatedType {
  /** Its name in sysfs, for {@link createMediatedDevice}. */
  readonly id: string;
  /** A name for people; undefined if its driver gives none. */
  readonly name: string | undefined;
  /** What it is, in the driver's words; undefined if it says nothing. */
  readonly description: string | undefined;
  /** `vfio-pci` if its devices are PCI functions, which {@link PciDevice.open} opens. Others are `vfio-ap` or `vfio-ccw`. */
  readonly deviceApi: string;
  /** How many more can be created now. */
  readonly availableInstances: number;
}

/** A device whose driver makes mediated devices. */
export interface MediatedParent {
  /** Its name in sysfs: of a PCI function, its address. */
  readonly name: string;
  /** What it can make. */
  readonly types: readonly MediatedType[];
}

/** What sysfs says of a mediated device. */
export interface MediatedDeviceInfo {
  /** Its name, in lower case. */
  readonly uuid: string;
  /** {@link MediatedParent.name} */
  readonly parent: string;
  /** {@link MediatedType.id} */
  readonly type: string;
  /** {@link MediatedType.deviceApi}; undefined if the type doesn't say. */
  readonly deviceApi: string | undefined;
  /** Name of the bound driver; undefined if there is none. */
  readonly driver: string | undefined;
  /** Undefined if it is in no group. */
  readonly iommuGroup: number | undefined;
}

/** Options of {@link removeMediatedDevice}. */
export interface MediatedRemoval {
  /** Time limit in milliseconds of each step that the kernel or a driver may wait in; 30,000 by default. */
  readonly timeoutMs?: number | undefined;
  /** Gives up: the promise rejects with its reason. A creation is undone, unless the kernel still waits in it. */
  readonly signal?: AbortSignal | undefined;
}

/** Options of {@link createMediatedDevice}. */
export interface MediatedOptions extends MediatedRemoval {
  /** The new device's UUID; a random one by default. */
  readonly uuid?: string | undefined;
}

/** The parents of this host, in order of their names; empty if no driver makes mediated devices. */
export function listMediatedParents(): MediatedParent[] {
  return (kernelNames(PARENTS) ?? []).map((name) => ({ name, types: typesOf(name) }));
}

function typesOf(parent: string): MediatedType[] {
  const home = join(PARENTS, parent, "mdev_supported_types");
  return (kernelNames(home) ?? []).map((id) => {
    const read = (file: string): string | undefined => kernelText(join(home, id, file));
    return {
      id,
      name: read("name"),
      description: read("description"),
      deviceApi: read("device_api") ?? "",
      availableInstances: Number(read("available_instances") ?? 0),
    };
  });
}

/** The mediated devices of this host, in order of their UUIDs. */
export function listMediatedDevices(): MediatedDeviceInfo[] {
  // A device that is removed meanwhile is left out.
  return (kernelNames(DEVICES) ?? []).flatMap((uuid) => findMediatedDevice(uuid) ?? []);
}

/** What sysfs says of a mediated device; undefined if this host has no such device. */
export function findMediatedDevice(uuid: string): MediatedDeviceInfo | undefined {
  const path = sysfsPath(uuid);
  const type = kernelLinkName(join(path, "mdev_type"));
  const group = kernelLinkName(join(path, "iommu_group"));
  if (type === undefined) return undefined;
  return {
    uuid: uuid.toLowerCase(),
    parent: parentOf(path) ?? "",
    type,
    deviceApi: kernelText(join(path, "mdev_type/device_api")),
    driver: kernelLinkName(join(path, "driver")),
    iommuGroup: group === undefined ? undefined : Number(group),
  };
}

/** A mediated device's folder is in its parent's. */
function parentOf(path: string): string | undefined {
  const real = kernelRealPath(path);
  return real === undefined ? undefined : basename(dirname(real));
}

/** A mediated device that this program has created. close() removes it. */
export class MediatedDevice extends Resource {
  /** @internal */
  constructor(
    /** Its name: {@link PciDevice.open} takes it. */
    readonly uuid: string,
    /** {@link MediatedParent.name} */
    readonly parent: string,
    /** {@link MediatedType.id} */
    readonly type: string,
    timeoutMs: number,
  ) {
    super({ label: `mediated device ${uuid}`, release: removal(uuid, timeoutMs) });
  }

  /**
   * Removes it, within the time limit given to {@link createMediatedDevice}. Does nothing if it has gone already.
   * @throws BusyError, with nothing done, while a process has it open; SysError; TimeoutError
   */
  override close(): void {
    if (!this.closed) assertNotOpen(this.uuid);
    super.close();
  }

  override async closeAsync(): Promise<void> {
    if (!this.closed) assertNotOpen(this.uuid);
    await super.closeAsync();
  }
}

/** Not a closure of the constructor: a lease must not keep what users hold. */
function removal(uuid: string, timeoutMs: number) {
  const steps = new MediatedSteps(uuid, { timeoutMs });
  return {
    now: (): void => {
      if (existsSync(sysfsPath(uuid))) steps.remove();
    },
    later: async (): Promise<void> => {
      if (existsSync(sysfsPath(uuid))) await steps.removeAsync();
    },
  };
}

/**
 * Creates a mediated device. An error leaves none.
 * @param parent {@link MediatedParent.name}
 * @param type {@link MediatedType.id}
 * @throws ArgumentError (no such parent or type, a UUID that isn't one or exists), UnsupportedError (none is left), SysError: EACCES
 *   without root; TimeoutError: the kernel may complete it later
 */
export async function createMediatedDevice(
  parent: string,
  type: string,
  options: MediatedOptions = {},
): Promise<MediatedDevice> {
  checkKeys("options", options, ["uuid", "timeoutMs", "signal"]);
  const uuid = checkedUuid(options.uuid ?? crypto.randomUUID());
  const steps = new MediatedSteps(uuid, options);
  const { timeoutMs } = steps.wait;
  options.signal?.throwIfAborted();
  const found = typeOf(parent, type);
  if (existsSync(sysfsPath(uuid))) throw new ArgumentError(`there is a mediated device ${uuid} already`);
  if (found.availableInstances === 0)
    throw new UnsupportedError(`${parent} can't make one more ${type}: remove a mediated device of it first`);
  try {
    await steps.create(join(PARENTS, parent, "mdev_supported_types", type, "create"));
  } catch (error) {
    if (!steps.wait.mayBeStuck(error) && existsSync(sysfsPath(uuid)))
      await new MediatedSteps(uuid, { timeoutMs }).removeAsync();
    throw error;
  }
  return new MediatedDevice(uuid, parent, type, timeoutMs);
}

/** @throws ArgumentError */
function typeOf(parent: string, type: string): MediatedType {
  checkString("parent", parent);
  checkString("type", type);
  const parents = listMediatedParents();
  const known = parents.find(({ name }) => name === parent);
  if (known === undefined) {
    const names = parents.map(({ name }) => name).join(", ") || "none";
    throw new ArgumentError(`${show(parent)} makes no mediated devices; parents of this host: ${names}`);
  }
  const found = known.types.find(({ id }) => id === type);
  if (found !== undefined) return found;
  const ids = known.types.map(({ id }) => id).join(", ");
  throw new ArgumentError(`${parent} has no type ${show(type)}, only ${ids}`);
}

/**
 * Removes a mediated device, whoever created it.
 * @throws ArgumentError (no UUID, no such device), BusyError, with nothing done, while a process has it open; SysError: EACCES without
 *   root; TimeoutError: the kernel may complete it later
 */
export async function removeMediatedDevice(uuid: string, options: MediatedRemoval = {}): Promise<void> {
  const name = checkedUuid(uuid);
  checkKeys("options", options, ["timeoutMs", "signal"]);
  const steps = new MediatedSteps(name, options);
  options.signal?.throwIfAborted();
  if (!existsSync(sysfsPath(name))) throw noSuchMediatedDevice(name);
  assertNotOpen(name);
  await steps.removeAsync();
}

export function noSuchMediatedDevice(uuid: string): ArgumentError {
  return new ArgumentError(`there is no mediated device ${uuid}`);
}

function checkedUuid(uuid: string): string {
  if (!isUuid(uuid)) throw new ArgumentError(`uuid must be a UUID, got ${show(uuid)}`);
  return uuid.toLowerCase();
}

/** Processes that have it open through VFIO, in words; undefined for none. */
function openText(uuid: string): string | undefined {
  const holders = holdersOf(vfioNodesAt(sysfsPath(uuid)));
  return holders.length === 0 ? undefined : `open in ${holdersText(holders)}`;
}

/** While a process has the device open, the kernel would block its removal without limit. */
function assertNotOpen(uuid: string): void {
  const text = openText(uuid);
  if (text !== undefined) throw new BusyError(`mediated device ${uuid} can't be removed: ${text}`);
}

/** The writes that create and remove a device. The kernel may wait in each of them. */
class MediatedSteps {
  readonly wait: StepWait;

  /** @throws ArgumentError */
  constructor(
    private readonly uuid: string,
    options: MediatedRemoval,
  ) {
    this.wait = new StepWait(options, () => openText(uuid) ?? "the kernel's log may say more");
  }

  async create(attribute: string): Promise<void> {
    await this.write(attribute, this.uuid);
  }

  remove(): void {
    assertNotOpen(this.uuid);
    try {
      writeWithin(join(sysfsPath(this.uuid), "remove"), "1\n", this.wait);
    } catch (error) {
      throw explained(error);
    }
  }

  async removeAsync(): Promise<void> {
    assertNotOpen(this.uuid);
    await this.write(join(sysfsPath(this.uuid), "remove"), "1");
  }

  private async write(path: string, text: string): Promise<void> {
    try {
      await writeWithinAsync(path, `${text}\n`, this.wait);
    } catch (error) {
      throw explained(error);
    }
  }
}

function explained(error: unknown): unknown {
  if (!(error instanceof SysError)) return error;
  const hint = refusalHint(error.code, "creating and removing mediated devices");
  return hint === undefined ? error : error.with({ hint });
}
