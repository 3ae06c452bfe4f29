/** Everything that a report on a host is made of. */
import { ifThere } from "../../pci/sysfs.js";
import { type KernelCommandLine, readCommandLine } from "./command-line.js";
import { type ContainerFacts, readContainer } from "./container.js";
import { type DeviceFacts, readDevice } from "./device.js";
import { type DeviceRules, readDeviceRules } from "./device-rules.js";
import { type Distribution, readDistribution, runsUdev } from "./distribution.js";
import { type HugePageFacts, readHugePages } from "./huge-pages.js";
import { type IommuFacts, readIommu } from "./iommu.js";
import { readKernelConfig } from "./kernel-config.js";
import { type KernelOption, type KernelOptionName, readKernelOptions } from "./kernel-options.js";
import { type KernelVersion, readKernelVersion } from "./kernel-version.js";
import { type LimitSetting, readLimitSettings } from "./limit-settings.js";
import { type ModprobeLine, readModprobe } from "./modprobe.js";
import { type ModuleState, moduleState, readModules } from "./modules.js";
import { type DeviceNode, readNodes } from "./nodes.js";
import { type OpenedFacts, readOpened } from "./opened.js";
import { type ProcessLimit, parseProcessLimits } from "./process-limits.js";
import type { HostRoot } from "./root.js";
import { type RuntimeFacts, readRuntime } from "./runtime.js";
import { readSecurity, type SecurityFacts } from "./security.js";
import { readSwitches, type SwitchFacts } from "./switches.js";
import { type HostGroup, HostNames, type HostUser, readUser } from "./users.js";

/** The modules that the library depends on. */
export const moduleNames = ["vfio", "vfio_pci", "vfio_iommu_type1", "iommufd"] as const;

/** A module that the library depends on. */
export type HostModule = (typeof moduleNames)[number];

/** What is known of a host. */
export interface HostFacts {
  readonly kernel: KernelVersion;
  /** Where the kernel's configuration was found; undefined if nowhere. */
  readonly configPath: string | undefined;
  readonly options: readonly KernelOption[];
  readonly commandLine: KernelCommandLine;
  readonly iommu: IommuFacts;
  readonly modules: Readonly<Record<HostModule, ModuleState>>;
  readonly modprobe: readonly ModprobeLine[];
  readonly switches: SwitchFacts;
  /** Whom the report is for. */
  readonly user: HostUser;
  /** The group `iova`, to which advice gives nodes; undefined if there is none. */
  readonly accessGroup: HostGroup | undefined;
  /** udev runs: it reads new rules, and makes nodes by them. */
  readonly udev: boolean;
  readonly nodes: readonly DeviceNode[];
  /** Limits of this process, by the kernel's names for them. */
  readonly limits: ReadonlyMap<string, ProcessLimit>;
  readonly limitSettings: readonly LimitSetting[];
  readonly hugePages: HugePageFacts;
  readonly security: SecurityFacts;
  readonly container: ContainerFacts | undefined;
  /** Undefined if none can be read. */
  readonly deviceRules: DeviceRules | undefined;
  readonly runtime: RuntimeFacts;
  readonly distribution: Distribution;
  /** The devices that the report is about. */
  readonly devices: readonly DeviceFacts[];
  /** What those tell that could be opened, by address. */
  readonly opened: ReadonlyMap<string, OpenedFacts>;
}

/**
 * Reads a host.
 * @param devices addresses of the devices that matter
 * @param user name or number; undefined: who runs this process
 * @param named whether the user named them: then those that nobody uses are opened, too, and one that isn't there is an error
 * @throws ArgumentError: no such device or user; TimeoutError: the host's directory of users doesn't answer
 */
export function readHostFacts(
  root: HostRoot,
  devices: readonly string[],
  user?: string,
  named = false,
): HostFacts {
  const kernel = readKernelVersion(root);
  const config = readKernelConfig(root, kernel.release);
  const modules = readModules(root, kernel.release);
  const names = HostNames.read(root);
  const who = readUser(root, names, user);
  const nodes = readNodes(root, names, who);
  // One that was only listed may have gone since.
  const found = devices.flatMap((bdf) => {
    const read = () => readDevice(root, bdf);
    return (named ? read() : ifThere(read)) ?? [];
  });
  const tried = named && root.isLive && who.isThisProcess ? found : [];
  return {
    kernel,
    configPath: config?.path,
    options: readKernelOptions({ root, version: kernel, config, modules }),
    commandLine: readCommandLine(root),
    iommu: readIommu(root),
    modules: {
      vfio: moduleState(modules, "vfio"),
      vfio_pci: moduleState(modules, "vfio_pci"),
      vfio_iommu_type1: moduleState(modules, "vfio_iommu_type1"),
      iommufd: moduleState(modules, "iommufd"),
    },
    modprobe: readModprobe(root),
    switches: readSwitches(root),
    user: who,
    accessGroup: names.group("iova"),
    udev: runsUdev(root),
    nodes,
    limits: parseProcessLimits(root.text("/proc/self/limits") ?? ""),
    limitSettings: readLimitSettings(root),
    hugePages: readHugePages(root),
    security: readSecurity(root),
    container: readContainer(root, kernel.release),
    deviceRules: readDeviceRules(root),
    runtime: readRuntime(root),
    distribution: readDistribution(root),
    devices: found,
    opened: new Map(tried.flatMap((device) => openedOf(device, nodes))),
  };
}

function openedOf(
  { bdf, isVfio, cdev, holders }: DeviceFacts,
  nodes: readonly DeviceNode[],
): [string, OpenedFacts][] {
  const opens = (path: string | undefined): boolean =>
    nodes.some((node) => node.path === path && node.canOpen);
  if (!isVfio || holders.length > 0 || !opens(cdev) || !opens("/dev/iommu")) return [];
  const opened = readOpened(bdf);
  return opened === undefined ? [] : [[bdf, opened]];
}

/** The state of a kernel option. */
export function optionOf(facts: HostFacts, name: KernelOptionName): KernelOption {
  const found = facts.options.find((each) => each.name === name);
  return found ?? { name, state: "unknown", source: "no kernel configuration can be read" };
}
