/** Iommufd and Ioas, without a device and with a real one. */
import { randomBytes } from "node:crypto";
import { closeSync, openSync, readlinkSync, readSync, writeSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Ioas, IoasMapper, Iommufd } from "../../../src/doors/iommufd.js";
import { VfioDevice } from "../../../src/doors/vfio.js";
import {
  ArgumentError,
  bindToVfio,
  ClosedError,
  DmaSpace,
  MappedMemory,
  type VfioBinding,
} from "../../../src/index.js";
import { memfd } from "../../../src/sys/syscalls.js";
import { Edu } from "../../support/edu.js";
import { sysError } from "../../support/errors.js";
import { eduBdf } from "../../support/functions.js";
import { expectNothingLeft, holdings } from "../../support/holdings.js";

const PAGE = 4096;
const EVERYTHING = { start: 0n, last: 2n ** 64n - 1n };
/** Where x86 devices signal MSIs: never translated, so never mappable. */
const MSI_WINDOW = { start: 0xfee00000n, last: 0xfeefffffn };
/** Below vm.mmap_min_addr, so never mapped in this process. */
const UNMAPPED = { address: 0x8000, sizeBytes: PAGE };

expectNothingLeft();

describe("Iommufd.open()", () => {
  test("opens the node any number of times", () => {
    using first = Iommufd.open();
    using second = Iommufd.open();
    expect(second.fd).not.toBe(first.fd);
    for (const { fd } of [first, second]) expect(readlinkSync(`/proc/self/fd/${fd}`)).toBe("/dev/iommu");
  });

  test("says which node is missing and what to do about it", () => {
    const missing = "/dev/iommu-of-another-kernel";
    expect(() => Iommufd.open(missing)).toThrow(
      sysError("open", "ENOENT", {
        object: missing,
        hint: expect.stringContaining("CONFIG_IOMMUFD"),
        message: expect.stringMatching(/^open on \/dev\/iommu-of-another-kernel: ENOENT \(/),
      }),
    );
  });

  test("throws a ClosedError on every use after close(), which can be called again", () => {
    const iommufd = Iommufd.open();
    iommufd.close();
    iommufd.close();
    expect(iommufd.closed).toBe(true);
    expect(() => iommufd.allocIoas()).toThrow(ClosedError);
    expect(() => iommufd.rlimitMode).toThrow(ClosedError);
    expect(() => {
      iommufd.rlimitMode = "user";
    }).toThrow(ClosedError);
  });
});

describe("IOMMU_OPTION_RLIMIT_MODE", () => {
  test("is per user by default, and can't be changed once an object exists", () => {
    using iommufd = Iommufd.open();
    expect(iommufd.rlimitMode).toBe("user");
    iommufd.rlimitMode = "process";
    expect(iommufd.rlimitMode).toBe("process");
    using _ioas = iommufd.allocIoas();
    expect(() => {
      iommufd.rlimitMode = "user";
    }).toThrow(sysError("IOMMU_OPTION", "EBUSY", { object: "/dev/iommu" }));
    expect(iommufd.rlimitMode).toBe("process");
  });
});

describe("an IOAS without a device", () => {
  test("is a kernel object of its own until it is closed", () => {
    using iommufd = Iommufd.open();
    const first = iommufd.allocIoas();
    using second = iommufd.allocIoas();
    expect(second.id).not.toBe(first.id);
    first.close();
    first.close();
    using third = iommufd.allocIoas();
    // The kernel gives out the lowest free number.
    expect(third.id).toBe(first.id);
    using memory = MappedMemory.anonymous(PAGE);
    const uses: readonly (() => unknown)[] = [
      () => first.iovaRanges(),
      () => first.allowIovas([]),
      () => first.map(memory),
      () => first.mapFile(0, 0, PAGE),
      () => first.copyFrom(second, 0n, PAGE),
      () => second.copyFrom(first, 0n, PAGE),
      () => first.unmap(0n, PAGE),
      () => first.unmapAll(),
      () => first.hugePages,
    ];
    for (const use of uses) expect(use, String(use)).toThrow(ClosedError);
  });

  test("can map every address, at any byte", () => {
    using iommufd = Iommufd.open();
    using ioas = iommufd.allocIoas();
    expect(ioas.iovaRanges()).toEqual({ ranges: [EVERYTHING], alignmentBytes: 1 });
  });

  test("gets addresses from the kernel, never 0 and never one twice", () => {
    using iommufd = Iommufd.open();
    using ioas = iommufd.allocIoas();
    using memory = MappedMemory.anonymous(3 * PAGE);
    const first = ioas.map(memory);
    const second = ioas.map(memory, { access: "read" });
    expect(first).toBeGreaterThanOrEqual(BigInt(PAGE));
    expect(second).toBeGreaterThanOrEqual(first + BigInt(memory.sizeBytes));
    expect(ioas.unmap(first, memory.sizeBytes)).toBe(memory.sizeBytes);
    expect(ioas.unmap(second, memory.sizeBytes)).toBe(memory.sizeBytes);
  });

  test("maps at a fixed address only once", () => {
    using iommufd = Iommufd.open();
    using ioas = iommufd.allocIoas();
    using memory = MappedMemory.anonymous(2 * PAGE);
    expect(ioas.map(memory, { iova: 0x40000n })).toBe(0x40000n);
    for (const taken of [0x40000n, 0x41000n, 0x3f000n]) {
      expect(() => ioas.map(memory, { iova: taken })).toThrow(
        sysError("IOMMU_IOAS_MAP", "EEXIST", { hint: "a fixed iova is mapped already" }),
      );
    }
    // Refused as a whole: the part that was free still is.
    expect(ioas.map({ address: memory.address, sizeBytes: PAGE }, { iova: 0x42000n })).toBe(0x42000n);
    expect(ioas.map({ address: memory.address, sizeBytes: PAGE }, { iova: 0n })).toBe(0n);
  });

  test("unmaps whole mappings only", () => {
    using iommufd = Iommufd.open();
    using ioas = iommufd.allocIoas();
    using memory = MappedMemory.anonymous(2 * PAGE);
    expect(() => ioas.unmap(0x40000n, PAGE)).toThrow(sysError("IOMMU_IOAS_UNMAP", "ENOENT"));
    expect(ioas.unmapAll()).toBe(0n);
    ioas.map(memory, { iova: 0x40000n });
    expect(() => ioas.unmap(0x40000n, PAGE)).toThrow(sysError("IOMMU_IOAS_UNMAP", "ENOENT"));
    expect(() => ioas.unmap(0x41000n, PAGE)).toThrow(sysError("IOMMU_IOAS_UNMAP", "ENOENT"));
    ioas.map(memory, { iova: 0x80000n });
    expect(ioas.unmap(0x30000n, 0x20000)).toBe(2 * PAGE);
    ioas.map(memory, { iova: 0x90000n });
    expect(ioas.unmapAll()).toBe(BigInt(4 * PAGE));
    expect(ioas.unmapAll()).toBe(0n);
  });

  test("rejects invalid arguments before the kernel sees them", () => {
    using iommufd = Iommufd.open();
    using ioas = iommufd.allocIoas();
    using memory = MappedMemory.anonymous(PAGE);
    const { address } = memory;
    for (const sizeBytes of [0, -1, Number.NaN, 0.5, Number.POSITIVE_INFINITY, 2 ** 53]) {
      expect(() => ioas.map({ address, sizeBytes }), String(sizeBytes)).toThrow(ArgumentError);
      expect(() => ioas.mapFile(0, 0, sizeBytes), String(sizeBytes)).toThrow(ArgumentError);
      expect(() => ioas.copyFrom(ioas, 0n, sizeBytes), String(sizeBytes)).toThrow(ArgumentError);
      expect(() => ioas.unmap(0n, sizeBytes), String(sizeBytes)).toThrow(ArgumentError);
    }
    for (const iova of [-1n, 2n ** 64n]) {
      expect(() => ioas.map(memory, { iova }), String(iova)).toThrow(ArgumentError);
      expect(() => ioas.mapFile(0, 0, PAGE, { iova }), String(iova)).toThrow(ArgumentError);
      expect(() => ioas.copyFrom(ioas, 0n, PAGE, { iova }), String(iova)).toThrow(ArgumentError);
      expect(() => ioas.copyFrom(ioas, iova, PAGE), String(iova)).toThrow(ArgumentError);
      expect(() => ioas.unmap(iova, PAGE), String(iova)).toThrow(ArgumentError);
      expect(() => ioas.allowIovas([{ start: 0n, last: iova }]), String(iova)).toThrow(ArgumentError);
    }
    expect(() => ioas.map({ address: -PAGE, sizeBytes: PAGE })).toThrow(ArgumentError);
    expect(() => ioas.mapFile(0, -1, PAGE)).toThrow(ArgumentError);
    expect(ioas.unmapAll()).toBe(0n);
  });

  test("restricts only the kernel's choice to the allowed ranges", () => {
    using iommufd = Iommufd.open();
    using ioas = iommufd.allocIoas();
    using memory = MappedMemory.anonymous(2 * PAGE);
    const allowed = { start: 0x1000000n, last: 0x1003fffn };
    ioas.allowIovas([allowed]);
    const found = [ioas.map(memory), ioas.map(memory)];
    expect(found.toSorted((a, b) => Number(a - b))).toEqual([0x1000000n, 0x1002000n]);
    expect(() => ioas.map(memory)).toThrow(
      sysError("IOMMU_IOAS_MAP", "ENOSPC", { hint: "no free I/O virtual addresses" }),
    );
    expect(ioas.map(memory, { iova: 0x40000n })).toBe(0x40000n);
    expect(ioas.iovaRanges().ranges).toEqual([EVERYTHING]);
    for (const bad of [
      [{ start: 0x2000n, last: 0x1000n }],
      [
        { start: 0x1000n, last: 0x2fffn },
        { start: 0x2000n, last: 0x3fffn },
      ],
    ]) {
      expect(() => ioas.allowIovas(bad)).toThrow(sysError("IOMMU_IOAS_ALLOW_IOVAS", "EINVAL"));
    }
    // What was refused has not replaced what was allowed.
    expect(() => ioas.map(memory)).toThrow(sysError("IOMMU_IOAS_MAP", "ENOSPC"));
    ioas.allowIovas([
      { start: 0x2000000n, last: 0x2001fffn },
      { start: 0x4000000n, last: 0x4001fffn },
    ]);
    expect([ioas.map(memory), ioas.map(memory)]).toEqual([0x2000000n, 0x4000000n]);
    ioas.allowIovas([]);
    expect(ioas.map(memory)).toBeLessThan(allowed.start);
  });

  test("uses huge pages by default, which can be switched off and on", () => {
    using iommufd = Iommufd.open();
    using ioas = iommufd.allocIoas();
    expect(ioas.hugePages).toBe(true);
    ioas.hugePages = false;
    expect(ioas.hugePages).toBe(false);
    ioas.hugePages = true;
    expect(ioas.hugePages).toBe(true);
    using memory = MappedMemory.anonymous(PAGE);
    // Without huge pages every mapping has to consist of whole ones.
    ioas.map({ address: memory.address, sizeBytes: 512 }, { iova: 0x1000n });
    expect(() => {
      ioas.hugePages = false;
    }).toThrow(sysError("IOMMU_OPTION", "EADDRINUSE"));
  });

  test("copies mappings from another IOAS of the same iommufd", () => {
    using iommufd = Iommufd.open();
    using source = iommufd.allocIoas();
    using target = iommufd.allocIoas();
    using memory = MappedMemory.anonymous(4 * PAGE);
    const { address } = memory;
    source.map(memory, { iova: 0x40000n });
    source.map({ address, sizeBytes: PAGE }, { iova: 0x80000n, access: "read" });
    expect(target.copyFrom(source, 0x40000n, 4 * PAGE, { iova: 0x10000n })).toBe(0x10000n);
    // Part of it too, where the kernel likes it.
    const chosen = target.copyFrom(source, 0x41000n, 2 * PAGE);
    expect(chosen).not.toBe(0n);
    expect(() => target.copyFrom(source, 0x41000n, PAGE, { iova: 0x10000n })).toThrow(
      sysError("IOMMU_IOAS_COPY", "EEXIST"),
    );
    for (const [iova, sizeBytes] of [
      [0x20000n, PAGE],
      [0x43000n, 2 * PAGE],
    ] as const) {
      expect(() => target.copyFrom(source, iova, sizeBytes)).toThrow(sysError("IOMMU_IOAS_COPY", "ENOENT"));
    }
    expect(() => target.copyFrom(source, 0x80000n, PAGE)).toThrow(sysError("IOMMU_IOAS_COPY", "EPERM"));
    target.copyFrom(source, 0x80000n, PAGE, { access: "read" });
    // A copy lives on without its source.
    source.close();
    expect(target.unmapAll()).toBe(BigInt(7 * PAGE));
    using other = Iommufd.open();
    using foreign = other.allocIoas();
    foreign.map(memory, { iova: 0x40000n });
    expect(() => target.copyFrom(foreign, 0x40000n, PAGE)).toThrow(ArgumentError);
    expect(target.unmapAll()).toBe(0n);
  });

  test("is closed with its iommufd, and so are its mappings", () => {
    const iommufd = Iommufd.open();
    const ioas = iommufd.allocIoas();
    const space = new DmaSpace(new IoasMapper(ioas));
    const buffer = space.alloc(PAGE);
    iommufd.close();
    for (const { closed } of [ioas, space, buffer]) expect(closed).toBe(true);
    expect(() => ioas.iovaRanges()).toThrow(ClosedError);
  });
});

describe("an IOAS with a device", () => {
  let binding: VfioBinding;
  beforeAll(() => {
    binding = bindToVfio(eduBdf());
  });
  afterAll(() => binding.close());

  /** edu, bound and attached to a fresh IOAS. */
  function attached(): { iommufd: Iommufd; ioas: Ioas; device: VfioDevice } & Disposable {
    const iommufd = Iommufd.open();
    const ioas = iommufd.allocIoas();
    const device = VfioDevice.openCdev(eduBdf());
    const opened = { iommufd, ioas, device, [Symbol.dispose]: () => iommufd.close() };
    try {
      device.bind(iommufd);
    } catch (error) {
      device.close();
      iommufd.close();
      throw error;
    }
    device.attach(ioas);
    return opened;
  }

  test("can map only what the device's IOMMU translates, until the device is detached", () => {
    using setup = attached();
    const { ioas, device } = setup;
    const { ranges, alignmentBytes } = ioas.iovaRanges();
    expect(alignmentBytes).toBe(PAGE);
    expect(ranges).toHaveLength(2);
    expect(ranges[0]).toEqual({ start: 0n, last: MSI_WINDOW.start - 1n });
    expect(ranges[1]?.start).toBe(MSI_WINDOW.last + 1n);
    // As far as the IOMMU's page tables reach: a whole number of address bits.
    const bits = (ranges[1]?.last ?? 0n).toString(2);
    expect(bits).toMatch(/^1{39,57}$/);
    device.detach();
    expect(ioas.iovaRanges()).toEqual({ ranges: [EVERYTHING], alignmentBytes: 1 });
  });

  test("refuses misaligned and reserved addresses", () => {
    using setup = attached();
    const { ioas } = setup;
    using memory = MappedMemory.anonymous(2 * PAGE);
    const { address } = memory;
    const beyond = (ioas.iovaRanges().ranges.at(-1)?.last ?? 0n) + 1n;
    for (const iova of [0x40200n, MSI_WINDOW.start, MSI_WINDOW.start - BigInt(PAGE), beyond]) {
      expect(() => ioas.map(memory, { iova }), iova.toString(16)).toThrow(
        sysError("IOMMU_IOAS_MAP", "EINVAL", { hint: expect.stringContaining("reserved") }),
      );
    }
    for (const range of [
      { address, sizeBytes: 512 },
      { address: address + 512, sizeBytes: PAGE },
    ]) {
      expect(() => ioas.map(range, { iova: 0x40000n })).toThrow(sysError("IOMMU_IOAS_MAP", "EINVAL"));
    }
    expect(() => ioas.allowIovas([MSI_WINDOW])).toThrow(sysError("IOMMU_IOAS_ALLOW_IOVAS", "EADDRINUSE"));
    expect(ioas.unmapAll()).toBe(0n);
  });

  test("refuses memory that doesn't exist, when it is mapped or when a device is attached", () => {
    using setup = attached();
    const { ioas, device } = setup;
    expect(() => ioas.map(UNMAPPED)).toThrow(
      sysError("IOMMU_IOAS_MAP", "EFAULT", { hint: expect.stringContaining("can't be pinned") }),
    );
    device.detach();
    // Pages are pinned for devices only, so that nobody misses them yet.
    const at = ioas.map(UNMAPPED);
    expect(() => device.attach(ioas)).toThrow(
      sysError("VFIO_DEVICE_ATTACH_IOMMUFD_PT", "EFAULT", {
        object: `VFIO device ${eduBdf()} to ${ioas.lease.label}`,
        hint: expect.stringContaining("can't be pinned"),
      }),
    );
    ioas.unmap(at, UNMAPPED.sizeBytes);
    device.attach(ioas);
    expect(ioas.iovaRanges().alignmentBytes).toBe(PAGE);
  });

  test("refuses a device that can't reach what is mapped", () => {
    using setup = attached();
    const { ioas, device } = setup;
    device.detach();
    using memory = MappedMemory.anonymous(PAGE);
    ioas.map(memory, { iova: MSI_WINDOW.start });
    expect(() => device.attach(ioas)).toThrow(sysError("VFIO_DEVICE_ATTACH_IOMMUFD_PT", "EADDRINUSE"));
    ioas.unmapAll();
    ioas.allowIovas([MSI_WINDOW]);
    expect(() => device.attach(ioas)).toThrow(sysError("VFIO_DEVICE_ATTACH_IOMMUFD_PT", "EADDRINUSE"));
    ioas.allowIovas([]);
    expect(device.attach(ioas)).toBeGreaterThan(0);
  });

  test("maps within the allowed ranges while a device is attached", () => {
    using setup = attached();
    const { ioas } = setup;
    using memory = MappedMemory.anonymous(PAGE);
    ioas.allowIovas([{ start: 0x5000000n, last: 0x5ffffffn }]);
    expect(ioas.map(memory)).toBe(0x5000000n);
  });

  test("can't switch huge pages off while a device has mappings", () => {
    using setup = attached();
    const { ioas } = setup;
    using memory = MappedMemory.anonymous(PAGE);
    ioas.map(memory);
    expect(() => {
      ioas.hugePages = false;
    }).toThrow(sysError("IOMMU_OPTION", "EINVAL"));
    expect(ioas.hugePages).toBe(true);
    ioas.unmapAll();
    ioas.hugePages = false;
    expect(ioas.hugePages).toBe(false);
  });

  test("pins mapped memory once, however often the mapping is copied", () => {
    using setup = attached();
    const { iommufd, ioas, device } = setup;
    using memory = MappedMemory.anonymous(64 * PAGE);
    const before = holdings().pinnedKib;
    const pinned = (): number => (holdings().pinnedKib - before) * 1024;
    const at = ioas.map(memory);
    expect(pinned()).toBe(memory.sizeBytes);
    ioas.copyFrom(ioas, at, memory.sizeBytes);
    expect(pinned()).toBe(memory.sizeBytes);
    ioas.unmap(at, memory.sizeBytes);
    expect(pinned()).toBe(memory.sizeBytes);
    device.detach();
    expect(pinned()).toBe(0);
    device.attach(ioas);
    expect(pinned()).toBe(memory.sizeBytes);
    iommufd.close();
    expect(pinned()).toBe(0);
  });

  test("carries DMA both ways, also through a copied mapping and in a memfd", async () => {
    using setup = attached();
    const { iommufd, ioas, device } = setup;
    const edu = new Edu(device);
    using memory = MappedMemory.anonymous(2 * PAGE);
    const secret = randomBytes(600);
    memory.bytes.set(secret, 100);
    const at = ioas.map(memory, { iova: 0x40000n });
    await edu.load(at + 100n, secret.length);
    await edu.store(at + BigInt(PAGE) - 50n, secret.length);
    expect(Buffer.from(memory.bytes.slice(PAGE - 50, PAGE - 50 + secret.length))).toEqual(secret);

    // Another address space, where only the copy is.
    using other = iommufd.allocIoas();
    using copied = MappedMemory.anonymous(PAGE);
    ioas.map(copied, { iova: 0x80000n });
    const copy = other.copyFrom(ioas, 0x80000n, PAGE);
    device.attach(other);
    await edu.store(copy, secret.length);
    expect(Buffer.from(copied.bytes.slice(0, secret.length))).toEqual(secret);

    const fd = memfd("iova-test", 3 * PAGE);
    try {
      const inFile = other.mapFile(fd, PAGE, 2 * PAGE, { iova: 0x90000n });
      expect(inFile).toBe(0x90000n);
      const message = randomBytes(300);
      writeSync(fd, message, 0, message.length, PAGE);
      await edu.load(inFile, message.length);
      await edu.store(inFile + BigInt(PAGE), message.length);
      const received = Buffer.alloc(message.length);
      readSync(fd, received, 0, received.length, 2 * PAGE);
      expect(received).toEqual(message);
    } finally {
      closeSync(fd);
    }
    // The mapping holds the file.
    await edu.store(0x90000n, 1);
    expect(other.unmap(0x90000n, 2 * PAGE)).toBe(2 * PAGE);
  });

  test("rejects a file without memory to pin", () => {
    using setup = attached();
    const { ioas } = setup;
    expect(() => ioas.mapFile(100_000, 0, PAGE)).toThrow(sysError("IOMMU_IOAS_MAP_FILE", "EBADF"));
    const fd = memfd("iova-test", 2 * PAGE);
    const ordinary = openSync("/dev/null", "r");
    try {
      expect(() => ioas.mapFile(fd, PAGE, 2 * PAGE)).toThrow(sysError("IOMMU_IOAS_MAP_FILE", "EINVAL"));
      expect(() => ioas.mapFile(fd, 512, PAGE)).toThrow(sysError("IOMMU_IOAS_MAP_FILE", "EINVAL"));
      expect(() => ioas.mapFile(ordinary, 0, PAGE)).toThrow(sysError("IOMMU_IOAS_MAP_FILE", "EINVAL"));
      ioas.mapFile(fd, 0, PAGE, { iova: 0x40000n });
      expect(() => ioas.mapFile(fd, PAGE, PAGE, { iova: 0x40000n })).toThrow(
        sysError("IOMMU_IOAS_MAP_FILE", "EEXIST"),
      );
    } finally {
      closeSync(fd);
      closeSync(ordinary);
    }
    expect(ioas.unmapAll()).toBe(BigInt(PAGE));
  });

  test("detaches its device when it is closed", () => {
    using setup = attached();
    const { iommufd, ioas, device } = setup;
    const { id } = ioas;
    ioas.close();
    expect(device.closed).toBe(false);
    expect(device.info().isPci).toBe(true);
    using next = iommufd.allocIoas();
    // The old one is really gone, although the device had been attached to it.
    expect(next.id).toBe(id);
    device.attach(next);
    expect(next.iovaRanges().alignmentBytes).toBe(PAGE);
  });

  test("is closed with its iommufd and the device, which can then be opened again", () => {
    using setup = attached();
    const { iommufd, ioas, device } = setup;
    iommufd.close();
    expect([ioas.closed, device.closed]).toEqual([true, true]);
    using again = attached();
    expect(again.device.info().isPci).toBe(true);
  });
});
