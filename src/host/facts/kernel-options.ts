/** The kernel options that the library depends on: from a configuration file, or else from what the running kernel shows. */
import type { KernelConfig } from "./kernel-config.js";
import { isAtLeast, type KernelVersion } from "./kernel-version.js";
import { type Modules, moduleState } from "./modules.js";
import type { HostRoot } from "./root.js";

/** How an option is set. */
export type OptionState = "built-in" | "module" | "off" | "unknown";

/** One option of the kernel's configuration. */
export interface KernelOption {
  /** Name without `CONFIG_`. */
  readonly name: KernelOptionName;
  readonly state: OptionState;
  /** The file that says so, or what the running kernel shows. */
  readonly source: string;
}

/** What shows that an option is on, where there is no configuration file. */
interface Evidence {
  /** Its module, if it can be one. */
  readonly module?: string;
  /** Files that exist only with it. */
  readonly files?: readonly string[];
  /** A folder, and how a name in it begins, that exist only with it. */
  readonly names?: readonly [folder: string, start: string];
  /** From this version on it is an option of its own; before, it came with another. */
  readonly since?: readonly [major: number, minor: number, before: "VFIO"];
}

const evidence = {
  IOMMUFD: { module: "iommufd", files: ["/sys/class/misc/iommu"] },
  VFIO: { module: "vfio", files: ["/sys/class/vfio", "/sys/class/vfio-dev", "/sys/class/misc/vfio"] },
  VFIO_DEVICE_CDEV: { files: ["/sys/class/vfio-dev"] },
  VFIO_GROUP: { files: ["/sys/class/vfio"], since: [6, 6, "VFIO"] },
  VFIO_CONTAINER: { since: [6, 2, "VFIO"] },
  VFIO_IOMMU_TYPE1: { module: "vfio_iommu_type1" },
  VFIO_PCI: { module: "vfio_pci", files: ["/sys/bus/pci/drivers/vfio-pci"] },
  VFIO_NOIOMMU: { files: ["/sys/module/vfio/parameters/enable_unsafe_noiommu_mode"] },
  IOMMUFD_VFIO_CONTAINER: {},
  INTEL_IOMMU: { names: ["/sys/class/iommu", "dmar"] },
  INTEL_IOMMU_DEFAULT_ON: {},
  AMD_IOMMU: { names: ["/sys/class/iommu", "ivhd"] },
  ARM_SMMU_V3: { module: "arm_smmu_v3", names: ["/sys/class/iommu", "smmu3"] },
  ARM_SMMU: { module: "arm_smmu" },
  VIRTIO_IOMMU: { module: "virtio_iommu" },
  IRQ_REMAP: {},
  HUGETLBFS: { files: ["/sys/kernel/mm/hugepages"] },
  TRANSPARENT_HUGEPAGE: { files: ["/sys/kernel/mm/transparent_hugepage"] },
} as const satisfies Readonly<Record<string, Evidence>>;

/** The options that are looked for, without `CONFIG_`. */
export type KernelOptionName = keyof typeof evidence;

/** The options that are looked for, without `CONFIG_`, in the order of a report. */
export const kernelOptionNames = Object.keys(evidence) as readonly KernelOptionName[];

/** Whatever is needed to tell an option's state. */
export interface OptionSources {
  readonly root: HostRoot;
  readonly version: KernelVersion;
  readonly config: { readonly path: string; readonly values: KernelConfig } | undefined;
  readonly modules: Modules;
}

/** The state of every option. */
export function readKernelOptions(sources: OptionSources): KernelOption[] {
  return kernelOptionNames.map((name) => ({ name, ...stateOf(name, sources) }));
}

function stateOf(name: KernelOptionName, sources: OptionSources): Omit<KernelOption, "name"> {
  const { config, version } = sources;
  const { since }: Evidence = evidence[name];
  if (since !== undefined && isAtLeast(version, since[0], since[1]) === false)
    return stateOf(since[2], sources);
  if (config === undefined) return shown(evidence[name], sources);
  const value = config.values.get(name);
  const state = value === "y" ? "built-in" : value === "m" ? "module" : "off";
  return { state, source: config.path };
}

function shown(
  { module, files = [], names }: Evidence,
  { root, modules }: OptionSources,
): Omit<KernelOption, "name"> {
  const state = module === undefined ? undefined : moduleState(modules, module);
  const found = files.find((file) => root.exists(file)) ?? nameIn(root, names);
  if (state === "loaded") return { state: "module", source: "/proc/modules" };
  if (state === "built-in") return { state: "built-in", source: `${modules.folder}/modules.builtin` };
  if (state === "loadable") return { state: "module", source: `${modules.folder}/modules.dep` };
  // Shown by the kernel, but not in the list of modules.
  if (found !== undefined) return { state: "built-in", source: found };
  if (state === "missing") return { state: "off", source: `${modules.folder}/modules.dep` };
  return { state: "unknown", source: "no kernel configuration can be read" };
}

function nameIn(root: HostRoot, names: Evidence["names"]): string | undefined {
  if (names === undefined) return undefined;
  const [folder, start] = names;
  const name = root.names(folder).find((each) => each.startsWith(start));
  return name === undefined ? undefined : `${folder}/${name}`;
}
