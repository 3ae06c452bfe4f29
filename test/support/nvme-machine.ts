/** The NVMe controllers of the guest machine "intel", and what it takes to open them. */
import { readdirSync } from "node:fs";
import { bindToVfio, readPciFunction, type VfioBinding } from "../../src/index.js";
import { nvmeBdf, pairNvmeBdf, wideNvmeBdf } from "./functions.js";

/** Each has a shape of its own; addresses are asked for late, since a machine is there only inside the guest. */
export const nvmeControllers = [
  { name: "default", bdf: nvmeBdf },
  { name: "wide", bdf: wideNvmeBdf },
  { name: "paired", bdf: pairNvmeBdf },
] as const;

export const backends = ["iommufd", "type1"] as const;
export const completions = ["interrupt", "poll"] as const;

/** Every backend with every way of noticing completions. */
export const ways = backends.flatMap((backend) => completions.map((completion) => ({ backend, completion })));

/** Addresses of all functions in a function's IOMMU group, itself among them. */
export function groupMembers(bdf: string): string[] {
  return readdirSync(`/sys/bus/pci/devices/${bdf}/iommu_group/devices`).sort();
}

/** Binds a function to vfio-pci, and with it whatever else of its group a kernel driver has. */
export function bindGroup(bdf: string): { close(): void } {
  const bindings: VfioBinding[] = [];
  const close = (): void => {
    for (const binding of bindings.reverse()) binding.close();
  };
  try {
    for (const member of groupMembers(bdf)) {
      if (member === bdf || readPciFunction(member).driver !== undefined) bindings.push(bindToVfio(member));
    }
  } catch (error) {
    close();
    throw error;
  }
  return { close };
}
