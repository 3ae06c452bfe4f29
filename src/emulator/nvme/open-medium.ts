/** Opens the medium of a controller, and fills a new one with the namespaces that the options name. */
import { ConfigError } from "../../core/errors.js";
import type { Resource } from "../../core/lifetime/resource.js";
import { FileMedium } from "./medium/file-medium.js";
import { Inventory } from "./medium/inventory.js";
import { Layout } from "./medium/layout.js";
import { type Medium, MemoryMedium } from "./medium/medium.js";
import type { NvmeEmulatorConfig } from "./options.js";

/**
 * Opens memory, a new file, or a file with namespaces on it.
 * @param opened takes each part that is opened, to close it should a later step fail
 * @throws ConfigError, SysError
 */
export function openMedium(
  config: NvmeEmulatorConfig,
  opened: <T extends Resource>(part: T) => T,
): { medium: Medium & Resource; inventory: Inventory } {
  const layout = new Layout(config.capacityBytes);
  const { file } = config;
  if (file !== undefined) {
    const medium = opened(FileMedium.open(file, layout.sizeBytes, config.incoming));
    if (!medium.isNew) {
      const capacityBytes = Layout.capacityOf(medium.sizeBytes);
      if (capacityBytes === undefined) {
        throw new ConfigError(`${file} is not the medium of an emulated NVMe controller`);
      }
      const inventory = new Inventory(medium, new Layout(capacityBytes));
      inventory.load(file);
      return { medium, inventory };
    }
    return { medium, inventory: fill(new Inventory(medium, layout), config, file) };
  }
  const medium = opened(MemoryMedium.create(layout.sizeBytes));
  return { medium, inventory: fill(new Inventory(medium, layout), config, "memory") };
}

function fill(inventory: Inventory, config: NvmeEmulatorConfig, what: string): Inventory {
  for (const record of config.records) {
    if (!inventory.create(record)) throw new ConfigError(`${what}: the namespaces can't be written to it`);
  }
  return inventory;
}
