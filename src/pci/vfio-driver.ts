/** Which VFIO driver a function is given to, whether it is there, and whether one has the function. */
import { existsSync } from "node:fs";
import { release as kernelRelease } from "node:os";
import { join } from "node:path";
import { checkString } from "../core/check.js";
import { ArgumentError, UnsupportedError } from "../core/errors.js";
import { kernelLinkName, kernelNames, kernelText } from "../sys/kernel-files.js";
import { parseBdf } from "./address/bdf.js";
import { devicePath } from "./address/device-path.js";
import type { KernelSteps, StepLimits } from "./steps/kernel-steps.js";
import { variantModule } from "./steps/modalias.js";
import { loadModule } from "./steps/modprobe.js";

export const VFIO_PCI = "vfio-pci";

/** The value of the option `driver` that chooses a variant. */
const BEST = "best";

/**
 * The driver that {@link bindToVfio} would bind a function to.
 * @param wanted its option `driver`
 * @throws ArgumentError (no such device, no name of a driver)
 */
export function vfioDriverFor(
  address: string,
  wanted?: string,
): { readonly driver?: string; readonly module: string } {
  const path = devicePath(parseBdf(address));
  if (wanted !== undefined && checkString("driver", wanted) !== BEST) {
    // It becomes part of a path.
    if (!/^\w[\w-]*$/.test(wanted))
      throw new ArgumentError(
        `driver ${JSON.stringify(wanted)}: expected "${BEST}" or the name of a VFIO driver, such as ${VFIO_PCI}`,
      );
    return { driver: wanted, module: wanted };
  }
  const aliases =
    wanted === BEST ? kernelText(join("/lib/modules", kernelRelease(), "modules.alias")) : undefined;
  const variant = variantModule(kernelText(join(path, "modalias")) ?? "", aliases ?? "");
  return variant === undefined ? { driver: VFIO_PCI, module: VFIO_PCI } : { module: variant };
}

/**
 * The name of the driver to bind to. A variant's module is loaded for it: only then is the driver's name known.
 * @throws ArgumentError, UnsupportedError, TimeoutError
 */
export function* chosenDriver(
  bdf: string,
  wanted: string | undefined,
  limits: StepLimits,
): KernelSteps<string> {
  const { driver, module } = vfioDriverFor(bdf, wanted);
  if (driver !== undefined) return driver;
  yield* loadModule(module, limits);
  const drivers = kernelNames(`/sys/module/${module.replaceAll("-", "_")}/drivers`) ?? [];
  const name = drivers.find((each) => each.startsWith("pci:"))?.slice("pci:".length);
  if (name === undefined)
    throw new UnsupportedError(`the kernel module ${module} has no driver of PCI functions`);
  return name;
}

/** Loads the module of a driver that isn't there. @throws UnsupportedError, TimeoutError */
export function* provideDriver(driver: string, limits: StepLimits): KernelSteps<void> {
  const path = `/sys/bus/pci/drivers/${driver}`;
  if (existsSync(path)) return;
  yield* loadModule(driver, limits);
  if (!existsSync(path))
    throw new UnsupportedError(`the kernel module ${driver} is loaded, but has no driver of this name`);
}

/** Whether a VFIO driver has a function: vfio-pci, or one that offers a VFIO device or group for it. @throws ArgumentError */
export function isVfioBound(bdf: string): boolean {
  const path = devicePath(bdf);
  const driver = kernelLinkName(join(path, "driver"));
  if (driver === undefined || driver === VFIO_PCI) return driver !== undefined;
  if (existsSync(join(path, "vfio-dev"))) return true;
  // Kernels before 6.6 tell only groups, which other functions may be in, too.
  const module = kernelLinkName(join(path, "driver/module")) ?? "";
  const group = kernelLinkName(join(path, "iommu_group"));
  return module.includes("vfio") && group !== undefined && existsSync(`/sys/class/vfio/${group}`);
}

/** @throws UnsupportedError unless {@link isVfioBound} */
export function assertVfio(bdf: string, driver: string): void {
  if (!isVfioBound(bdf))
    throw new UnsupportedError(`${driver} is not a VFIO driver: it offers no VFIO device of ${bdf}`);
}
