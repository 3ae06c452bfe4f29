/** Kinds and actions of interrupts beyond plain vectors: errors, removal requests, masks, late vectors. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { EventFd, type VfioDevice } from "../../../src/doors/vfio.js";
import { Bar, bindToVfio, type VfioBinding } from "../../../src/index.js";
import { driverOf } from "../../../src/pci/sysfs.js";
import {
  VFIO_PCI_ERR_IRQ_INDEX,
  VFIO_PCI_INTX_IRQ_INDEX,
  VFIO_PCI_MSI_IRQ_INDEX,
  VFIO_PCI_MSIX_IRQ_INDEX,
  VFIO_PCI_REQ_IRQ_INDEX,
} from "../../../src/vfio/uapi.js";
import { EduRegister } from "../../support/edu.js";
import { sysError } from "../../support/errors.js";
import { eduBdf, nvmeBdf } from "../../support/functions.js";
import { expectNothingLeft } from "../../support/holdings.js";
import { openMode } from "../../support/vfio-modes.js";

/** Ends only what never comes. */
const LIMIT_MS = 540_000;
const refused = (code: string): unknown => sysError("VFIO_DEVICE_SET_IRQS", code);

const bindings: VfioBinding[] = [];
beforeAll(() => {
  for (const bdf of [eduBdf(), nvmeBdf()]) bindings.push(bindToVfio(bdf));
});
afterAll(() => {
  for (const binding of bindings) binding.close();
});

describe.each(["iommufd", "vfio_type1v2_iommu"] as const)("interrupts of a VFIO device by %s", (mode) => {
  expectNothingLeft();

  test.each([
    ["errors of the bus", VFIO_PCI_ERR_IRQ_INDEX],
    ["the host's wish to have the device back", VFIO_PCI_REQ_IRQ_INDEX],
  ])("can signal an eventfd for %s until it is removed", (_what, index) => {
    using space = openMode(mode);
    const { device } = space.open(nvmeBdf());
    using eventfd = new EventFd();
    expect(device.irqInfo(index)).toMatchObject({ count: 1, eventfd: true, maskable: false });
    expect(() => device.actOnIrq(index, "trigger", 0, 1)).toThrow(refused("EINVAL"));
    device.setIrqEventfds(index, 0, [eventfd.fd]);
    device.actOnIrq(index, "trigger", 0, 1);
    device.actOnIrqs(index, "trigger", 0, [true]);
    device.actOnIrqs(index, "trigger", 0, [false]);
    expect(eventfd.take()).toBe(2);
    expect(() => device.actOnIrq(index, "mask", 0, 1)).toThrow(refused("ENOTTY"));
    device.setIrqEventfds(index, 0, [-1]);
    device.setIrqEventfds(index, 0, [eventfd.fd]);
    device.disableIrq(index);
    expect(() => device.disableIrq(index)).toThrow(refused("EINVAL"));
    expect(eventfd.take()).toBe(0);
  });

  test("tell that the host wants to unbind the device, which ends when the device is closed", async () => {
    using space = openMode(mode);
    const opened = space.open(eduBdf());
    using eventfd = new EventFd();
    opened.device.setIrqEventfds(VFIO_PCI_REQ_IRQ_INDEX, 0, [eventfd.fd]);
    // The write ends when the device is free: another process has to wait there.
    const unbind = `require("fs").writeFileSync("/sys/bus/pci/drivers/vfio-pci/unbind", "${eduBdf()}")`;
    let free = false;
    const unbound = promisify(execFile)(process.execPath, ["-e", unbind]).then(() => {
      free = true;
    });
    const asked = await new Promise<number>((resolve) => {
      const watch = eventfd.watch((count) => {
        watch.close();
        resolve(count);
      });
    });
    expect(asked).toBeGreaterThan(0);
    expect(free).toBe(false);
    opened.close();
    await unbound;
    expect(driverOf(eduBdf())).toBeUndefined();
    bindings.push(bindToVfio(eduBdf()));
  });

  test("mask and unmask INTx by request and by eventfd", () => {
    using space = openMode(mode);
    const { device } = space.open(eduBdf());
    using eventfd = new EventFd();
    using unmask = new EventFd();
    const registers = new Bar(device, 0);
    const raise = (): void => registers.write32(EduRegister.interruptRaise, 1);
    const acknowledge = (): void => registers.write32(EduRegister.interruptAcknowledge, 1);
    const index = VFIO_PCI_INTX_IRQ_INDEX;
    expect(() => device.setUnmaskEventfd(index, unmask.fd)).toThrow(refused("EINVAL"));
    device.setIrqEventfds(index, 0, [eventfd.fd]);

    device.actOnIrq(index, "mask", 0, 1);
    raise();
    expect(eventfd.waitSync(100)).toBe(0);
    device.actOnIrq(index, "unmask", 0, 1);
    expect(eventfd.waitSync(LIMIT_MS)).toBe(1);
    // Masked by that one. The line is still up, so each unmasking brings another.
    device.actOnIrqs(index, "unmask", 0, [false]);
    expect(eventfd.waitSync(100)).toBe(0);
    device.actOnIrqs(index, "unmask", 0, [true]);
    expect(eventfd.waitSync(LIMIT_MS)).toBe(1);

    device.setUnmaskEventfd(index, unmask.fd);
    expect(() => device.setUnmaskEventfd(index, unmask.fd)).toThrow(
      sysError("VFIO_DEVICE_SET_IRQS", "EBUSY"),
    );
    unmask.signal();
    expect(eventfd.waitSync(LIMIT_MS)).toBe(1);
    acknowledge();
    unmask.signal();
    expect(eventfd.waitSync(100)).toBe(0);
    raise();
    expect(eventfd.waitSync(LIMIT_MS)).toBe(1);
    acknowledge();
    device.setUnmaskEventfd(index, -1);
    expect(() => device.actOnIrqs(index, "mask", 0, [true, true])).toThrow(refused("EINVAL"));
    device.disableIrq(index);
  });

  test("can't be masked as MSI", () => {
    using space = openMode(mode);
    const { device } = space.open(eduBdf());
    using eventfd = new EventFd();
    device.setIrqEventfds(VFIO_PCI_MSI_IRQ_INDEX, 0, [eventfd.fd]);
    for (const action of ["mask", "unmask"] as const) {
      expect(() => device.actOnIrq(VFIO_PCI_MSI_IRQ_INDEX, action, 0, 1)).toThrow(refused("ENOTTY"));
    }
    expect(() => device.setUnmaskEventfd(VFIO_PCI_MSI_IRQ_INDEX, eventfd.fd)).toThrow(refused("ENOTTY"));
    device.disableIrq(VFIO_PCI_MSI_IRQ_INDEX);
  });

  test("gain MSI-X vectors later where the kernel says that they can", () => {
    using space = openMode(mode);
    const { device } = space.open(nvmeBdf());
    const vectors = Array.from({ length: 3 }, () => new EventFd());
    const [first, second, later] = vectors;
    if (first === undefined || second === undefined || later === undefined) throw new Error("no eventfds");
    const index = VFIO_PCI_MSIX_IRQ_INDEX;
    const { noResize } = device.irqInfo(index);
    device.setIrqEventfds(index, 0, [first.fd, second.fd]);
    const add = (): void => device.setIrqEventfds(index, 9, [later.fd]);
    if (noResize) expect(add).toThrow(refused("EINVAL"));
    else {
      add();
      device.actOnIrq(index, "trigger", 9, 1);
      expect(counts(vectors)).toEqual([0, 0, 1]);
      device.setIrqEventfds(index, 9, [-1]);
      device.actOnIrq(index, "trigger", 9, 1);
      expect(counts(vectors)).toEqual([0, 0, 0]);
    }
    device.actOnIrqs(index, "trigger", 0, [false, true]);
    expect(counts(vectors)).toEqual([0, 1, 0]);
    expectTooMany(device);
    device.disableIrq(index);
    for (const vector of vectors) vector.close();
  });
});

function counts(vectors: readonly EventFd[]): number[] {
  return vectors.map((vector) => vector.take());
}

/** No vector beyond those the function has. */
function expectTooMany(device: VfioDevice): void {
  const index = VFIO_PCI_MSIX_IRQ_INDEX;
  const { count } = device.irqInfo(index);
  expect(() => device.setIrqEventfds(index, count, [-1])).toThrow(refused("EINVAL"));
  expect(() => device.actOnIrq(index, "trigger", 0, count + 1)).toThrow(refused("EINVAL"));
}
