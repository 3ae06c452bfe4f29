/** What an open controller consists of, and how it is opened. `NvmeController.open` loads this when it is first called. */
import { UnsupportedError } from "../core/errors.js";
import { PciDevice } from "../pci/device.js";
import { ControllerEngine } from "./engine/engine.js";
import { type NvmeOptions, parseNvmeOptions } from "./engine/options.js";
import { ControllerQuirks } from "./quirks/controller-quirks.js";

export { NvmeCapacity } from "./admin/capacity.js";
export { NvmeDirectives } from "./admin/directives.js";
export { NvmeEvents } from "./admin/events.js";
export { NvmeFeatures } from "./admin/features.js";
export { NvmeFirmware } from "./admin/firmware.js";
export { HostMemoryBuffer } from "./admin/host-memory-buffer.js";
export { lockdown } from "./admin/lockdown.js";
export { NvmeLogs } from "./admin/logs.js";
export { NvmeMaintenance } from "./admin/maintenance.js";
export { NvmeNamespaceManagement } from "./admin/namespace-management.js";
export { NvmeSecurity } from "./admin/security.js";
export { NvmeStructures } from "./admin/structures.js";
export { NvmeVirtualization } from "./admin/virtualization.js";

const NVME_CLASS = 0x0108_02;

/** Opens the function and starts its controller. @throws as `NvmeController.open`; nothing stays open */
export async function openEngine(
  target: string,
  options: NvmeOptions,
): Promise<{ readonly device: PciDevice; readonly engine: ControllerEngine }> {
  const config = parseNvmeOptions(options);
  config.signal?.throwIfAborted();
  const { backend, dma, vfToken, vfioUser } = config;
  const device = PciDevice.open(target, { backend, dma, vfToken, vfioUser });
  let engine: ControllerEngine;
  try {
    assertNvme(device, new ControllerQuirks(config.quirks, device.function));
    engine = new ControllerEngine(device, config);
  } catch (error) {
    device.close();
    throw error;
  }
  try {
    await engine.start(config.signal);
    return { device, engine };
  } catch (error) {
    await engine.close();
    throw error;
  }
}

/** @throws UnsupportedError */
function assertNvme(device: PciDevice, quirks: ControllerQuirks): void {
  const { classCode } = device.function;
  if (classCode === NVME_CLASS || quirks.has("class-code")) return;
  const code = classCode.toString(16).padStart(6, "0");
  throw new UnsupportedError(
    `${device.bdf} is no NVMe controller: its class code is 0x${code}, not 0x010802`,
  );
}
