/** Tests of a PCI device that every backend passes. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { ConfigSpace, Interrupts, PciCommand, PciRegister, UnsupportedError } from "../../src/index.js";
import { eduBdf, emptyBarBdf, nvmeBdf } from "./functions.js";
import type { ModeDevice } from "./vfio-modes.js";

const PAGE = 4096;
/** As in the kernel's test: interrupt remapping always has this many vectors. */
const MAX_VECTORS = 16;

/** Something that opens devices: an address space, or none. */
export interface DeviceSpace extends Disposable {
  open(bdf: string): ModeDevice;
}

/**
 * vfio_pci_device_test.c and vfio_pci_device_init_perf_test.c of the kernel's self-tests, for any backend. The machine
 * needs an nvme, an edu and a pci-testdev with a membar, all bound to vfio-pci.
 */
export function pciDeviceSuite(openSpace: () => DeviceSpace): void {
  test("has a configuration space that can be read and written [vfio_pci_device_test.config_space_read_write]", () => {
    using space = openSpace();
    using opened = space.open(nvmeBdf());
    const config = new ConfigSpace(opened.device);
    const sysfs = (file: string): number =>
      Number(readFileSync(`/sys/bus/pci/devices/${nvmeBdf()}/${file}`, "utf8"));
    expect(config.read16(PciRegister.vendorId)).toBe(sysfs("vendor"));
    expect(config.read16(PciRegister.deviceId)).toBe(sysfs("device"));

    const command = config.read16(PciRegister.command);
    expect(command & PciCommand.busMaster).toBe(0);
    config.write16(PciRegister.command, command | PciCommand.busMaster);
    expect(config.read16(PciRegister.command)).toBe(command | PciCommand.busMaster);
    config.write16(PciRegister.command, command);
    expect(config.read16(PciRegister.command)).toBe(command);
  });

  test.each([
    ["nvme", nvmeBdf],
    ["edu", eduBdf],
    ["pci-testdev", emptyBarBdf],
  ])(
    "maps the BARs of %s, or reports that they can't be mapped [vfio_pci_device_test.validate_bars]",
    (_name, bdf) => {
      using space = openSpace();
      using opened = space.open(bdf());
      for (const index of [0, 1, 2, 3, 4, 5]) {
        const region = opened.device.regionInfo(index);
        if (region.mappable.length === 0) {
          const map = () => opened.device.mapRegion(index, 0, Math.min(PAGE, region.sizeBytes || PAGE));
          expect(map, `BAR ${index}`).toThrow(region.sizeBytes === 0 ? "lie outside" : UnsupportedError);
          continue;
        }
        for (const { offset, sizeBytes } of region.mappable) {
          using mapping = opened.device.mapRegion(index, offset, sizeBytes);
          expect(mapping.sizeBytes, `BAR ${index}`).toBeGreaterThanOrEqual(sizeBytes);
        }
      }
    },
  );

  test("can be reset [vfio_pci_device_test.reset]", () => {
    using space = openSpace();
    using opened = space.open(nvmeBdf());
    expect(opened.device.info().resettable).toBe(true);
    opened.device.reset();
    expect(opened.device.info().resettable).toBe(true);
  });

  test.each([
    ["msi", eduBdf],
    ["msix", nvmeBdf],
  ] as const)(
    "enables, triggers and disables %s interrupts [vfio_pci_irq_test.enable_trigger_disable]",
    (kind, bdf) => {
      using space = openSpace();
      using opened = space.open(bdf());
      using interrupts = new Interrupts(opened.device, { kind, count: MAX_VECTORS });
      expect(interrupts.vectors).toHaveLength(kind === "msi" ? 1 : MAX_VECTORS);
      interrupts.vectors.forEach((eventfd, vector) => {
        expect(eventfd.take()).toBe(0);
        interrupts.trigger(vector);
        expect(interrupts.vectors.map((each) => each.take())).toEqual(
          interrupts.vectors.map((each) => (each === eventfd ? 1 : 0)),
        );
      });
    },
  );

  test("shares its address space with devices that start at the same time [vfio_pci_device_init_perf_test.init]", async () => {
    using space = openSpace();
    const opened = [nvmeBdf(), eduBdf(), emptyBarBdf()].map((bdf) => space.open(bdf));
    // The resets take long. They run in parallel, off the JavaScript thread.
    const resets = await Promise.allSettled(opened.map(({ device }) => device.resetAsync()));
    expect(resets.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "rejected"]);
    expect(opened.map(({ device }) => device.info().resettable)).toEqual([true, false, false]);
  });
}
