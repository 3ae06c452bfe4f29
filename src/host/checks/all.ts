/** All checks, in the order of a report, and why each matters. */
import type { DeviceFacts } from "../facts/device.js";
import type { HostFacts } from "../facts/facts.js";
import { acs, busReset, iommuUnit } from "./around.js";
import type { CheckResult, Finding } from "./check.js";
import { details, driver, freeForUse, group, reset } from "./device.js";
import { deviceRules, inContainer, nodeVersion, securityModules } from "./environment.js";
import { interruptRemapping, iommuOn, translation } from "./iommu.js";
import { iommufdOptions, kernelVersion, lockdown, type1Options, vfioOptions } from "./kernel.js";
import { hugePages, memlock, openFiles } from "./limits.js";
import { claimedIds, obstacles, unsafeSwitches, vfioPciLoaded } from "./modules.js";
import { containerNode, deviceNodes, iommufdNode } from "./nodes.js";
import { knownQuirks } from "./quirks.js";

type HostCheck = readonly [id: string, title: string, why: string, check: (facts: HostFacts) => Finding];
type DeviceCheck = readonly [
  id: string,
  title: string,
  why: string,
  check: (facts: HostFacts, device: DeviceFacts) => Finding,
];

const hostChecks: readonly HostCheck[] = [
  ["runtime.node", "Node.js", "The library calls the kernel through koffi's native part.", nodeVersion],
  [
    "runtime.container",
    "Container",
    "A container's manager decides which nodes, rights and limits it has.",
    inContainer,
  ],
  [
    "runtime.device-rules",
    "Device rules",
    "A control group's rules refuse nodes whatever their permissions are.",
    deviceRules,
  ],
  ["kernel.version", "Kernel", "iommufd needs Linux 6.6 or later, type1 works on older ones.", kernelVersion],
  ["kernel.vfio", "VFIO in the kernel", "Programs reach PCI devices through vfio-pci.", vfioOptions],
  [
    "kernel.iommufd",
    "iommufd in the kernel",
    "The backend iommufd needs it; type1 does without.",
    iommufdOptions,
  ],
  ["kernel.type1", "type1 in the kernel", "The backend type1 needs it; iommufd does without.", type1Options],
  ["kernel.lockdown", "Lockdown", "A locked kernel forbids some ways around it, even to root.", lockdown],
  [
    "kernel.lsm",
    "Security modules",
    "They can refuse nodes although their permissions allow it.",
    securityModules,
  ],
  ["iommu.on", "IOMMU", "Without one, a device could read and write all memory, so VFIO refuses.", iommuOn],
  [
    "iommu.interrupts",
    "Interrupt remapping",
    "Without it a device could send any interrupt, so VFIO refuses.",
    interruptRemapping,
  ],
  [
    "iommu.translation",
    "Translation",
    "It concerns the kernel's own drivers only: strict is safest, passthrough fastest.",
    translation,
  ],
  [
    "modules.vfio-pci",
    "The module vfio-pci",
    "It must be loaded before a device can be bound to it.",
    vfioPciLoaded,
  ],
  [
    "modules.obstacles",
    "Blacklists",
    "A blacklist keeps a module from loading by itself; a replaced command, altogether.",
    obstacles,
  ],
  [
    "modules.ids",
    "Devices claimed by id",
    "vfio-pci takes every device with such an id away from its usual driver.",
    claimedIds,
  ],
  [
    "modules.unsafe",
    "Unsafe switches",
    "They let a device reach memory or interrupts that aren't the program's.",
    unsafeSwitches,
  ],
  ["nodes.iommufd", "/dev/iommu", "The backend iommufd opens it.", iommufdNode],
  ["nodes.container", "/dev/vfio/vfio", "The backend type1 opens it.", containerNode],
  [
    "limits.memlock",
    "Memlock limit",
    "Memory that devices reach is pinned, and counts against this limit.",
    memlock,
  ],
  ["limits.files", "Open files", "Each device, interrupt and event takes a descriptor.", openFiles],
  ["memory.huge-pages", "Huge pages", "Optional: large buffers take fewer IOMMU entries in them.", hugePages],
];

const deviceChecks: readonly DeviceCheck[] = [
  ["device.driver", "Driver", "A program can open a device only while a driver of VFIO has it.", driver],
  [
    "device.group",
    "IOMMU group",
    "The IOMMU can't isolate the devices of a group, so a program gets all of it or nothing.",
    group,
  ],
  [
    "device.acs",
    "Access control",
    "Where a port lacks it (ACS), a device can reach its neighbours past the IOMMU, so they share a group.",
    acs,
  ],
  [
    "device.unit",
    "IOMMU unit",
    "Nesting, dirty tracking, PASIDs and page faults work only where the unit has them.",
    iommuUnit,
  ],
  [
    "device.nodes",
    "Nodes",
    "The program opens the device by them.",
    (facts, { bdf, cdev, groupNode, isVfio }) => deviceNodes(facts, bdf, isVfio ? [cdev, groupNode] : []),
  ],
  ["device.free", "In use", "Only one process at a time can have a device.", freeForUse],
  ["device.reset", "Reset", "A reset takes away what the program before left in the device.", reset],
  ["device.bus-reset", "Bus reset", "VFIO resets a bus only for who has every function on it.", busReset],
  [
    "device.details",
    "Details",
    "Memory on the device's NUMA node is fastest; MSI-X gives each queue its own interrupt.",
    details,
  ],
  ["device.quirks", "Known quirks", "Some models do otherwise than their specification says.", knownQuirks],
];

/** Every check of a host and of its devices. */
export function runChecks(facts: HostFacts): CheckResult[] {
  const ofHost = hostChecks.map(([id, title, why, check]) => result(id, title, why, undefined, check(facts)));
  const ofDevices = facts.devices.flatMap((device) =>
    deviceChecks.map(([id, title, why, check]) => result(id, title, why, device.bdf, check(facts, device))),
  );
  return [...ofHost, ...ofDevices];
}

function result(
  id: string,
  title: string,
  why: string,
  device: string | undefined,
  finding: Finding,
): CheckResult {
  const { state, found, where, fixes = [] } = finding;
  return { id, title, device, state, found, where, why, fixes };
}
