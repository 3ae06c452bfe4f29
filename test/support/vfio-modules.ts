/** VFIO's modules, where the kernel has them as modules. */
import { existsSync } from "node:fs";
import { run } from "./run.js";

/** Takes out vfio-pci, type1 and what they need: other tests of this machine may have loaded them. */
export async function unloadVfio(): Promise<void> {
  if (existsSync("/sys/module/vfio/refcnt")) await run("modprobe", ["-r", "vfio-pci", "vfio_iommu_type1"]);
}
