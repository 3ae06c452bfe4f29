/** What an open controller consists of, and how it is opened. `NvmeController.open` loads this when it is first called. */
import { PciDevice } from "../pci/device.js";
import { NvmeCapacity } from "./admin/capacity.js";
import { NvmeDirectives } from "./admin/directives.js";
import { NvmeEvents } from "./admin/events.js";
import { NvmeFeatures } from "./admin/features.js";
import { NvmeFirmware } from "./admin/firmware.js";
import { HostMemoryBuffer } from "./admin/host-memory-buffer.js";
import { lockdown } from "./admin/lockdown.js";
import { NvmeLogs } from "./admin/logs.js";
import { NvmeMaintenance } from "./admin/maintenance.js";
import { NvmeNamespaceManagement } from "./admin/namespace-management.js";
import { NvmeSecurity } from "./admin/security.js";
import { NvmeStructures } from "./admin/structures.js";
import { NvmeVirtualization } from "./admin/virtualization.js";
import { assertNvme } from "./class-code.js";
import { ControllerEngine } from "./engine/engine.js";
import { type NvmeOptions, parseNvmeOptions } from "./engine/options.js";
import { NvmeBootPartitions } from "./memory/boot-partitions.js";
import { KeyValueNamespace } from "./namespace/key-value-namespace.js";
import { ControllerQuirks } from "./quirks/controller-quirks.js";

/** The classes behind the properties of an `NvmeController`. */
export const admin = {
  NvmeBootPartitions,
  NvmeCapacity,
  NvmeDirectives,
  NvmeEvents,
  NvmeFeatures,
  NvmeFirmware,
  HostMemoryBuffer,
  KeyValueNamespace,
  lockdown,
  NvmeLogs,
  NvmeMaintenance,
  NvmeNamespaceManagement,
  NvmeSecurity,
  NvmeStructures,
  NvmeVirtualization,
};

/** Opens the function and starts its controller. @throws as `NvmeController.open`; nothing stays open */
export async function openEngine(
  target: string,
  options: NvmeOptions,
): Promise<{ readonly device: PciDevice; readonly engine: ControllerEngine }> {
  const config = parseNvmeOptions(options);
  config.signal?.throwIfAborted();
  const { backend, dma, vfToken, vfioUser, descriptors } = config;
  const device = PciDevice.open(target, { backend, dma, vfToken, vfioUser, descriptors });
  let engine: ControllerEngine;
  try {
    assertNvme(device, new ControllerQuirks(config.quirks, device.function).has("class-code"));
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
