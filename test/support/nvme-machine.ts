/** The NVMe controllers of the guest machine "intel", and what opening them needs. */
import { readdirSync } from "node:fs";
import { bindToVfio, readPciFunction, type VfioBinding } from "../../src/index.js";
import { nvmeBdf, pairNvmeBdf, wideNvmeBdf } from "./functions.js";

/** Each controller has its own properties. Addresses are functions, because the machine exists only inside the guest. */
export const nvmeControllers = [
  { name: "default", bdf: nvmeBdf },
  { name: "wide", bdf: wideNvmeBdf },
  { name: "paired", bdf: pairNvmeBdf },
] as const;

export const backends = ["iommufd", "type1"] as const;
export const completions = ["interrupt", "poll"] as const;

/** Every backend with every completion mode. */
export const ways = backends.flatMap((backend) => completions.map((completion) => ({ backend, completion })));

/** Addresses of all functions in a function's IOMMU group, including itself. */
export function groupMembers(bdf: string): string[] {
  return readdirSync(`/sys/bus/pci/devices/${bdf}/iommu_group/devices`).sort();
}

/** Binds a function to vfio-pci, and all others of its group that a kernel driver has. */
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
