/**
 * vfio_pci_driver_test.c of the kernel's self-tests, in our words: a device with a driver copies memory. The kernel has
 * drivers for hardware that QEMU doesn't have; here the device is edu, whose DMA engine does the copying. It takes a
 * tenth of a second for each transfer, so there are fewer and smaller ones than the kernel's test makes.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { bindToVfio, MappedMemory, type VfioBinding } from "../../../src/index.js";
import { EduMemcpyDriver } from "../../support/edu-memcpy.js";
import { eduBdf } from "../../support/functions.js";
import { expectNothingLeft } from "../../support/holdings.js";
import { provoke } from "../../support/provoke.js";
import { openMode, vfioModes } from "../../support/vfio-modes.js";

const MIB = 1024 * 1024;
/** edu reaches 28 bits of address. */
const MEMCPY_REGION = 0x100_0000n;
const UNMAPPED = 0x800_0000n;

let binding: VfioBinding;
beforeAll(() => {
  binding = bindToVfio(eduBdf());
});
afterAll(() => binding.close());

describe.each(vfioModes)("a driver that copies memory, by %s", (mode) => {
  expectNothingLeft();

  /** Two chunks, so that the driver has to cut. */
  const SIZE = 2 * 2048;

  function start() {
    const space = openMode(mode);
    const { device } = space.open(eduBdf());
    const memory = MappedMemory.anonymous(MIB);
    space.map(memory, MEMCPY_REGION);
    const close = (): void => {
      space.close();
      memory.close();
    };
    return {
      device,
      driver: new EduMemcpyDriver(device),
      source: { iova: MEMCPY_REGION, bytes: memory.bytes.subarray(0, SIZE) },
      target: { iova: MEMCPY_REGION + BigInt(SIZE), bytes: memory.bytes.subarray(SIZE, 2 * SIZE) },
      rest: memory.bytes.subarray(2 * SIZE),
      [Symbol.dispose]: close,
    };
  }

  const allAre = (bytes: Uint8Array, value: number): boolean => bytes.every((byte) => byte === value);

  test("can be opened and closed any number of times [vfio_pci_driver_test.init_remove]", () => {
    using started = start();
    started.driver.close();
    for (let round = 0; round < 10; round++) {
      using driver = new EduMemcpyDriver(started.device);
      driver.sendMsi();
      expect(driver.waitMsi()).toBe(1);
    }
  });

  test("copies without an interrupt [vfio_pci_driver_test.memcpy_success]", async () => {
    using started = start();
    const { driver, source, target, rest } = started;
    source.bytes.fill(0x78);
    target.bytes.fill(0x79);
    await driver.memcpy(source.iova, target.iova, SIZE);
    expect(allAre(target.bytes, 0x78)).toBe(true);
    expect(allAre(rest, 0)).toBe(true);
    expect(driver.takeMsi()).toBe(0);
  });

  test("can't copy from an address where nothing is mapped [vfio_pci_driver_test.memcpy_from_unmapped_iova]", async () => {
    provoke("vtd_dmar_fault");
    using started = start();
    const { driver, source, target } = started;
    source.bytes.fill(0x78);
    await driver.memcpy(UNMAPPED, target.iova, SIZE);
    expect(target.bytes.includes(0x78)).toBe(false);
    expect(allAre(source.bytes, 0x78)).toBe(true);
    expect(driver.takeMsi()).toBe(0);
  });

  test("can't copy to an address where nothing is mapped [vfio_pci_driver_test.memcpy_to_unmapped_iova]", async () => {
    provoke("vtd_dmar_fault");
    using started = start();
    const { driver, source, target, rest } = started;
    source.bytes.fill(0x78);
    await driver.memcpy(source.iova, UNMAPPED, SIZE);
    expect(allAre(target.bytes, 0)).toBe(true);
    expect(allAre(rest, 0)).toBe(true);
    expect(driver.takeMsi()).toBe(0);
  });

  test("sends an interrupt [vfio_pci_driver_test.send_msi]", () => {
    using started = start();
    started.driver.sendMsi();
    expect(started.driver.waitMsi()).toBe(1);
    expect(started.driver.takeMsi()).toBe(0);
  });

  test("copies, fails and interrupts in turn [vfio_pci_driver_test.mix_and_match]", async () => {
    provoke("vtd_dmar_fault");
    using started = start();
    const { driver, source, target } = started;
    for (let round = 1; round <= 3; round++) {
      source.bytes.fill(round);
      target.bytes.fill(0x79);
      await driver.memcpy(source.iova, target.iova, SIZE);
      expect(allAre(target.bytes, round)).toBe(true);
      await driver.memcpy(UNMAPPED, target.iova, 64);
      driver.sendMsi();
      expect(driver.waitMsi()).toBe(1);
    }
  });

  test("copies many times in a row [vfio_pci_driver_test.memcpy_storm]", async () => {
    using started = start();
    const { driver, source, target } = started;
    for (let copy = 0; copy < 8; copy++) {
      source.bytes.fill(copy + 1, 0, driver.maxCopyBytes);
      await driver.memcpy(source.iova, target.iova, driver.maxCopyBytes);
      expect(allAre(target.bytes.subarray(0, driver.maxCopyBytes), copy + 1)).toBe(true);
    }
    expect(driver.takeMsi()).toBe(0);
  });
});
