/** Whether a device can be used now by a user, and through which backend. */
import { isGroupViable } from "./checks/device.js";
import { isMemlockEnough } from "./checks/limits.js";
import { nodeAt } from "./checks/nodes.js";
import type { DeviceFacts } from "./facts/device.js";
import { type HostFacts, optionOf } from "./facts/facts.js";

/** Backends that reach devices of this host. */
export type HostBackend = "iommufd" | "type1" | "noiommu";

/** Whether a device can be used now, by the user whom the report is for. */
export interface DeviceVerdict {
  /** domain:bus:device.function */
  readonly bdf: string;
  /** Whether any backend works. */
  readonly usable: boolean;
  /** Backends that work, the preferred one first. `noiommu` has to be asked for by name. */
  readonly backends: readonly HostBackend[];
}

export function verdictOf(facts: HostFacts, device: DeviceFacts): DeviceVerdict {
  const { bdf } = device;
  const canStart =
    device.isVfio &&
    !device.isBridge &&
    device.holders.length === 0 &&
    isGroupViable(device) &&
    isMemlockEnough(facts) &&
    facts.runtime.koffiError === undefined;
  const backends = canStart ? backendsOf(facts, device) : [];
  return { bdf, usable: backends.length > 0, backends };
}

function backendsOf(facts: HostFacts, { cdev, group, groupNode }: DeviceFacts): HostBackend[] {
  const opens = (path: string | undefined): boolean => nodeAt(facts, path)?.canOpen === true;
  if (group === undefined) return [];
  if (groupNode?.includes("noiommu") === true) {
    // The kernel asks for this right whatever the permissions are.
    return opens(groupNode) && facts.user.capabilities.has("CAP_SYS_RAWIO") ? ["noiommu"] : [];
  }
  const { switches, iommu } = facts;
  const isIsolated = iommu.interruptRemapping !== false;
  const hasType1 =
    optionOf(facts, "VFIO_IOMMU_TYPE1").state !== "off" ||
    optionOf(facts, "IOMMUFD_VFIO_CONTAINER").state === "built-in";
  const found: HostBackend[] = [];
  if (opens(cdev) && opens("/dev/iommu") && (isIsolated || switches.iommufdUnsafeInterrupts === true))
    found.push("iommufd");
  if (
    opens(groupNode) &&
    opens("/dev/vfio/vfio") &&
    hasType1 &&
    (isIsolated || switches.type1UnsafeInterrupts === true)
  )
    found.push("type1");
  return found;
}
