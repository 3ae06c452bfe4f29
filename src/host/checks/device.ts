/** Checks of one PCI function: driver, IOMMU group, users, resets. */

import { holdersText } from "../../pci/usage/holders.js";
import type { DeviceFacts } from "../facts/device.js";
import { type HostFacts, optionOf } from "../facts/facts.js";
import type { Finding, Fix, FixStep } from "./check.js";
import { command, manual } from "./fixes.js";
import { isModuleAbsent } from "./modules.js";

function folder({ bdf }: DeviceFacts): string {
  return `/sys/bus/pci/devices/${bdf}`;
}

/** Binds devices to vfio-pci. */
export function bindFix(...devices: readonly string[]): Fix {
  return {
    summary: `bind ${devices.join(", ")} to vfio-pci`,
    steps: devices.map((bdf) => command(["npx", "iova", "bind", bdf], ["npx", "iova", "unbind", bdf])),
    effect: "now",
  };
}

export function driver(facts: HostFacts, device: DeviceFacts): Finding {
  const where = `${folder(device)}/driver`;
  if (device.isBridge) {
    const fix = manual("choose another", "give the address of a device behind it: npx iova list");
    return { state: "problem", found: "it is a PCI bridge, which VFIO doesn't take", where, fixes: [fix] };
  }
  const found = device.driver === undefined ? "no driver" : `driver ${device.driver}`;
  if (device.isVfio) return { state: "ok", found, where };
  if (device.inUse.length > 0) {
    const text = `first end its use: ${device.inUse.join("; ")}. Or choose another device`;
    const fixes = [bindAfter(device, "free it", text)];
    return { state: "problem", found: `${found}; in use: ${device.inUse.join("; ")}`, where, fixes };
  }
  if (facts.security.readOnlySysfs) {
    const text = `sysfs is read-only here. On the host: npx iova bind ${device.bdf}`;
    return { state: "problem", found, where, fixes: [manual("bind it outside", text)] };
  }
  const obstacle = obstacleTo(facts, device);
  const fix =
    obstacle === undefined
      ? bindFix(device.bdf)
      : bindAfter(device, `mend ${obstacle}`, `first mend what the check ${obstacle} found`);
  return { state: "problem", found, where, fixes: [fix] };
}

/** Binds a device after what only a person can do. */
function bindAfter({ bdf }: DeviceFacts, what: string, text: string): Fix {
  const bind = bindFix(bdf);
  const steps: readonly FixStep[] = [{ kind: "manual", text }, ...bind.steps];
  return { ...bind, summary: `${what}, then ${bind.summary}`, steps };
}

/** The check whose problem keeps a device from being bound; undefined if nothing does. */
function obstacleTo(facts: HostFacts, device: DeviceFacts): string | undefined {
  const { state } = optionOf(facts, "VFIO_PCI");
  if (state === "off") return "kernel.vfio";
  if (state !== "built-in" && isModuleAbsent(facts, "vfio_pci")) return "modules.vfio-pci";
  return device.group === undefined && facts.switches.noiommu !== true ? "iommu.on" : undefined;
}

/** Whether the whole group can be given to a program. */
export function isGroupViable({ members }: DeviceFacts): boolean {
  return members.every(({ isHarmless }) => isHarmless);
}

export function group(facts: HostFacts, device: DeviceFacts): Finding {
  const where = `${folder(device)}/iommu_group`;
  if (device.group === undefined) {
    return facts.switches.noiommu === true
      ? { state: "warning", found: "no group: VFIO makes one when it is bound, in no-IOMMU mode", where }
      : {
          state: "problem",
          found: "no group: no IOMMU is in front of it",
          where,
          fixes: [manual("switch the IOMMU on", "see the check iommu.on")],
        };
  }
  const others = device.members.filter(({ bdf }) => bdf !== device.bdf);
  const found =
    others.length === 0
      ? `group ${device.group}, alone`
      : `group ${device.group} with ${others.map((each) => `${each.bdf} (${each.driver ?? "no driver"})`).join(", ")}`;
  const inTheWay = others.filter(({ isHarmless }) => !isHarmless);
  if (inTheWay.length === 0) return { state: "ok", found, where };
  return { state: "problem", found, where, fixes: [bindFix(...inTheWay.map(({ bdf }) => bdf))] };
}

export function freeForUse(_: HostFacts, { holders, bdf }: DeviceFacts): Finding {
  const where = "/proc/*/fd";
  if (holders.length === 0)
    return { state: "ok", found: "no process has it open, as far as can be seen", where };
  const text = `end that program, or let it close ${bdf}`;
  return {
    state: "problem",
    found: `open in ${holdersText(holders)}`,
    where,
    fixes: [manual("free it", text)],
  };
}

export function reset(_: HostFacts, device: DeviceFacts): Finding {
  const { resetMethods, members } = device;
  const where = `${folder(device)}/reset_method`;
  if (resetMethods.length > 0) return { state: "ok", found: resetMethods.join(", "), where };
  const together = members.length > 1 ? "; a reset of its bus would reset its neighbours" : "";
  return { state: "warning", found: `the kernel knows no way to reset it alone${together}`, where };
}

export function details(_: HostFacts, device: DeviceFacts): Finding {
  const { numaNode, msix, powerState, physicalFunction, virtualFunctions } = device;
  const found = [
    numaNode === undefined ? "no NUMA node" : `NUMA node ${numaNode}`,
    msix === undefined ? "MSI-X unknown (capabilities take root)" : msix ? "MSI-X" : "no MSI-X",
    ...(powerState === undefined ? [] : [`power ${powerState}`]),
    ...(physicalFunction === undefined ? [] : [`virtual function of ${physicalFunction}`]),
    ...(virtualFunctions === 0 ? [] : [`${virtualFunctions} virtual functions`]),
  ].join(", ");
  return { state: "ok", found, where: folder(device) };
}
