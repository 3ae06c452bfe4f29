/** The configuration space of the emulated NVMe controller, as the library's own declarations read it. */
import { expect, test } from "vitest";
import { ConfigSnapshot } from "../../../../src/doors/pci.js";
import { EmulatedNvme } from "../../../../src/emulator/nvme/controller.js";
import type { NvmeEmulatorOptions } from "../../../../src/emulator/nvme/options.js";

async function configOf(options: NvmeEmulatorOptions): Promise<ConfigSnapshot> {
  const controller = await EmulatedNvme.create({ sizeBytes: 2 ** 20, ...options });
  try {
    return new ConfigSnapshot(controller.configSpace.slice());
  } finally {
    controller.close();
  }
}

test.each<[string, NvmeEmulatorOptions, string[]]>([
  ["MSI-X", { vectors: 5 }, ["pcie", "msix"]],
  ["MSI-X and MSI", { vectors: 5, odd: { deadMsi: true } }, ["pcie", "msi", "msix"]],
  ["MSI", { vectors: 0, odd: { deadMsi: true } }, ["pcie", "msi"]],
  ["INTx", { vectors: 0 }, ["pcie"]],
])("a controller with %s has those capabilities, and no damaged list", async (_what, options, names) => {
  const { capabilities, notes } = (await configOf(options)).dump();
  expect(capabilities.map(({ name }) => name)).toEqual(names);
  expect(notes).toEqual([]);
});

test("the controller has the ids and the class that its options name, and MSI-X's table in a BAR of its own", async () => {
  const odd = { vendorId: 0xabcd, deviceId: 0x1234, classCode: 0x010803, deadMsi: true };
  const config = await configOf({ vectors: 5, odd });
  expect(config.header.vendorId.read()).toBe(0xabcd);
  expect(config.header.deviceId.read()).toBe(0x1234);
  expect(config.read32(8)).toBe(0x01080300);
  expect(config.read32(0x2c)).toBe(0x1234_abcd);
  expect(config.capability("msix")?.control.get("lastVector")).toBe(4);
  expect(config.capability("msix")?.table.decode()).toEqual({ bar: 4, qwordOffset: 0 });
  expect(config.capability("msix")?.pending.decode()).toEqual({ bar: 4, qwordOffset: 512 });
  expect(config.capability("msi")?.control.get("is64Bit")).toBe(true);
});
