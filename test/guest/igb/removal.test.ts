/** The example's driver for the 82576 when its device leaves the machine. */
import { existsSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { Igb } from "../../../examples/drivers/igb/igb.js";
import { bindToVfio, DeviceGoneError, PciDevice } from "../../../src/index.js";
import { caught } from "../../support/caught.js";
import { expectNothingLeftSoon } from "../../support/holdings-soon.js";
import { igbBehind, LINK_LIMIT } from "../../support/igb-machine.js";
import { QemuMonitor } from "../../support/qemu-monitor.js";
import { cutPower } from "../../support/root-port.js";

const LIMIT_MS = 540_000;

let monitor: QemuMonitor;
beforeAll(async () => {
  monitor = await QemuMonitor.open();
});
afterAll(() => monitor.close());

describe("an 82576 that is pulled out", () => {
  expectNothingLeftSoon();

  test.each([
    { id: "pulled-iommufd", slot: "12.0", backend: "iommufd" },
    { id: "pulled-type1", slot: "13.0", backend: "type1" },
  ] as const)("ends every wait with a DeviceGoneError, through $backend", async ({ id, slot, backend }) => {
    const { port, bdf } = igbBehind(slot);
    using _binding = bindToVfio(bdf);
    using device = PciDevice.open(bdf, { backend });
    const igb = await Igb.start(device, { queues: 2, slots: 64 });
    await igb.linkUp(LINK_LIMIT);
    // The sender stops, so that its ring fills up.
    const SEND_CONTROL = 0x400;
    device.bar(0).write32(SEND_CONTROL, 0);
    const waits = [
      igb.receive().next(),
      igb.receiveBatches({ queue: 1 }).next(),
      igb.sendAll(Array.from({ length: 100 }, () => Buffer.alloc(60))),
    ].map((wait) => caught(wait));
    cutPower(port);
    for (const error of await Promise.all(waits)) expect(error).toBeInstanceOf(DeviceGoneError);
    await igb.close();
    device.close();
    await monitor.deleted(id);
    const folder = `/sys/bus/pci/devices/${bdf}`;
    writeFileSync(`${folder}/remove`, "1");
    await vi.waitFor(() => expect(existsSync(folder)).toBe(false), { timeout: LIMIT_MS, interval: 20 });
  });
});
