/** Low power of a VFIO device. */
import { readFileSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { EventFd, enterLowPower, exitLowPower } from "../../../src/doors/vfio.js";
import {
  Bar,
  bindToVfio,
  ConfigSpace,
  PciRegister,
  StateError,
  type VfioBinding,
} from "../../../src/index.js";
import { sysError } from "../../support/errors.js";
import { nvmeBdf } from "../../support/functions.js";
import { expectNothingLeft } from "../../support/holdings.js";
import { openMode } from "../../support/vfio-modes.js";

const PAGE = 4096;
const NVME_VERSION = 0x08;
/** Ends only what never comes. */
const LIMIT = { timeout: 540_000, interval: 20 };
const refused = sysError("VFIO_DEVICE_FEATURE", "EINVAL");

let binding: VfioBinding;
beforeAll(() => {
  binding = bindToVfio(nvmeBdf());
});
afterAll(() => binding.close());

const power = (file: string): string =>
  readFileSync(`/sys/bus/pci/devices/${nvmeBdf()}/power/${file}`, "utf8").trim();

/** The kernel's runtime power management has put the function to sleep, or woken it. */
async function status(wanted: "active" | "suspended"): Promise<void> {
  await vi.waitFor(() => expect(power("runtime_status")).toBe(wanted), LIMIT);
}

describe.each(["iommufd", "vfio_type1v2_iommu"] as const)("low power by %s", (mode) => {
  expectNothingLeft();

  test("is entered once, lets the function sleep, and is left", async () => {
    using space = openMode(mode);
    const { device } = space.open(nvmeBdf());
    expect(device.capabilities()).toMatchObject({ lowPower: true, lowPowerWakeup: true });
    await status("active");
    enterLowPower(device);
    await status("suspended");
    expect(() => enterLowPower(device)).toThrow(refused);
    exitLowPower(device);
    await status("active");
    exitLowPower(device);
    expect(new Bar(device, 0).read32(NVME_VERSION)).toBe(0x0001_0400);
  });

  test("ends for the moment of an access through the descriptor", async () => {
    using space = openMode(mode);
    const { device } = space.open(nvmeBdf());
    const vendor = new ConfigSpace(device).read16(PciRegister.vendorId);
    enterLowPower(device);
    await status("suspended");
    expect(new ConfigSpace(device).read16(PciRegister.vendorId)).toBe(vendor);
    await status("suspended");
    exitLowPower(device);
  });

  test("tells by an eventfd when the host wakes the function, and is over then", async () => {
    using space = openMode(mode);
    const { device } = space.open(nvmeBdf());
    using wakeup = new EventFd();
    enterLowPower(device, wakeup);
    await status("suspended");
    expect(wakeup.take()).toBe(0);
    const control = `/sys/bus/pci/devices/${nvmeBdf()}/power/control`;
    const before = power("control");
    try {
      writeFileSync(control, "on");
      expect(wakeup.waitSync(LIMIT.timeout)).toBe(1);
      await status("active");
    } finally {
      writeFileSync(control, before);
    }
    // It was left by the wake-up: it can be entered again.
    enterLowPower(device, wakeup);
    exitLowPower(device);
    await status("active");
  });

  test("is refused while registers are mapped, and with an eventfd that is none", async () => {
    using space = openMode(mode);
    const { device } = space.open(nvmeBdf());
    const mapping = device.mapRegion(0, 0, PAGE);
    expect(() => enterLowPower(device)).toThrow(StateError);
    expect(() => enterLowPower(device)).toThrow("is mapped, and an access would kill the process");
    mapping.close();
    const closed = new EventFd();
    closed.close();
    expect(() => enterLowPower(device, closed)).toThrow("is closed");
    enterLowPower(device);
    await status("suspended");
    // Closing the device ends it as well.
  });
});
