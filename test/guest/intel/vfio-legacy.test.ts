/** VFIO containers and groups: lifetimes, mappings and dirty tracking of type1. */
import { readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Iommufd } from "../../../src/doors/iommufd.js";
import {
  ContainerMapper,
  groupOf,
  type IommuType,
  VfioContainer,
  VfioDevice,
  VfioGroup,
} from "../../../src/doors/vfio.js";
import {
  ArgumentError,
  BusyError,
  bindToVfio,
  ClosedError,
  DmaSpace,
  IovaSpaceError,
  MappedMemory,
  StateError,
  type VfioBinding,
} from "../../../src/index.js";
import { VFIO_TYPE1_IOMMU, VFIO_TYPE1v2_IOMMU, VFIO_UNMAP_ALL } from "../../../src/vfio-legacy/uapi.js";
import { EDU_IDENTIFICATION, Edu, EduRegister } from "../../support/edu.js";
import { sysError } from "../../support/errors.js";
import { eduBdf, emptyBarBdf, nvmeBdf } from "../../support/functions.js";
import { expectNothingLeft, holdings } from "../../support/holdings.js";

const PAGE = 4096;
const MSI_WINDOW = 0xfee00000n;
/** Below vm.mmap_min_addr, so never mapped in this process. */
const UNMAPPED = { address: 0x8000, sizeBytes: PAGE };
const ENTRY_LIMIT = "/sys/module/vfio_iommu_type1/parameters/dma_entry_limit";

expectNothingLeft();

let binding: VfioBinding;
beforeAll(() => {
  binding = bindToVfio(eduBdf());
});
afterAll(() => binding.close());

/** edu's group in a container with an IOMMU. */
function openContainer(
  type: IommuType = "type1v2",
): { container: VfioContainer; group: VfioGroup } & Disposable {
  const container = VfioContainer.open();
  const group = VfioGroup.openFor(eduBdf());
  group.setContainer(container);
  container.setIommu(type);
  const close = (): void => {
    container.close();
    group.close();
  };
  return { container, group, [Symbol.dispose]: close };
}

describe("VfioContainer", () => {
  test("opens the node and reports its extensions", () => {
    using container = VfioContainer.open();
    expect(readlinkSync(`/proc/self/fd/${container.fd}`)).toBe("/dev/vfio/vfio");
    expect(container.checkExtension(VFIO_TYPE1_IOMMU)).toBe(true);
    expect(container.checkExtension(VFIO_TYPE1v2_IOMMU)).toBe(true);
    expect(container.checkExtension(VFIO_UNMAP_ALL)).toBe(true);
    // POWER's, and one that nobody has.
    expect(container.checkExtension(2)).toBe(false);
    expect(container.checkExtension(9999)).toBe(false);
  });

  test("says which node is missing and what to do about it", () => {
    expect(() => VfioContainer.open("/dev/vfio/of-another-kernel")).toThrow(
      sysError("open", "ENOENT", {
        object: "/dev/vfio/of-another-kernel",
        hint: expect.stringContaining("CONFIG_VFIO_CONTAINER"),
      }),
    );
    // There, and something else.
    expect(() => VfioContainer.open("/dev/null")).toThrow(sysError("VFIO_GET_API_VERSION", "ENOTTY"));
  });

  test("has no IOMMU before a group joins it", () => {
    using container = VfioContainer.open();
    for (const type of ["type1v2", "type1"] as const) {
      expect(() => container.setIommu(type)).toThrow(
        sysError("VFIO_SET_IOMMU", "EINVAL", { object: `/dev/vfio/vfio (${type})` }),
      );
    }
    expect(container.iommuType).toBeUndefined();
    using memory = MappedMemory.anonymous(PAGE);
    expect(() => container.info()).toThrow(StateError);
    expect(() => container.map(memory, 0x40000n, "read-write")).toThrow(StateError);
    expect(() => container.unmap(0x40000n, PAGE)).toThrow(StateError);
    expect(() => container.unmapAll()).toThrow(StateError);
    expect(() => new ContainerMapper(container)).toThrow(StateError);
  });

  test("throws a ClosedError on every use after close(), which can be called again", () => {
    using setup = openContainer();
    const { container, group } = setup;
    container.close();
    container.close();
    using memory = MappedMemory.anonymous(PAGE);
    const uses: readonly (() => unknown)[] = [
      () => container.checkExtension(VFIO_TYPE1_IOMMU),
      () => container.setIommu("type1v2"),
      () => container.info(),
      () => container.map(memory, 0x40000n, "read-write"),
      () => container.unmap(0x40000n, PAGE),
      () => container.unmapAll(),
      () => group.setContainer(container),
    ];
    for (const use of uses) expect(use, String(use)).toThrow(ClosedError);
  });
});

describe("VfioGroup", () => {
  test("can be open only once at a time", () => {
    using group = VfioGroup.openFor(eduBdf());
    expect(group.number).toBe(groupOf(eduBdf()));
    expect(() => VfioGroup.open(group.number)).toThrow(
      sysError("open", "EBUSY", {
        object: `/dev/vfio/${group.number}`,
        hint: expect.stringContaining("open already"),
      }),
    );
    group.close();
    group.close();
    expect(() => group.status()).toThrow(ClosedError);
    expect(() => group.openDevice(eduBdf())).toThrow(ClosedError);
    expect(() => group.unsetContainer()).toThrow(ClosedError);
    using again = VfioGroup.open(group.number);
    expect(again.status().viable).toBe(true);
  });

  test("says that it doesn't exist", () => {
    // Its device has a driver of the kernel's.
    expect(() => VfioGroup.openFor(nvmeBdf())).toThrow(
      sysError("open", "ENOENT", {
        hint: expect.stringContaining("none of its devices is bound to vfio-pci"),
      }),
    );
    expect(() => VfioGroup.openFor("0000:00:1b.7")).toThrow(/^there is no (PCI )?device 0000:00:1b.7$/);
  });

  test("excludes iommufd for its devices while it is open, and the other way round", () => {
    using iommufd = Iommufd.open();
    using device = VfioDevice.openCdev(eduBdf());
    {
      using _group = VfioGroup.openFor(eduBdf());
      expect(() => device.bind(iommufd)).toThrow(
        sysError("VFIO_DEVICE_BIND_IOMMUFD", "EBUSY", { hint: expect.stringContaining("group is open") }),
      );
    }
    device.bind(iommufd);
    expect(() => VfioGroup.openFor(eduBdf())).toThrow(
      sysError("open", "EBUSY", { hint: expect.stringContaining("bound to an iommufd") }),
    );
    device.close();
    using group = VfioGroup.openFor(eduBdf());
    expect(group.status().viable).toBe(true);
  });

  test("joins a container and leaves it again", () => {
    using container = VfioContainer.open();
    using other = VfioContainer.open();
    using group = VfioGroup.openFor(eduBdf());
    expect(group.status()).toEqual({ viable: true, containerSet: false });
    expect(() => group.unsetContainer()).toThrow(StateError);
    expect(() => group.openDevice(eduBdf())).toThrow(StateError);
    group.setContainer(container);
    expect(group.status()).toEqual({ viable: true, containerSet: true });
    for (const target of [container, other]) {
      expect(() => group.setContainer(target)).toThrow(
        sysError("VFIO_GROUP_SET_CONTAINER", "EINVAL", { hint: expect.stringContaining("already") }),
      );
    }
    // No device without an IOMMU.
    expect(() => group.openDevice(eduBdf())).toThrow(
      sysError("VFIO_GROUP_GET_DEVICE_FD", expect.stringMatching(/^E(NODEV|INVAL)$/)),
    );
    group.unsetContainer();
    expect(group.status()).toEqual({ viable: true, containerSet: false });
    // The container has lost its last group, and with it the chance of an IOMMU.
    expect(() => container.setIommu("type1v2")).toThrow(sysError("VFIO_SET_IOMMU", "EINVAL"));
    group.setContainer(other);
    other.setIommu("type1v2");
    expect(other.iommuType).toBe("type1v2");
    expect(() => other.setIommu("type1v2")).toThrow(sysError("VFIO_SET_IOMMU", "EINVAL"));
  });

  test("opens its own devices, and closes them with itself", () => {
    using setup = openContainer();
    const { group } = setup;
    for (const stranger of [nvmeBdf(), "nonsense"]) {
      expect(() => group.openDevice(stranger)).toThrow(
        sysError("VFIO_GROUP_GET_DEVICE_FD", "ENODEV", {
          object: `/dev/vfio/${group.number}: ${stranger}`,
          hint: expect.stringContaining("has no such device"),
        }),
      );
    }
    const device = group.openDevice(eduBdf());
    expect(device.openedThrough).toBe("group");
    expect(new Edu(device).registers.read32(EduRegister.identification)).toBe(EDU_IDENTIFICATION);
    using iommufd = Iommufd.open();
    using ioas = iommufd.allocIoas();
    expect(() => device.bind(iommufd)).toThrow(
      new StateError(`VFIO device ${eduBdf()} was opened through its group: it needs no bind()`),
    );
    expect(() => device.attach(ioas)).toThrow(StateError);
    expect(() => device.deviceId).toThrow(StateError);
    group.unsetContainer();
    expect(device.closed).toBe(true);
    expect(() => device.info()).toThrow(ClosedError);
    expect(group.closed).toBe(false);
  });
});

describe("the IOMMU of a container", () => {
  test("ends with the last group, after its mappings", () => {
    using setup = openContainer();
    const { container, group } = setup;
    const space = new DmaSpace(new ContainerMapper(container));
    const buffer = space.alloc(PAGE);
    const device = group.openDevice(eduBdf());
    const before = holdings().lockedKib;
    buffer.lease.hold("a command");
    for (const leave of [() => group.unsetContainer(), () => group.close(), () => container.close()]) {
      expect(leave).toThrow(BusyError);
    }
    expect([device, buffer, space, group, container].some(({ closed }) => closed)).toBe(false);
    expect(group.status().containerSet).toBe(true);
    buffer.lease.drop();
    group.unsetContainer();
    expect([device.closed, buffer.closed, space.closed]).toEqual([true, true, true]);
    expect(holdings().lockedKib).toBe(before - PAGE / 1024);
    expect(() => buffer.bytes).toThrow(ClosedError);
    expect(() => space.alloc(PAGE)).toThrow(ClosedError);
    expect(container.iommuType).toBeUndefined();
    expect(() => container.info()).toThrow(StateError);
    // It can have another one.
    group.setContainer(container);
    container.setIommu("type1");
    expect(container.iommuType).toBe("type1");
    using again = new DmaSpace(new ContainerMapper(container)).alloc(PAGE);
    expect(again.iova).toBe(buffer.iova);
  });

  test("remains while another group is in the container", () => {
    using _binding = bindToVfio(emptyBarBdf());
    using setup = openContainer();
    const { container, group } = setup;
    using second = VfioGroup.openFor(emptyBarBdf());
    second.setContainer(container);
    const space = new DmaSpace(new ContainerMapper(container));
    const buffer = space.alloc(PAGE);
    buffer.lease.hold("a command");
    // The other group's devices may use the buffer.
    group.close();
    expect(buffer.closed).toBe(false);
    expect(container.info().dmaAvailable).toBe(65534);
    expect(() => second.close()).toThrow(BusyError);
    buffer.lease.drop();
    second.close();
    expect([buffer.closed, space.closed, container.closed]).toEqual([true, true, false]);
  });
});

describe("a device, its group and its container", () => {
  const names = ["device", "group", "container"] as const;
  const orders = names.flatMap((first) =>
    names
      .filter((name) => name !== first)
      .map((second) => [first, second, ...names.filter((name) => name !== first && name !== second)]),
  );
  test.each(orders)("can be closed in the order %s, %s, %s", (...order) => {
    const { container, group } = openContainer();
    const device = group.openDevice(eduBdf());
    const space = new DmaSpace(new ContainerMapper(container));
    const buffer = space.alloc(PAGE);
    const closeables: Readonly<Record<string, { close(): void }>> = { device, group, container };
    for (const name of order) closeables[name]?.close();
    expect([device, group, container].map(({ closed }) => closed)).toEqual([true, true, true]);
    expect([space.closed, buffer.closed]).toEqual([true, true]);
    // The group is free for the next one.
    using again = openContainer();
    expect(again.group.status().containerSet).toBe(true);
  });
});

describe.each(["type1v2", "type1"] as const)("mappings of %s", (type) => {
  test("have the page sizes, ranges and number that the IOMMU reports", () => {
    using setup = openContainer(type);
    const { container } = setup;
    expect(container.iommuType).toBe(type);
    const info = container.info();
    expect(info.pageSizes & BigInt(PAGE)).toBe(BigInt(PAGE));
    expect(info.iovaRanges[0]).toEqual({ start: 0n, last: MSI_WINDOW - 1n });
    expect(info.iovaRanges[1]?.start).toBe(MSI_WINDOW + 0x100000n);
    expect((info.iovaRanges.at(-1)?.last ?? 0n).toString(2)).toMatch(/^1{39,57}$/);
    expect(info.dmaAvailable).toBe(65535);
    if (type === "type1v2") {
      expect(info.migration).toEqual({ pageSizes: BigInt(PAGE), maxDirtyBitmapBytes: 256n * 1024n * 1024n });
    }
    using memory = MappedMemory.anonymous(PAGE);
    container.map(memory, 0x40000n, "read-write");
    expect(container.info().dmaAvailable).toBe(65534);
  });

  test("lock memory until they are unmapped", () => {
    using setup = openContainer(type);
    const { container } = setup;
    using memory = MappedMemory.anonymous(64 * PAGE);
    const before = holdings().lockedKib;
    const locked = (): number => (holdings().lockedKib - before) * 1024;
    container.map(memory, 0x40000n, "read-write");
    container.map(memory, 0x80000n, "read");
    expect(locked()).toBe(2 * memory.sizeBytes);
    expect(container.unmap(0x40000n, memory.sizeBytes)).toBe(memory.sizeBytes);
    expect(locked()).toBe(memory.sizeBytes);
    expect(container.unmapAll()).toBe(BigInt(memory.sizeBytes));
    expect(locked()).toBe(0);
    expect(container.unmapAll()).toBe(0n);
    container.map(memory, 0x40000n, "write");
    container.close();
    expect(locked()).toBe(0);
  });

  test("are refused with a reason", () => {
    using setup = openContainer(type);
    const { container } = setup;
    using memory = MappedMemory.anonymous(2 * PAGE);
    const { address } = memory;
    const beyond = (container.info().iovaRanges.at(-1)?.last ?? 0n) + 1n;
    container.map(memory, 0x40000n, "read-write");
    for (const taken of [0x40000n, 0x41000n, 0x3f000n]) {
      expect(() => container.map(memory, taken, "read-write")).toThrow(
        sysError("VFIO_IOMMU_MAP_DMA", "EEXIST", { hint: "the iova is mapped already" }),
      );
    }
    for (const bad of [0x80200n, MSI_WINDOW, MSI_WINDOW - BigInt(PAGE), beyond]) {
      expect(() => container.map(memory, bad, "read-write"), bad.toString(16)).toThrow(
        sysError("VFIO_IOMMU_MAP_DMA", "EINVAL", { hint: expect.stringContaining("reserved") }),
      );
    }
    for (const range of [
      { address, sizeBytes: 512 },
      { address: address + 512, sizeBytes: PAGE },
    ]) {
      expect(() => container.map(range, 0x80000n, "read-write")).toThrow(
        sysError("VFIO_IOMMU_MAP_DMA", "EINVAL"),
      );
    }
    expect(() => container.map(UNMAPPED, 0x80000n, "read-write")).toThrow(
      sysError("VFIO_IOMMU_MAP_DMA", "EFAULT", { hint: expect.stringContaining("can't be pinned") }),
    );
    for (const sizeBytes of [0, -1, Number.NaN, 0.5, 2 ** 53]) {
      expect(() => container.map({ address, sizeBytes }, 0x80000n, "read-write")).toThrow(ArgumentError);
      expect(() => container.unmap(0x80000n, sizeBytes)).toThrow(ArgumentError);
    }
    for (const iova of [-1n, 2n ** 64n]) {
      expect(() => container.map(memory, iova, "read-write")).toThrow(ArgumentError);
      expect(() => container.unmap(iova, PAGE)).toThrow(ArgumentError);
    }
    // Nothing of all that was mapped.
    expect(container.unmapAll()).toBe(BigInt(memory.sizeBytes));
  });

  test("that a program unmaps by hand are unmapped once, and nobody else's are", () => {
    using setup = openContainer(type);
    const { container } = setup;
    const mapper = new ContainerMapper(container);
    using space = new DmaSpace(mapper);
    using memory = MappedMemory.anonymous(PAGE);
    const map = () => mapper.map(memory.address, PAGE, "read-write", undefined);
    const at = map();
    mapper.unmap(at, PAGE);
    const hint = expect.stringContaining("nothing is mapped there");
    expect(() => mapper.unmap(at, PAGE)).toThrow(sysError("VFIO_IOMMU_UNMAP_DMA", "ENOENT", { hint }));
    // The address was freed once.
    const mapped = [map(), map(), map()];
    expect(new Set(mapped).size).toBe(3);
    for (const each of mapped) mapper.unmap(each, PAGE);
    // A buffer has it now, and keeps it.
    using buffer = space.alloc(PAGE, { iova: at });
    for (const sizeBytes of [PAGE, 2 * PAGE]) {
      expect(() => mapper.unmap(at, sizeBytes)).toThrow(StateError);
      expect(() => mapper.unmap(at, sizeBytes)).toThrow("only its close() may unmap it");
    }
    expect(container.unmapAll()).toBe(BigInt(buffer.sizeBytes));
  });

  test("are refused beyond the kernel's limit of entries", () => {
    const limit = readFileSync(ENTRY_LIMIT, "utf8");
    writeFileSync(ENTRY_LIMIT, "2");
    try {
      using setup = openContainer(type);
      const { container } = setup;
      using memory = MappedMemory.anonymous(PAGE);
      const space = new DmaSpace(new ContainerMapper(container));
      const first = space.map(memory);
      space.map(memory);
      const hint = "vfio_iommu_type1.dma_entry_limit mappings exist";
      expect(() => space.map(memory)).toThrow(sysError("VFIO_IOMMU_MAP_DMA", "ENOSPC", { hint }));
      expect(container.info().dmaAvailable).toBe(0);
      // The address that could not be used is free again.
      first.close();
      expect(space.map(memory).iova).toBe(first.iova);
    } finally {
      writeFileSync(ENTRY_LIMIT, limit);
    }
  });

  test("are unmapped together by a range that contains several", () => {
    using setup = openContainer(type);
    const { container } = setup;
    using memory = MappedMemory.anonymous(2 * PAGE);
    expect(container.unmap(0x40000n, PAGE)).toBe(0);
    container.map(memory, 0x40000n, "read-write");
    container.map(memory, 0x42000n, "read-write");
    container.map(memory, 0x80000n, "read-write");
    expect(container.unmap(0x3f000n, 6 * PAGE)).toBe(4 * PAGE);
    expect(container.unmapAll()).toBe(BigInt(2 * PAGE));
  });

  test(
    type === "type1v2"
      ? "can't be cut by an unmapping"
      : "are unmapped wholly if the range starts where they do",
    () => {
      using setup = openContainer(type);
      const { container } = setup;
      using memory = MappedMemory.anonymous(2 * PAGE);
      container.map(memory, 0x40000n, "read-write");
      if (type === "type1v2") {
        for (const part of [0x40000n, 0x41000n]) {
          expect(() => container.unmap(part, PAGE)).toThrow(sysError("VFIO_IOMMU_UNMAP_DMA", "EINVAL"));
        }
        expect(container.unmap(0x40000n, 2 * PAGE)).toBe(2 * PAGE);
      } else {
        expect(container.unmap(0x41000n, PAGE)).toBe(0);
        expect(container.unmap(0x40000n, PAGE)).toBe(2 * PAGE);
      }
      expect(container.unmapAll()).toBe(0n);
    },
  );

  test("carry DMA both ways", async () => {
    using setup = openContainer(type);
    const { container, group } = setup;
    const edu = new Edu(group.openDevice(eduBdf()));
    using memory = MappedMemory.anonymous(2 * PAGE);
    memory.bytes.fill(0x5a, 0, PAGE);
    container.map(memory, 0x40000n, "read-write");
    await edu.load(0x40000n, 200);
    await edu.store(0x41000n, 200);
    expect(memory.bytes.slice(PAGE, PAGE + 201)).toEqual(
      Uint8Array.from({ length: 201 }, (_, i) => (i < 200 ? 0x5a : 0)),
    );
  });

  test("can't overlap in a DmaSpace, which refuses before the kernel does", () => {
    using setup = openContainer(type);
    const { container } = setup;
    const space = new DmaSpace(new ContainerMapper(container));
    expect(space.backend).toBe("type1");
    expect(space.alignmentBytes()).toBe(PAGE);
    using memory = MappedMemory.anonymous(2 * PAGE);
    space.map(memory, { iova: 0x40000n });
    expect(() => space.map(memory, { iova: 0x41000n })).toThrow(IovaSpaceError);
    // Somebody maps behind its back: the kernel refuses, and nothing is lost.
    container.map(memory, 0x80000n, "read-write");
    for (let round = 0; round < 2; round++) {
      expect(() => space.map(memory, { iova: 0x80000n })).toThrow(
        expect.objectContaining({ name: "IovaSpaceError", reason: "taken" }),
      );
    }
    container.unmap(0x80000n, memory.sizeBytes);
    expect(space.map(memory, { iova: 0x80000n }).iova).toBe(0x80000n);
  });
});

describe("dirty tracking of a container", () => {
  test("reports every pinned page as written, because edu reports none itself", () => {
    using setup = openContainer();
    const { container } = setup;
    using memory = MappedMemory.anonymous(4 * PAGE);
    container.map(memory, 0x40000n, "read-write");
    expect(() => container.readDirty(0x40000n, memory.sizeBytes, PAGE)).toThrow(
      sysError("VFIO_IOMMU_DIRTY_PAGES", "EINVAL"),
    );
    container.startDirtyTracking();
    const whole = { iova: 0x40000n, sizeBytes: memory.sizeBytes };
    expect([...container.readDirty(0x40000n, memory.sizeBytes, PAGE)]).toEqual([whole]);
    // Reading resets only what isn't pinned: the device may write at any time.
    expect([...container.readDirty(0x40000n, memory.sizeBytes, PAGE)]).toEqual([whole]);
    expect([...container.unmapDirty(0x40000n, memory.sizeBytes, PAGE)]).toEqual([whole]);
    expect(container.unmap(0x40000n, memory.sizeBytes)).toBe(0);
    container.stopDirtyTracking();
    container.map(memory, 0x40000n, "read-write");
    expect(() => container.unmapDirty(0x40000n, memory.sizeBytes, PAGE)).toThrow(
      sysError("VFIO_IOMMU_UNMAP_DMA", "EINVAL"),
    );
    expect(container.unmap(0x40000n, memory.sizeBytes)).toBe(memory.sizeBytes);
  });
});
