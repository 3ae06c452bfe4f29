/** Checks of the kernel: version, options, lockdown. */
import { type HostFacts, optionOf } from "../facts/facts.js";
import type { KernelOptionName } from "../facts/kernel-options.js";
import { isAtLeast } from "../facts/kernel-version.js";
import type { Finding, Fix } from "./check.js";
import { manual } from "./fixes.js";

/** An option is off for certain. */
function isOff(facts: HostFacts, name: KernelOptionName): boolean {
  return optionOf(facts, name).state === "off";
}

function isOn(facts: HostFacts, name: KernelOptionName): boolean {
  const { state } = optionOf(facts, name);
  return state === "built-in" || state === "module";
}

function shown(facts: HostFacts, names: readonly KernelOptionName[]): string {
  return names
    .map((name) => {
      const { state } = optionOf(facts, name);
      return `${name} ${state === "module" ? "is a module" : state === "unknown" ? "is unknown" : `is ${state}`}`;
    })
    .join(", ");
}

/** Kernels that are made for virtual machines leave drivers out; the usual kernel has them. */
const SLIM_KERNELS: readonly (readonly [RegExp, string, readonly string[]])[] = [
  [/-cloud-amd64$/, "linux-image-amd64", ["apt", "install", "linux-image-amd64"]],
  [/-cloud-arm64$/, "linux-image-arm64", ["apt", "install", "linux-image-arm64"]],
  [/-(?:kvm|minimal)$/, "linux-generic", ["apt", "install", "linux-generic"]],
  [/-virt$/, "linux-lts", ["apk", "add", "linux-lts"]],
];

function otherKernel({ kernel }: HostFacts, options: string): Fix {
  const slim = SLIM_KERNELS.find(([pattern]) => pattern.test(kernel.release));
  if (slim === undefined) {
    return manual("use another kernel", `install or build a kernel with ${options}, and start it`, "reboot");
  }
  const [, name, argv] = slim;
  return {
    summary: `use the kernel of the package ${name}, and restart`,
    steps: [{ kind: "command", argv, undo: undefined }],
    effect: "reboot",
  };
}

export function kernelVersion({ kernel, configPath }: HostFacts): Finding {
  const where = "/proc/sys/kernel/osrelease";
  if (kernel.major === 0) return { state: "warning", found: "the kernel's version is unknown", where };
  const config = configPath === undefined ? "no configuration file" : `configuration in ${configPath}`;
  const found = `Linux ${kernel.release}, ${config}`;
  return isAtLeast(kernel, 4, 8) === true
    ? { state: "ok", found, where }
    : { state: "problem", found: `${found}: older than any that VFIO works well on`, where };
}

export function vfioOptions(facts: HostFacts): Finding {
  const found = shown(facts, ["VFIO", "VFIO_PCI"]);
  const where = optionOf(facts, "VFIO_PCI").source;
  if (isOff(facts, "VFIO") || isOff(facts, "VFIO_PCI")) {
    return { state: "problem", found, where, fixes: [otherKernel(facts, "CONFIG_VFIO and CONFIG_VFIO_PCI")] };
  }
  return { state: isOn(facts, "VFIO_PCI") ? "ok" : "warning", found, where };
}

/** Debian's kernels 6.12 (trixie) and 7.2 (backports) were built without, as of November 2026. */
const DEBIAN_LACKS = /^(?:6\.12|7\.2)\..*(?:deb|bpo)/;

export function iommufdOptions(facts: HostFacts): Finding {
  const found = shown(facts, ["IOMMUFD", "VFIO_DEVICE_CDEV"]);
  const where = optionOf(facts, "IOMMUFD").source;
  if (isOn(facts, "IOMMUFD") && isOn(facts, "VFIO_DEVICE_CDEV")) return { state: "ok", found, where };
  const fixes = [otherKernel(facts, "CONFIG_IOMMUFD and CONFIG_VFIO_DEVICE_CDEV (Linux 6.6 or later)")];
  if (!isOff(facts, "IOMMUFD") && !isOff(facts, "VFIO_DEVICE_CDEV"))
    return { state: "warning", found, where };
  const hasType1 = !isOff(facts, "VFIO_IOMMU_TYPE1") && !isOff(facts, "VFIO_GROUP");
  const known = DEBIAN_LACKS.test(facts.kernel.release) ? "; this kernel of Debian has never had it" : "";
  return hasType1
    ? { state: "warning", found: `${found}${known}; type1 works meanwhile`, where, fixes }
    : { state: "problem", found: `${found}${known}; type1 is off, too`, where, fixes };
}

export function type1Options(facts: HostFacts): Finding {
  const where = optionOf(facts, "VFIO_IOMMU_TYPE1").source;
  if (isOn(facts, "IOMMUFD_VFIO_CONTAINER")) {
    return { state: "ok", found: "/dev/vfio/vfio is iommufd's (IOMMUFD_VFIO_CONTAINER)", where };
  }
  const found = shown(facts, ["VFIO_IOMMU_TYPE1", "VFIO_GROUP", "VFIO_CONTAINER"]);
  const names = ["VFIO_IOMMU_TYPE1", "VFIO_GROUP", "VFIO_CONTAINER"] as const;
  if (!names.some((name) => isOff(facts, name))) return { state: "ok", found, where };
  const needed = !isOn(facts, "IOMMUFD");
  const fixes = needed ? [otherKernel(facts, "CONFIG_VFIO_IOMMU_TYPE1 and CONFIG_VFIO_GROUP")] : [];
  return { state: needed ? "problem" : "not-applicable", found, where, fixes };
}

export function lockdown({ security }: HostFacts): Finding {
  const where = "/sys/kernel/security/lockdown";
  const boot = security.secureBoot === true ? "secure boot is on" : "secure boot is off or unknown";
  if (security.lockdown === undefined || security.lockdown === "none") {
    return { state: "ok", found: `no lockdown; ${boot}`, where };
  }
  const forbidden =
    "VFIO works; unsigned modules, debugfs and writing configuration space through sysfs don't";
  return { state: "ok", found: `lockdown is ${security.lockdown}; ${boot}. ${forbidden}`, where };
}
