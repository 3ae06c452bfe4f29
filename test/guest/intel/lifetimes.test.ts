/** Nothing leaks: over many cycles, after failures, and when objects are forgotten. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Iommufd } from "../../../src/doors/iommufd.js";
import type { InterruptKind } from "../../../src/doors/pci.js";
import { EventFd, groupOf, VfioContainer, VfioDevice, VfioGroup } from "../../../src/doors/vfio.js";
import { ArgumentError, bindToVfio, MappedMemory, PciDevice, type VfioBinding } from "../../../src/index.js";
import { backendNames } from "../../../src/pci/open.js";
import { EDU_IDENTIFICATION, Edu, EduRegister } from "../../support/edu.js";
import { collectAll, drop, useForgottenWarnings } from "../../support/forgotten.js";
import { describeForgottenDevice } from "../../support/forgotten-device-suite.js";
import { eduBdf } from "../../support/functions.js";
import { collectUntil } from "../../support/gc.js";
import { expectNothingLeft, holdings } from "../../support/holdings.js";
import { mappings } from "../../support/proc.js";
import { nextSignal } from "../../support/signal.js";

const PAGE = 4096;
const CYCLES = 200;
/** IOVA_SOAK_CYCLES=1000000 for a million, which takes minutes under emulation. */
const SOAK_CYCLES = Number(process.env["IOVA_SOAK_CYCLES"] ?? 50_000);
/** A heap that has settled goes up and down by less. */
const RSS_SLACK = 16 * 1024 * 1024;
const HEAP_SLACK = 1024 * 1024;
/** Only for what hangs: cycles and collections are slow under emulation. */
const LONG = { timeout: 600_000 };

let binding: VfioBinding;
beforeAll(() => {
  binding = bindToVfio(eduBdf());
});
afterAll(() => binding.close());

describe.each(backendNames)("a long-running process with %s", (backend) => {
  const open = (): PciDevice => PciDevice.open(eduBdf(), { backend });

  test(`leaks nothing when ${CYCLES} devices are opened, used and closed`, LONG, () => {
    const used: number[] = [];
    const cycle = (look = (): void => {}): bigint => {
      using device = open();
      const buffer = device.dma.alloc(64 * 1024);
      buffer.bytes[0] = 1;
      used.push(buffer.memory.address);
      device.bar(0).write32(EduRegister.liveness, 0);
      device.enableInterrupts({ kind: "msi" });
      look();
      return buffer.iova;
    };
    const before = holdings();
    // The counts do count.
    const [descriptors, pinnedKib, lockedKib] = backend === "iommufd" ? [3, 64, 0] : [4, 0, 64];
    const look = (): void => {
      const inUse = holdings();
      expect(inUse).toMatchObject({
        descriptors: before.descriptors + descriptors,
        regions: before.regions + 1,
        pinnedKib: before.pinnedKib + pinnedKib,
        lockedKib: before.lockedKib + lockedKib,
      });
      expect(inUse.kernelObjects).toHaveLength(before.kernelObjects.length + descriptors);
    };
    const first = cycle(look);
    expect(holdings()).toEqual(before);
    for (let i = 0; i < CYCLES; i++) expect(cycle()).toBe(first);
    cycle(look);
    expect(holdings()).toEqual(before);
    // What closed memory leaves of its address range merges with its neighbours.
    const left = mappings().filter(({ start, end }) => used.some((at) => start <= at && at < end));
    expect(used).toHaveLength(CYCLES + 2);
    expect(left.length).toBeLessThan(CYCLES / 10);
  });

  test(`leaks nothing when ${CYCLES} buffers of an open device are allocated and closed`, LONG, () => {
    using device = open();
    const first = device.dma.alloc(PAGE);
    first.close();
    const before = holdings();
    for (let i = 0; i < CYCLES; i++) {
      using small = device.dma.alloc(1);
      using large = device.dma.alloc(100_000);
      expect(small.iova).toBe(first.iova);
      expect(large.iova).toBeGreaterThan(small.iova);
    }
    expect(holdings()).toEqual(before);
    using last = device.dma.alloc(PAGE);
    expect(last.iova).toBe(first.iova);
  });

  test(`leaks nothing when memory is mapped and unmapped ${SOAK_CYCLES} times`, {
    timeout: 3_000_000,
  }, async () => {
    using device = open();
    using memory = MappedMemory.anonymous(PAGE, { populate: true });
    const run = async (cycles: number): Promise<void> => {
      for (let done = 0; done < cycles; done++) {
        device.dma.map(memory).close();
        if (done % 1000 === 0) await new Promise((resolve) => setImmediate(resolve));
      }
      await collectAll();
    };
    // What is compiled and grown once is there before.
    await run(SOAK_CYCLES / 10);
    const first = device.dma.map(memory);
    first.close();
    const before = { ...holdings(), mappings: mappings().length };
    const { rss, heapUsed } = process.memoryUsage();
    const started = performance.now();
    await run(SOAK_CYCLES);
    const seconds = (performance.now() - started) / 1000;
    const inUse = process.memoryUsage();
    const grown = inUse.rss - rss;
    const kept = inUse.heapUsed - heapUsed;
    const after = { ...holdings(), mappings: mappings().length };
    console.log(
      `${backend}: ${SOAK_CYCLES} cycles in ${seconds.toFixed(1)} s; descriptors ${before.descriptors} and ` +
        `${after.descriptors}, mappings ${before.mappings} and ${after.mappings}, resident ${rss >> 10} KiB and ` +
        `${(rss + grown) >> 10} KiB, of V8's heap in use ${heapUsed >> 10} KiB and ${(heapUsed + kept) >> 10} KiB`,
    );
    // V8's heap comes and goes by some dozens of mappings; one of ours per cycle would be tens of thousands.
    expect(after).toMatchObject({ ...before, mappings: expect.any(Number) });
    expect(after.mappings).toBeLessThan(before.mappings + 500);
    expect(grown).toBeLessThan(RSS_SLACK);
    // The heap's reserves come and go, what is in it doesn't: a word a cycle would be 8 MB in a million.
    expect(kept).toBeLessThan(HEAP_SLACK);
    // The lowest address is free again, and so is all behind it.
    using small = device.dma.map(memory);
    expect(small.iova).toBe(first.iova);
    using next = device.dma.map(memory, { iova: first.iova + BigInt(PAGE) });
    expect(next.contiguous).toBe(true);
  });

  test("closes many buffers one by one in any order", () => {
    using device = open();
    const before = holdings();
    const buffers = Array.from({ length: CYCLES }, (_, i) => device.dma.alloc((i % 5) * 1000 + 1));
    const addresses = buffers.map((buffer) => buffer.iova);
    expect(new Set(addresses).size).toBe(CYCLES);
    // Every third, then the rest backwards.
    const third = buffers.filter((_, i) => i % 3 === 0);
    const rest = buffers.filter((_, i) => i % 3 !== 0).reverse();
    for (const buffer of [...third, ...rest]) buffer.close();
    expect(holdings()).toEqual(before);
    // Nothing of the space is lost, nor in pieces: the same again gets the same, in whatever order.
    const again = Array.from({ length: CYCLES }, (_, i) => device.dma.alloc((i % 5) * 1000 + 1));
    expect(new Set(again.map((buffer) => buffer.iova))).toEqual(new Set(addresses));
    device.dma.close();
    expect(holdings()).toEqual(before);
  });

  test("leaks nothing when opening fails", () => {
    using taken = open();
    const before = holdings();
    for (const options of [{ backend }, {}]) {
      expect(() => PciDevice.open(eduBdf(), options)).toThrow();
      expect(() => PciDevice.open("0000:00:1b.7", options)).toThrow();
      expect(() => PciDevice.open("nonsense", options)).toThrow(ArgumentError);
    }
    expect(holdings()).toEqual(before);
    expect(taken.io.info().isPci).toBe(true);
  });
});

describe("kernel objects that are opened and closed many times", () => {
  expectNothingLeft();

  test("leak nothing of iommufd", () => {
    using iommufd = Iommufd.open();
    const { id } = iommufd.allocIoas();
    for (let i = 0; i < CYCLES; i++) {
      using inner = Iommufd.open();
      using ioas = inner.allocIoas();
      using memory = MappedMemory.anonymous(PAGE);
      ioas.map(memory);
      expect(ioas.id).toBe(id);
    }
    expect(iommufd.closed).toBe(false);
  });

  test("leak nothing of groups and containers", () => {
    const number = VfioGroup.openFor(eduBdf());
    number.close();
    for (let i = 0; i < 50; i++) {
      using container = VfioContainer.open();
      using group = VfioGroup.open(number.number);
      group.setContainer(container);
      expect(group.status().containerSet).toBe(true);
    }
    expect(VfioGroup.open(number.number)[Symbol.dispose]()).toBeUndefined();
  });
});

describe.each(backendNames)("forgotten objects of %s", (backend) => {
  expectNothingLeft();

  const forgotten = useForgottenWarnings();
  const { warned } = forgotten;
  const open = (): PciDevice => PciDevice.open(eduBdf(), { backend });

  test("keep a buffer while a view of it is reachable", async () => {
    using device = open();
    const views: Uint8Array[] = [];
    drop(() => {
      views.push(device.dma.alloc(PAGE, { iova: 0x40000n }).bytes.fill(0x3c));
      views.push(device.dma.alloc(PAGE, { iova: 0x80000n }).view(16, 16));
    });
    await collectAll();
    expect(forgotten.messages).toEqual([]);
    const edu = new Edu(device.io);
    await edu.load(0x40000n, 16);
    await edu.store(0x80010n, 16);
    drop(() => expect(views[1]).toEqual(new Uint8Array(16).fill(0x3c)));
    views.length = 0;
    expect(await warned(/at iova 0x40000 /)).toBe(true);
    expect(await warned(/at iova 0x80000 /)).toBe(true);
  });

  test("release the device completely", async () => {
    const before = holdings();
    drop(() => {
      const device = open();
      device.dma.alloc(PAGE);
      device.bar(0).read32(0);
      device.enableInterrupts();
    });
    expect(await warned(/^PCI device .* was never closed/)).toBe(true);
    expect(holdings()).toEqual(before);
    using next = open();
    expect(next.bar(0).read32(EduRegister.identification)).toBe(EDU_IDENTIFICATION);
  });

  describeForgottenDevice(open, forgotten, LONG);

  test("keep interrupts that are watched", LONG, async () => {
    using device = open();
    const outlive = async (kind: InterruptKind): Promise<void> => {
      const signal = nextSignal(device.enableInterrupts({ kind }), 0);
      await collectAll();
      expect(forgotten.messages).toEqual([]);
      const edu = new Edu(device.io);
      edu.raise(1);
      expect(await signal).toBe(1);
      edu.acknowledge();
    };
    for (const kind of ["msi", "intx"] as const) {
      await outlive(kind);
      expect(await warned(new RegExp(`^${kind} interrupts of `))).toBe(true);
      forgotten.clear();
    }
    // Off: they can be had again.
    using interrupts = device.enableInterrupts();
    expect(interrupts.kind).toBe("msi");
  });

  test("release a mapped region", async () => {
    using device = open();
    const before = holdings();
    drop(() => device.bar(0).map(0, PAGE));
    expect(holdings().regions).toBe(before.regions + 1);
    expect(await warned(/^VFIO device .* region 0 was never closed/)).toBe(true);
    expect(holdings()).toEqual(before);
  });
});

describe("forgotten kernel objects", () => {
  expectNothingLeft();
  useForgottenWarnings();

  test("free the number of an IOAS", async () => {
    using iommufd = Iommufd.open();
    const probe = iommufd.allocIoas();
    const { id } = probe;
    probe.close();
    drop(() => iommufd.allocIoas());
    const isFree = (): boolean => {
      using next = iommufd.allocIoas();
      return next.id === id;
    };
    expect(isFree()).toBe(false);
    expect(await collectUntil(isFree)).toBe(true);
  });

  test("free a bound and attached device, which can be bound again", async () => {
    using iommufd = Iommufd.open();
    using ioas = iommufd.allocIoas();
    drop(() => {
      const device = VfioDevice.openCdev(eduBdf());
      device.bind(iommufd);
      device.attach(ioas);
    });
    expect(ioas.iovaRanges().alignmentBytes).toBe(PAGE);
    // Detached with it.
    expect(await collectUntil(() => ioas.iovaRanges().alignmentBytes === 1)).toBe(true);
    using next = VfioDevice.openCdev(eduBdf());
    next.bind(iommufd);
    expect(next.info().isPci).toBe(true);
  });

  test("keep an iommufd and an IOAS as long as a device that needs them", async () => {
    using memory = MappedMemory.anonymous(PAGE);
    const openedUp = (): VfioDevice => {
      const iommufd = Iommufd.open();
      const ioas = iommufd.allocIoas();
      const device = VfioDevice.openCdev(eduBdf());
      device.bind(iommufd);
      device.attach(ioas);
      ioas.map(memory, { iova: 0x40000n });
      return device;
    };
    const echo = async (): Promise<void> => {
      using device = openedUp();
      await collectAll();
      const edu = new Edu(device);
      memory.bytes.fill(0x42);
      await edu.load(0x40000n, 8);
      memory.bytes.fill(0);
      await edu.store(0x40000n, 8);
    };
    await echo();
    expect(memory.bytes.slice(0, 9)).toEqual(Uint8Array.of(...Array(8).fill(0x42), 0));
    expect(holdings().kernelObjects).toContain("/dev/iommu");
    expect(await collectUntil(() => !holdings().kernelObjects.includes("/dev/iommu"))).toBe(true);
  });

  test("free a group and its container, which can be opened again", async () => {
    const number = groupOf(eduBdf());
    const isFree = (): boolean => {
      try {
        VfioGroup.open(number).close();
        return true;
      } catch {
        return false;
      }
    };
    expect(isFree()).toBe(true);
    drop(() => {
      const container = VfioContainer.open();
      const member = VfioGroup.open(number);
      member.setContainer(container);
      container.setIommu("type1v2");
    });
    expect(isFree()).toBe(false);
    expect(await collectUntil(isFree)).toBe(true);
    expect(await collectUntil(() => !holdings().kernelObjects.includes("/dev/vfio/vfio"))).toBe(true);
  });

  test("close an eventfd", async () => {
    const before = holdings();
    drop(() => new EventFd());
    expect(holdings().descriptors).toBe(before.descriptors + 1);
    expect(await collectUntil(() => holdings().descriptors === before.descriptors)).toBe(true);
  });
});
