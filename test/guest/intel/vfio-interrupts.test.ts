/** Interrupts of a VFIO device by INTx, MSI and MSI-X, on every backend. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type DeviceIo, EventFd } from "../../../src/doors/vfio.js";
import { ArgumentError, bindToVfio, PciDevice, type VfioBinding } from "../../../src/index.js";
import { backendNames } from "../../../src/pci/open.js";
import {
  VFIO_PCI_ERR_IRQ_INDEX,
  VFIO_PCI_INTX_IRQ_INDEX,
  VFIO_PCI_MSI_IRQ_INDEX,
  VFIO_PCI_MSIX_IRQ_INDEX,
  VFIO_PCI_REQ_IRQ_INDEX,
} from "../../../src/vfio/uapi.js";
import { Edu } from "../../support/edu.js";
import { sysError } from "../../support/errors.js";
import { eduBdf, emptyBarBdf, nvmeBdf } from "../../support/functions.js";
import { expectNothingLeft } from "../../support/holdings.js";

const bindings: VfioBinding[] = [];
beforeAll(() => {
  for (const bdf of [eduBdf(), nvmeBdf(), emptyBarBdf()]) bindings.push(bindToVfio(bdf));
});
afterAll(() => {
  for (const binding of bindings) binding.close();
});

describe.each(backendNames)("interrupts through %s", (backend) => {
  const opened: PciDevice[] = [];
  let edu: DeviceIo;
  let device: Edu;
  let nvme: DeviceIo;
  let testdev: DeviceIo;
  beforeAll(() => {
    const open = (bdf: string): DeviceIo => {
      const device = PciDevice.open(bdf, { backend });
      opened.push(device);
      return device.io;
    };
    edu = open(eduBdf());
    device = new Edu(edu);
    // The first look at a register maps them all.
    expect(device.interruptStatus).toBe(0);
    nvme = open(nvmeBdf());
    testdev = open(emptyBarBdf());
  });
  afterAll(() => {
    for (const device of opened) device.close();
  });
  expectNothingLeft();

  function eventfds(count: number): { fds: EventFd[]; numbers: number[] } & Disposable {
    const fds = Array.from({ length: count }, () => new EventFd());
    return {
      fds,
      numbers: fds.map(({ fd }) => fd),
      [Symbol.dispose]: () => {
        for (const fd of fds) fd.close();
      },
    };
  }
  /** What was signalled since the last look, per eventfd. */
  const taken = (fds: readonly EventFd[]): number[] => fds.map((fd) => fd.take());

  test("are described as the device reports them", () => {
    const signalled = { eventfd: true };
    expect(nvme.irqInfo(VFIO_PCI_MSIX_IRQ_INDEX)).toMatchObject({ count: 65, maskable: false, ...signalled });
    expect(nvme.irqInfo(VFIO_PCI_MSI_IRQ_INDEX).count).toBe(0);
    const intx = { count: 1, maskable: true, automasked: true, ...signalled };
    expect(nvme.irqInfo(VFIO_PCI_INTX_IRQ_INDEX)).toMatchObject(intx);
    expect(edu.irqInfo(VFIO_PCI_INTX_IRQ_INDEX)).toMatchObject(intx);
    expect(edu.irqInfo(VFIO_PCI_MSI_IRQ_INDEX)).toMatchObject({ count: 1, automasked: false, ...signalled });
    expect(edu.irqInfo(VFIO_PCI_MSIX_IRQ_INDEX).count).toBe(0);
    for (const index of [VFIO_PCI_ERR_IRQ_INDEX, VFIO_PCI_REQ_IRQ_INDEX]) {
      expect(edu.irqInfo(index).count).toBe(1);
    }
    for (const index of [VFIO_PCI_INTX_IRQ_INDEX, VFIO_PCI_MSI_IRQ_INDEX, VFIO_PCI_MSIX_IRQ_INDEX]) {
      expect(testdev.irqInfo(index).count).toBe(0);
    }
    for (const index of [5, 99, -1]) expect(() => edu.irqInfo(index), `${index}`).toThrow(ArgumentError);
  });

  test("signal their vector's eventfd each time, by MSI-X", () => {
    using vectors = eventfds(5);
    const { fds, numbers } = vectors;
    nvme.setIrqEventfds(VFIO_PCI_MSIX_IRQ_INDEX, 0, numbers);
    try {
      expect(taken(fds)).toEqual([0, 0, 0, 0, 0]);
      nvme.actOnIrq(VFIO_PCI_MSIX_IRQ_INDEX, "trigger", 3, 1);
      expect(taken(fds)).toEqual([0, 0, 0, 1, 0]);
      nvme.actOnIrq(VFIO_PCI_MSIX_IRQ_INDEX, "trigger", 0, 1);
      nvme.actOnIrq(VFIO_PCI_MSIX_IRQ_INDEX, "trigger", 0, 1);
      nvme.actOnIrq(VFIO_PCI_MSIX_IRQ_INDEX, "trigger", 1, 3);
      expect(taken(fds)).toEqual([2, 1, 1, 1, 0]);
      // Without its eventfd a vector is mute; the others are not.
      nvme.setIrqEventfds(VFIO_PCI_MSIX_IRQ_INDEX, 2, [-1]);
      nvme.actOnIrq(VFIO_PCI_MSIX_IRQ_INDEX, "trigger", 0, 5);
      expect(taken(fds)).toEqual([1, 1, 0, 1, 1]);
      nvme.setIrqEventfds(VFIO_PCI_MSIX_IRQ_INDEX, 2, numbers.slice(0, 1));
      nvme.actOnIrq(VFIO_PCI_MSIX_IRQ_INDEX, "trigger", 2, 1);
      expect(taken(fds)).toEqual([1, 0, 0, 0, 0]);
    } finally {
      nvme.disableIrq(VFIO_PCI_MSIX_IRQ_INDEX);
    }
  });

  test("can be switched off and on again", () => {
    for (const [io, index] of [
      [nvme, VFIO_PCI_MSIX_IRQ_INDEX],
      [edu, VFIO_PCI_MSI_IRQ_INDEX],
      [edu, VFIO_PCI_INTX_IRQ_INDEX],
    ] as const) {
      using vectors = eventfds(1);
      for (let round = 0; round < 2; round++) {
        io.setIrqEventfds(index, 0, vectors.numbers);
        io.actOnIrq(index, "trigger", 0, 1);
        expect(taken(vectors.fds)).toEqual([1]);
        io.disableIrq(index);
        if (index !== VFIO_PCI_INTX_IRQ_INDEX) {
          expect(() => io.disableIrq(index)).toThrow(sysError("VFIO_DEVICE_SET_IRQS", "EINVAL"));
        }
        expect(() => io.actOnIrq(index, "trigger", 0, 1)).toThrow(sysError("VFIO_DEVICE_SET_IRQS", "EINVAL"));
        expect(taken(vectors.fds)).toEqual([0]);
      }
    }
  });

  test("are delivered in one way at a time", () => {
    using vectors = eventfds(1);
    edu.setIrqEventfds(VFIO_PCI_MSI_IRQ_INDEX, 0, vectors.numbers);
    expect(() => edu.setIrqEventfds(VFIO_PCI_INTX_IRQ_INDEX, 0, vectors.numbers)).toThrow(
      sysError("VFIO_DEVICE_SET_IRQS", "EINVAL"),
    );
    edu.disableIrq(VFIO_PCI_MSI_IRQ_INDEX);
    edu.setIrqEventfds(VFIO_PCI_INTX_IRQ_INDEX, 0, vectors.numbers);
    expect(() => edu.setIrqEventfds(VFIO_PCI_MSI_IRQ_INDEX, 0, vectors.numbers)).toThrow(
      sysError("VFIO_DEVICE_SET_IRQS", "EINVAL"),
    );
    edu.disableIrq(VFIO_PCI_INTX_IRQ_INDEX);
  });

  test("are refused if the device has fewer vectors, or none", () => {
    using vectors = eventfds(2);
    const { numbers } = vectors;
    for (const [io, index, start, fds] of [
      [edu, VFIO_PCI_MSI_IRQ_INDEX, 0, numbers],
      [edu, VFIO_PCI_MSI_IRQ_INDEX, 1, numbers.slice(1)],
      [edu, VFIO_PCI_MSIX_IRQ_INDEX, 0, numbers],
      [testdev, VFIO_PCI_INTX_IRQ_INDEX, 0, numbers],
      [nvme, VFIO_PCI_MSIX_IRQ_INDEX, 64, numbers],
    ] as const) {
      const label = `${io.lease.label} ${index} from ${start}`;
      expect(() => io.setIrqEventfds(index, start, fds), label).toThrow(
        sysError("VFIO_DEVICE_SET_IRQS", "EINVAL", {
          object: `${io.lease.label} interrupt index ${index}`,
        }),
      );
    }
    for (const [index, start] of [
      [-1, 0],
      [0.5, 0],
      [VFIO_PCI_MSI_IRQ_INDEX, -1],
    ] as const) {
      expect(() => edu.setIrqEventfds(index, start, [-1])).toThrow(ArgumentError);
      expect(() => edu.actOnIrq(index, "trigger", start, 1)).toThrow(ArgumentError);
    }
    // A descriptor that is none, and nothing has been switched on.
    expect(() => edu.setIrqEventfds(VFIO_PCI_MSI_IRQ_INDEX, 0, [100_000])).toThrow(
      sysError("VFIO_DEVICE_SET_IRQS", "EBADF"),
    );
    edu.setIrqEventfds(VFIO_PCI_MSI_IRQ_INDEX, 0, numbers.slice(0, 1));
    edu.disableIrq(VFIO_PCI_MSI_IRQ_INDEX);
  });

  test("are never masked by the kernel as messages", () => {
    using vectors = eventfds(1);
    edu.setIrqEventfds(VFIO_PCI_MSI_IRQ_INDEX, 0, vectors.numbers);
    try {
      for (const action of ["mask", "unmask"] as const) {
        expect(() => edu.actOnIrq(VFIO_PCI_MSI_IRQ_INDEX, action, 0, 1)).toThrow(
          sysError("VFIO_DEVICE_SET_IRQS", "ENOTTY"),
        );
      }
    } finally {
      edu.disableIrq(VFIO_PCI_MSI_IRQ_INDEX);
    }
  });

  test("arrive from edu by MSI", () => {
    using vectors = eventfds(1);
    const [fd] = vectors.fds;
    edu.setIrqEventfds(VFIO_PCI_MSI_IRQ_INDEX, 0, vectors.numbers);
    try {
      for (const bit of [1, 2, 4]) {
        device.raise(bit);
        expect(fd?.waitSync(10_000)).toBe(1);
        expect(device.interruptStatus).toBe(bit);
        device.acknowledge(bit);
        expect(device.interruptStatus).toBe(0);
      }
    } finally {
      edu.disableIrq(VFIO_PCI_MSI_IRQ_INDEX);
    }
  });

  test("arrive from edu by INTx once, until they are unmasked", () => {
    using vectors = eventfds(1);
    const [fd] = vectors.fds;
    const unmask = (): void => edu.actOnIrq(VFIO_PCI_INTX_IRQ_INDEX, "unmask", 0, 1);
    edu.setIrqEventfds(VFIO_PCI_INTX_IRQ_INDEX, 0, vectors.numbers);
    try {
      device.raise(1);
      expect(fd?.waitSync(10_000)).toBe(1);
      // The device holds the line still, and nothing comes through: without the mask it would storm.
      expect(fd?.take()).toBe(0);
      unmask();
      expect(fd?.waitSync(10_000)).toBe(1);
      device.acknowledge();
      unmask();
      device.raise(2);
      expect(fd?.waitSync(10_000)).toBe(1);
      device.acknowledge();
      unmask();
      // Masked by hand, an interrupt waits.
      edu.actOnIrq(VFIO_PCI_INTX_IRQ_INDEX, "mask", 0, 1);
      device.raise(4);
      expect(device.interruptStatus).toBe(4);
      expect(fd?.take()).toBe(0);
      unmask();
      expect(fd?.waitSync(10_000)).toBe(1);
      device.acknowledge();
    } finally {
      edu.disableIrq(VFIO_PCI_INTX_IRQ_INDEX);
    }
  });
});
