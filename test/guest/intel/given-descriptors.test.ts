/** Functions by descriptors that another process opened. */
import { closeSync, constants, existsSync, fstatSync, openSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { Iommufd } from "../../../src/doors/iommufd.js";
import type { DeviceDescriptors } from "../../../src/doors/pci.js";
import { VfioContainer, VfioDevice, VfioGroup } from "../../../src/doors/vfio.js";
import { ArgumentError, NvmeController, PciDevice } from "../../../src/index.js";
import { vfioNodes } from "../../../src/pci/usage/holders.js";
import { duplicate } from "../../../src/sys/syscalls.js";
import { caught } from "../../support/caught.js";
import { Edu } from "../../support/edu.js";
import { expectDma } from "../../support/expect-dma.js";
import { eduBdf, nvmeBdf } from "../../support/functions.js";
import { expectNothingLeftSoon } from "../../support/holdings-soon.js";
import { bindForFile } from "../../support/igb-machine.js";

const backends = ["iommufd", "type1"] as const;

bindForFile([eduBdf, nvmeBdf]);
expectNothingLeftSoon();

const opened = (path: string): number => openSync(path, constants.O_RDWR);

/** Opens a function's nodes as any program might. */
function nodesOf(bdf: string, backend: (typeof backends)[number]): DeviceDescriptors {
  const [cdev = "", group = ""] = [...vfioNodes(bdf)].filter((path) => existsSync(path));
  return backend === "iommufd"
    ? { device: opened(cdev), iommufd: opened("/dev/iommu") }
    : { group: opened(group), container: opened("/dev/vfio/vfio") };
}

const isOpen = (fd: number): boolean => {
  try {
    fstatSync(fd);
    return true;
  } catch {
    return false;
  }
};
const fdsOf = (descriptors: DeviceDescriptors): number[] =>
  Object.values(descriptors).filter((value): value is number => typeof value === "number");

/** Does DMA both ways. */
async function uses(device: PciDevice): Promise<void> {
  const buffer = device.dma.alloc(4096);
  await expectDma(new Edu(device.io), buffer);
  buffer.close();
}

describe("descriptors that another process opened", () => {
  test.each(backends)("open a function through %s, and close with it", async (backend) => {
    const descriptors = nodesOf(eduBdf(), backend);
    const device = PciDevice.open(eduBdf(), { descriptors, addressBits: 28 });
    expect(device.backend).toBe(backend);
    expect(fdsOf(descriptors).map(isOpen)).toEqual([false, false]);
    await uses(device);
    device.close();
  });

  test("work without an iommufd or container of their own", async () => {
    for (const backend of backends) {
      const nodes = nodesOf(eduBdf(), backend);
      const [first = -1, second = -1] = fdsOf(nodes);
      closeSync(second);
      const descriptors = backend === "iommufd" ? { device: first } : { group: first };
      using device = PciDevice.open(eduBdf(), { descriptors, addressBits: 28 });
      await uses(device);
    }
  });

  test("of a device that is bound already go with its id, and the other holder keeps its own", async () => {
    using iommufd = Iommufd.open();
    using holder = VfioDevice.openCdev(eduBdf());
    holder.bind(iommufd);
    const copies = () => ({ device: duplicate(holder.fd), iommufd: duplicate(iommufd.fd) });
    const without = copies();
    const open = (descriptors: DeviceDescriptors) => () => PciDevice.open(eduBdf(), { descriptors });
    expect(open(without)).toThrow("is bound to an iommufd already");
    for (const fd of fdsOf(without)) closeSync(fd);
    using device = PciDevice.open(eduBdf(), {
      descriptors: { ...copies(), deviceId: holder.deviceId },
      addressBits: 28,
    });
    await uses(device);
    device.close();
    expect(holder.regionInfo(0).sizeBytes).toBeGreaterThan(0);
  });

  test("of a group in a container with its IOMMU go on in that one", async () => {
    using container = VfioContainer.open();
    using group = VfioGroup.openFor(eduBdf());
    group.setContainer(container);
    container.setIommu("type1v2");
    const descriptors = { group: duplicate(group.fd), container: duplicate(container.fd) };
    const open = (given: DeviceDescriptors) => () => PciDevice.open(eduBdf(), { descriptors: given });
    expect(open(descriptors)).toThrow("has an IOMMU already: say which");
    expect(open({ group: descriptors.group })).toThrow("is in a container already");
    const lone: DeviceDescriptors = { group: descriptors.group, iommu: "type1v2" };
    expect(open(lone)).toThrow("need the `container` that has it");
    using device = PciDevice.open(eduBdf(), {
      descriptors: { ...descriptors, iommu: "type1v2" },
      addressBits: 28,
    });
    await uses(device);
  });

  test("of another function, or of something else, are refused and stay the caller's", async () => {
    for (const backend of backends) {
      const descriptors = nodesOf(nvmeBdf(), backend);
      const error = await caught(() => PciDevice.open(eduBdf(), { descriptors }));
      expect(error).toBeInstanceOf(ArgumentError);
      expect(error.message).toMatch(/is of 0000:00|is of IOMMU group/);
      expect(fdsOf(descriptors).map(isOpen)).toEqual([true, true]);
      for (const fd of fdsOf(descriptors)) closeSync(fd);
    }
    const zero = opened("/dev/zero");
    for (const descriptors of [{ device: zero }, { group: zero }, { device: zero, iommufd: zero }])
      expect(() => PciDevice.open(eduBdf(), { descriptors })).toThrow(ArgumentError);
    expect(() => PciDevice.open(eduBdf(), { descriptors: { device: zero }, backend: "type1" })).toThrow(
      "are for iommufd, not for type1",
    );
    closeSync(zero);
  });

  test.each(backends)("have a function join another device's DMA space through %s", async (backend) => {
    const [own, other] = fdsOf(nodesOf(eduBdf(), backend));
    using first = PciDevice.open(nvmeBdf(), { backend, addressBits: 28 });
    using before = first.dma.alloc(4096);
    const whole = backend === "iommufd" ? { device: own, iommufd: other } : { group: own, container: other };
    const descriptors = backend === "iommufd" ? { device: own ?? -1 } : { group: own ?? -1 };
    const otherKind = backend === "iommufd" ? { group: own ?? -1 } : { device: own ?? -1 };
    for (const [given, message] of [
      [whole, `give only its \`${backend === "iommufd" ? "device" : "group"}\``],
      [otherKind, `and the DMA space is of ${backend}`],
    ] as const) {
      // @ts-expect-error numbers that may be undefined
      const open = () => PciDevice.open(eduBdf(), { descriptors: given, dma: first.dma });
      expect(open).toThrow(ArgumentError);
      expect(open).toThrow(message);
    }
    expect([own, other].map((fd) => isOpen(fd ?? -1))).toEqual([true, true]);
    closeSync(other ?? -1);

    using device = PciDevice.open(eduBdf(), { descriptors, dma: first.dma, addressBits: 28 });
    expect(isOpen(own ?? -1)).toBe(false);
    expect(device.dma).toBe(first.dma);
    // What was mapped before it joined, and after.
    await expectDma(new Edu(device.io), before);
    await uses(device);
  });

  test("open an NVMe controller", async () => {
    for (const backend of backends) {
      const descriptors = nodesOf(nvmeBdf(), backend);
      await using nvme = await NvmeController.open(nvmeBdf(), { descriptors });
      expect(nvme.identify.sn).toBe("deadbeef");
    }
  });
});
