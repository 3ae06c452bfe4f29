/** Checks of what is around a PCI function: isolation from its neighbours, a reset of its bus, the IOMMU unit in front of it. */
import type { DeviceFacts } from "../facts/device.js";
import type { HostFacts } from "../facts/facts.js";
import type { AcsState } from "../facts/neighbours.js";
import type { OpenedFacts } from "../facts/opened.js";
import type { Finding } from "./check.js";
import { bindFix } from "./device.js";
import { manual } from "./fixes.js";

const acsWords: Readonly<Record<AcsState, string>> = {
  on: "has ACS on",
  off: "has ACS off",
  none: "lacks ACS",
  unknown: "can't be read (run this as root)",
};

/** Domain, bus and slot of an address. */
function slotOf(bdf: string): string {
  return bdf.slice(0, bdf.lastIndexOf("."));
}

/** Whether its neighbours can be reached past the IOMMU, which is what makes a group of several devices. */
export function acs(_: HostFacts, { bdf, group, members, surroundings }: DeviceFacts): Finding {
  const where = `/sys/bus/pci/devices/${bdf}/config`;
  if (group === undefined) return { state: "not-applicable", found: "it has no IOMMU group", where };
  const others = members.filter((each) => each.bdf !== bdf && !each.isBridge).map((each) => each.bdf);
  const [own, ...ports] = surroundings.acs;
  const isOneOfSeveral = own !== undefined && others.some((each) => slotOf(each) === slotOf(bdf));
  const asked = isOneOfSeveral ? [own, ...ports] : ports;
  const said = asked.map((each) => `${each.bdf} ${acsWords[each.state]}`).join(", ") || "no port is above it";
  if (others.length === 0) return { state: "ok", found: `isolated from other devices; ${said}`, where };
  const text =
    `put the card into another slot, below a port with ACS, or switch ACS on in the firmware's setup. Or give the whole group to one ` +
    `program: npx iova bind ${bdf} --group`;
  return {
    state: "warning",
    found: `not isolated from ${others.join(", ")}; ${said}`,
    where,
    fixes: [manual("isolate it", text, "reboot")],
  };
}

/** Whom a reset of its bus resets, too. */
export function busReset({ opened }: HostFacts, device: DeviceFacts): Finding {
  const { bdf, surroundings, resetMethods } = device;
  const known = opened.get(bdf)?.sameReset;
  const where = known === undefined ? "/sys/bus/pci/devices" : "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO";
  const { sameReset } = surroundings;
  if (known?.length === 0 || (known === undefined && sameReset === undefined))
    return { state: "not-applicable", found: "there is no reset of its bus", where };
  const around = sameReset ?? [];
  const names = known?.filter((each) => each !== bdf) ?? around.map((each) => each.bdf);
  if (names.length === 0) return { state: "ok", found: "it resets this function alone", where };
  const words = names.map((name) => {
    const neighbour = around.find((each) => each.bdf === name);
    return neighbour === undefined ? name : `${name} (${neighbour.driver ?? "no driver"})`;
  });
  const found = `it also resets ${words.join(", ")}`;
  const inTheWay = around.filter((each) => names.includes(each.bdf) && !each.isHarmless);
  const hasOther = resetMethods.some((method) => method !== "bus" && method !== "cxl_bus");
  if (hasOther || inTheWay.length === 0) return { state: "ok", found, where };
  return {
    state: "warning",
    found: `${found}, and it is the only reset`,
    where,
    fixes: [bindFix(...inTheWay.map((each) => each.bdf))],
  };
}

/** What the IOMMU unit in front of the device can. */
export function iommuUnit({ opened }: HostFacts, { bdf, unit, group }: DeviceFacts): Finding {
  const where = `/sys/bus/pci/devices/${bdf}/iommu`;
  if (group === undefined) return { state: "not-applicable", found: "no IOMMU is in front of it", where };
  const name = unit ?? "its unit";
  const info = opened.get(bdf)?.unit;
  if (info === undefined) {
    const found =
      `${name}: what it can is told when the device is named, bound to a driver of VFIO, used by nobody, and this user can open it ` +
      "through iommufd";
    return { state: "not-applicable", found, where };
  }
  return { state: "ok", found: `${name}: ${unitText(info)}`, where: "IOMMU_GET_HW_INFO" };
}

/** The unit's features, by the names of this package's `hwInfo()`. */
export function unitText({
  registers,
  dirtyTracking,
  maxPasidLog2,
}: NonNullable<OpenedFacts["unit"]>): string {
  const own = Object.entries(registers).flatMap(([name, value]) =>
    value === true ? [name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`)] : [],
  );
  const forDevice = [
    ...(dirtyTracking ? ["dirty tracking"] : []),
    ...(maxPasidLog2 === 0 ? [] : [`PASIDs of ${maxPasidLog2} bits`]),
  ];
  const text = (words: readonly string[]): string => words.join(", ") || "nothing more";
  return `${registers.kind}: ${text(own)}; for this device: ${text(forDevice)}`;
}
