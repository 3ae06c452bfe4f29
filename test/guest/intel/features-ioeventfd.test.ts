/** Registers that the kernel writes when an eventfd is signalled. */
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { EventFd, type IoEvent, IoEventFd, VfioDevice } from "../../../src/doors/vfio.js";
import { ArgumentError, bindToVfio, ConfigSpace, PciDevice, type VfioBinding } from "../../../src/index.js";
import { backendNames } from "../../../src/pci/open.js";
import { VFIO_PCI_CONFIG_REGION_INDEX } from "../../../src/vfio/uapi.js";
import { EduRegister } from "../../support/edu.js";
import { sysError } from "../../support/errors.js";
import { eduBdf, emptyBarBdf, nvmeBdf } from "../../support/functions.js";
import { expectNothingLeft } from "../../support/holdings.js";

/** vfio_pci_ioeventfd() of the kernel: VFIO_PCI_IOEVENTFD_MAX. */
const LIMIT = 1000;
const MSIX = 0x11;
const CMB_BAR = 2;
const TESTDEV_IO_BAR = 1;

const bindings: VfioBinding[] = [];
beforeAll(() => {
  for (const bdf of [eduBdf(), nvmeBdf(), emptyBarBdf()]) bindings.push(bindToVfio(bdf));
});
afterAll(() => {
  for (const binding of bindings) binding.close();
});

function open(bdf: string, backend: (typeof backendNames)[number]) {
  const pci = PciDevice.open(bdf, { backend });
  if (!(pci.io instanceof VfioDevice)) throw new Error("not opened through VFIO");
  return { pci, device: pci.io, [Symbol.dispose]: (): void => pci.close() };
}

const liveness = (value: bigint): IoEvent => ({
  region: 0,
  offset: EduRegister.liveness,
  value,
  widthBytes: 4,
});

describe.each(backendNames)("a register written at an eventfd's signal, through %s", (backend) => {
  expectNothingLeft();

  test("gets the value at each signal, until the IoEventFd is closed", async () => {
    using opened = open(eduBdf(), backend);
    using eventfd = new EventFd();
    const registers = opened.pci.bar(0);
    const tie = new IoEventFd(opened.device, liveness(0x1234_5678n), eventfd);
    for (let round = 0; round < 3; round++) {
      registers.write32(EduRegister.liveness, 0);
      eventfd.signal();
      // The register reads the complement of what was written.
      await vi.waitFor(() => expect(registers.read32(EduRegister.liveness)).toBe(~0x1234_5678 >>> 0));
    }
    tie.close();
    registers.write32(EduRegister.liveness, 0);
    eventfd.signal();
    expect(registers.read32(EduRegister.liveness)).toBe(0xffff_ffff);
    // The kernel took the earlier signals itself.
    expect(eventfd.take()).toBe(1);
  });

  test("is written by one access of its width", async () => {
    using opened = open(nvmeBdf(), backend);
    const { device } = opened;
    for (const widthBytes of [1, 2, 4, 8] as const) {
      using eventfd = new EventFd();
      const event: IoEvent = { region: CMB_BAR, offset: 4096, value: 0x8877_6655_4433_2211n, widthBytes };
      device.writeRegion(CMB_BAR, 4096, new Uint8Array(8));
      using _tie = new IoEventFd(
        device,
        { ...event, value: BigInt.asUintN(widthBytes * 8, event.value) },
        eventfd,
      );
      eventfd.signal();
      const expected = [0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88].map((byte, i) =>
        i < widthBytes ? byte : 0,
      );
      await vi.waitFor(() => {
        const bytes = new Uint8Array(8);
        device.readRegion(CMB_BAR, 4096, bytes);
        expect([...bytes]).toEqual(expected);
      });
    }
  });

  test("is refused where the kernel can't write one", () => {
    using opened = open(nvmeBdf(), backend);
    const { device } = opened;
    using eventfd = new EventFd();
    const make = (event: Partial<IoEvent>) => () =>
      new IoEventFd(device, { region: 0, offset: 0x1000, value: 1n, widthBytes: 4, ...event }, eventfd);
    const invalid = sysError("VFIO_DEVICE_IOEVENTFD", "EINVAL");
    expect(make({ region: VFIO_PCI_CONFIG_REGION_INDEX, offset: 4 })).toThrow(invalid);
    expect(make({ offset: 0x1002 })).toThrow(ArgumentError);
    expect(make({ offset: device.regionInfo(0).sizeBytes })).toThrow(ArgumentError);
    // What the kernel would take for another region.
    expect(make({ offset: 2 ** 40 })).toThrow(ArgumentError);
    expect(make({ value: 0x1_0000_0000n })).toThrow(ArgumentError);
    expect(make({ offset: msixTable(device) })).toThrow(invalid);
    expect(make({ region: 42 })).toThrow(ArgumentError);
    expect(make({ value: -1n })).toThrow(ArgumentError);
    // @ts-expect-error: no such width
    expect(make({ widthBytes: 3 })).toThrow(ArgumentError);
    const first = make({})();
    expect(make({})).toThrow(sysError("VFIO_DEVICE_IOEVENTFD", "EEXIST"));
    first.close();
    make({})().close();
    eventfd.close();
    expect(make({})).toThrow("is closed");
  });

  test("can be in I/O space", () => {
    using opened = open(emptyBarBdf(), backend);
    using eventfd = new EventFd();
    const event: IoEvent = { region: TESTDEV_IO_BAR, offset: 0, value: 0n, widthBytes: 1 };
    using tie = new IoEventFd(opened.device, event, eventfd);
    eventfd.signal();
    expect(tie.closed).toBe(false);
  });

  test(`can be one of ${LIMIT}, and all are closed with their device`, () => {
    using eventfd = new EventFd();
    const opened = open(eduBdf(), backend);
    const ties: IoEventFd[] = [];
    for (let i = 0; i < LIMIT; i++) ties.push(new IoEventFd(opened.device, liveness(BigInt(i)), eventfd));
    const oneMore = () => new IoEventFd(opened.device, liveness(BigInt(LIMIT)), eventfd);
    expect(oneMore).toThrow(sysError("VFIO_DEVICE_IOEVENTFD", "ENOSPC"));
    ties[0]?.close();
    ties.push(oneMore());
    opened.pci.close();
    expect(ties.every(({ closed }) => closed)).toBe(true);
  });
});

/** Where the MSI-X table lies in BAR 0. */
function msixTable(device: VfioDevice): number {
  const config = new ConfigSpace(device);
  const capability = config.capabilities().find(({ id }) => id === MSIX);
  if (capability === undefined) throw new Error("no MSI-X");
  const table = config.read32(capability.offset + 4);
  expect(table & 7).toBe(0);
  return table & ~7;
}
