/** The kernel's sample serial card: a mediated device that can be migrated. */
import { execFileSync } from "node:child_process";
import { existsSync, readlinkSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { Iommufd } from "../../../src/doors/iommufd.js";
import { DmaLogging, EventFd, groupOf, Migration, VfioDevice } from "../../../src/doors/vfio.js";
import { ConfigSpace, PciRegister, StateError, UnsupportedError } from "../../../src/index.js";
import { VFIO_PCI_INTX_IRQ_INDEX, VFIO_PCI_MSI_IRQ_INDEX } from "../../../src/vfio/uapi.js";
import { sysError } from "../../support/errors.js";
import { expectNothingLeft } from "../../support/holdings.js";
import { MediatedDevice } from "../../support/mdev.js";
import { INTERRUPT_WHEN_EMPTY, MttyPort, Uart } from "../../support/mtty.js";
import { hasContainerOfIommufd, openMode, type VfioModeSpace, vfioModes } from "../../support/vfio-modes.js";

expectNothingLeft();

const PAGE = 4096;
/** Magic number, version, number of ports: what the card sends of itself before its ports' state. */
const HEADER_BYTES = 24n;

/** A card in an address space, opened. */
function openCard(space: VfioModeSpace, card: MediatedDevice): VfioDevice {
  return space.open(card.uuid).device;
}

describe.each(vfioModes)("a serial card by %s", (mode) => {
  test("is opened by its UUID as a PCI function", () => {
    using card = new MediatedDevice("mtty-2");
    using space = openMode(mode);
    const device = openCard(space, card);
    expect(device.openedThrough).toBe(mode === "iommufd" ? "cdev" : "group");
    expect(device.lease.label).toContain(card.uuid);
    expect(device.info()).toMatchObject({ isPci: true, numRegions: 9, numIrqs: 5 });
    const config = new ConfigSpace(device);
    expect(config.read16(PciRegister.vendorId)).toBe(0x4348);
    expect(config.read16(PciRegister.deviceId)).toBe(0x3253);
    expect(groupOf(card.uuid)).toBe(Number(readlinkSync(`${card.path}/iommu_group`).split("/").at(-1)));
  });

  test("returns what it receives, for each port separately", () => {
    using card = new MediatedDevice("mtty-2");
    using space = openMode(mode);
    const device = openCard(space, card);
    const ports = [new MttyPort(device, 0), new MttyPort(device, 1)] as const;
    ports[0].send("one");
    ports[1].send("another");
    expect(ports[1].receive()).toBe("another");
    expect(ports[0].receive()).toBe("one");
    expect(ports[0].receive()).toBe("");
    device.reset();
    expect(() => device.mapRegion(0, 0, 8)).toThrow(UnsupportedError);
    expect(device.regionInfo(1).sizeBytes).toBe(8);
    expect(device.regionInfo(2).sizeBytes).toBe(0);
  });

  test.each([
    ["INTx", VFIO_PCI_INTX_IRQ_INDEX],
    ["MSI", VFIO_PCI_MSI_IRQ_INDEX],
  ])("interrupts by %s", (_name, index) => {
    using card = new MediatedDevice("mtty-1");
    using space = openMode(mode);
    using eventfd = new EventFd();
    const device = openCard(space, card);
    const port = new MttyPort(device, 0);
    expect(device.info().numIrqs).toBe(5);
    device.setIrqEventfds(index, 0, [eventfd.fd]);
    port.write(Uart.interruptEnable, INTERRUPT_WHEN_EMPTY);
    expect(eventfd.take()).toBe(1);
    if (index === VFIO_PCI_INTX_IRQ_INDEX) {
      // Masked by its first interrupt.
      port.write(Uart.interruptEnable, INTERRUPT_WHEN_EMPTY);
      expect(eventfd.take()).toBe(0);
      device.actOnIrq(index, "unmask", 0, 1);
    }
    port.write(Uart.interruptEnable, INTERRUPT_WHEN_EMPTY);
    expect(eventfd.take()).toBe(1);
    port.write(Uart.interruptEnable, 0);
    device.disableIrq(index);
  });

  test("reports what it can do", () => {
    using card = new MediatedDevice("mtty-1");
    using space = openMode(mode);
    const device = openCard(space, card);
    expect(device.capabilities()).toMatchObject({
      migration: true,
      migrationDataSize: true,
      precopyInfoV2: true,
      dmaLogging: true,
      hotReset: false,
      lowPower: false,
      dmaBuf: false,
      vfToken: false,
      displayRegion: false,
      displayDmaBuf: false,
      irqs: {
        intx: { count: 1 },
        msi: { count: 1 },
        msix: { count: 0 },
        err: { count: 0 },
        req: { count: 0 },
      },
    });
  });

  test("logs no DMA, because it does none", () => {
    using card = new MediatedDevice("mtty-1");
    using space = openMode(mode);
    const logging = new DmaLogging(openCard(space, card));
    expect(logging.supported).toBe(true);
    const range = { iova: 0n, sizeBytes: 16 * PAGE };
    const refused = (code: string): unknown => sysError("VFIO_DEVICE_FEATURE", code);
    expect(() => logging.start(PAGE, [])).toThrow(refused("EINVAL"));
    expect(() => logging.start(PAGE, [range, { iova: BigInt(PAGE), sizeBytes: PAGE }])).toThrow(
      refused("EINVAL"),
    );
    expect(() =>
      logging.start(
        PAGE,
        Array.from({ length: 257 }, () => range),
      ),
    ).toThrow(sysError("VFIO_DEVICE_FEATURE", "E2BIG"));
    logging.start(PAGE, [range, { iova: 0x100_0000n, sizeBytes: PAGE }]);
    const report = logging.report(0n, 16 * PAGE, PAGE);
    expect(report.pages).toBe(16);
    expect([...report]).toEqual([]);
    expect(() => logging.report(0n, 16 * PAGE, 512)).toThrow(refused("EINVAL"));
    expect(() => logging.report(0xffff_ffff_ffff_f000n, 2 * PAGE, PAGE)).toThrow(
      sysError("VFIO_DEVICE_FEATURE", "EOVERFLOW"),
    );
    logging.stop();
  });
});

describe.each(vfioModes)("migration of a serial card by %s", (mode) => {
  test("moves state and buffered bytes to another card while it is stopped", () => {
    using cards = pairOfCards(mode);
    const { source, target } = cards;
    new MttyPort(source, 0).send("on the way");
    new MttyPort(source, 1).write(Uart.scratch, 0x5a);
    const from = new Migration(source);
    const to = new Migration(target);
    expect(from.support).toEqual({ stopCopy: true, p2p: true, preCopy: true });
    expect([from.state, to.state]).toEqual(["running", "running"]);

    using saved = dataOf(from.setState("stop-copy"));
    expect(from.state).toBe("stop-copy");
    const state = readAll(saved);
    expect(BigInt(state.length)).toBe(from.dataSize());
    expect(() => saved.precopyInfo()).toThrow(sysError("VFIO_MIG_GET_PRECOPY_INFO", "EINVAL"));
    expect(from.setState("stop")).toBeUndefined();

    using loaded = dataOf(to.setState("resuming"));
    expect(to.state).toBe("resuming");
    // In pieces, as from a network.
    for (let at = 0; at < state.length; at += 10) loaded.write(state.subarray(at, at + 10));
    expect(to.setState("running")).toBeUndefined();
    expect(to.state).toBe("running");

    expect(new MttyPort(target, 0).receive()).toBe("on the way");
    expect(new MttyPort(target, 1).read(Uart.scratch)).toBe(0x5a);
    expect(new MttyPort(target, 0).read(Uart.scratch)).toBe(0);
    // A stream that is over says so.
    expect(() => saved.read(new Uint8Array(1))).toThrow(sysError("read", "ENODEV"));
    expect(() => loaded.write(new Uint8Array(1))).toThrow(sysError("write", "ENODEV"));
    from.setState("running");
    expect(new MttyPort(source, 0).receive()).toBe("on the way");
  });

  test("copies most while it runs, and the rest after it is stopped", () => {
    using cards = pairOfCards(mode);
    const { source, target } = cards;
    const from = new Migration(source);
    const to = new Migration(target);
    using saved = dataOf(from.setState("pre-copy"));
    expect(from.state).toBe("pre-copy");
    expect(saved.precopyInfo()).toEqual({ initialBytes: HEADER_BYTES, dirtyBytes: 0n, reinitialised: false });
    const head = new Uint8Array(Number(HEADER_BYTES));
    expect(saved.read(head.subarray(0, 8))).toBe(8);
    expect(saved.precopyInfo().initialBytes).toBe(HEADER_BYTES - 8n);
    expect(saved.read(head.subarray(8))).toBe(head.length - 8);
    expect(saved.precopyInfo().initialBytes).toBe(0n);
    // Still running: it can be used, and that arrives too.
    new MttyPort(source, 0).send("the latest");
    expect(from.setState("pre-copy-p2p")).toBeUndefined();
    expect(from.setState("stop-copy")).toBeUndefined();
    const rest = readAll(saved);
    expect(BigInt(head.length + rest.length)).toBe(from.dataSize());

    using loaded = dataOf(to.setState("resuming"));
    loaded.write(head);
    loaded.write(rest);
    to.setState("running-p2p");
    expect(to.state).toBe("running-p2p");
    to.setState("running");
    expect(new MttyPort(target, 0).receive()).toBe("the latest");
  });

  test("leaves the card running if it is abandoned", () => {
    using cards = pairOfCards(mode);
    const from = new Migration(cards.source);
    new MttyPort(cards.source, 0).send("still here");
    using saved = dataOf(from.setState("pre-copy"));
    expect(from.hasPrecopyInfoV2).toBe(true);
    from.enablePrecopyInfoV2();
    expect(saved.precopyInfo()).toEqual({ initialBytes: HEADER_BYTES, dirtyBytes: 0n, reinitialised: false });
    from.setState("running");
    expect(() => saved.precopyInfo()).toThrow(sysError("VFIO_MIG_GET_PRECOPY_INFO", "EINVAL"));
    expect(new MttyPort(cards.source, 0).receive()).toBe("still here");
  });

  test("refuses impossible transitions, and reports the current state", () => {
    using cards = pairOfCards(mode);
    const from = new Migration(cards.source);
    using _saved = dataOf(from.setState("stop-copy"));
    const refused = sysError("VFIO_DEVICE_FEATURE", "EINVAL");
    expect(() => from.setState("pre-copy")).toThrow(refused);
    expect(() => from.setState("error")).toThrow(refused);
    expect(from.state).toBe("stop-copy");
    from.setState("running");
    expect(from.state).toBe("running");
  });

  test("refuses data that is no card's state; a reset recovers the card", () => {
    using cards = pairOfCards(mode);
    const to = new Migration(cards.target);
    using wrong = dataOf(to.setState("resuming"));
    expect(() => wrong.write(new Uint8Array(Number(HEADER_BYTES)))).toThrow(sysError("write", "EFAULT"));
    expect(() => wrong.write(new Uint8Array(PAGE))).toThrow(sysError("write", "ENOMEM"));
    cards.target.reset();
    expect(to.state).toBe("running");

    using short = dataOf(to.setState("resuming"));
    expect(short.fd).toBeGreaterThan(2);
    expect(() => to.setState("running")).toThrow(sysError("VFIO_DEVICE_FEATURE", "EINVAL"));
    expect(to.state).toBe("resuming");
    cards.target.reset();
    expect(to.state).toBe("running");
    expect(new MttyPort(cards.target, 0).receive()).toBe("");
  });

  test("ends with its device, which closes the stream", () => {
    using cards = pairOfCards(mode);
    const saved = dataOf(new Migration(cards.source).setState("stop-copy"));
    cards.source.close();
    expect(saved.closed).toBe(true);
    expect(() => saved.read(new Uint8Array(1))).toThrow("closed");
  });
});

if (!hasContainerOfIommufd) {
  describe("a container with a serial card", () => {
    test("can't give up virtual addresses, because the card's driver pins pages by them", () => {
      using card = new MediatedDevice("mtty-1");
      using space = openMode("vfio_type1v2_iommu");
      openCard(space, card);
      expect(() => space.container?.invalidateVaddrs()).toThrow(UnsupportedError);
    });
  });
}

describe("a serial card's character device", () => {
  test("is attached to the IOAS itself, because there is no IOMMU behind it", () => {
    using card = new MediatedDevice("mtty-1");
    using iommufd = Iommufd.open();
    using ioas = iommufd.allocIoas();
    using device = VfioDevice.openCdev(card.uuid.toUpperCase());
    expect(() => new Migration(device)).toThrow(StateError);
    device.bind(iommufd);
    expect(device.attach(ioas)).toBe(ioas.id);
    expect(() => device.attach(ioas, { pasid: 1 })).toThrow(
      sysError("VFIO_DEVICE_ATTACH_IOMMUFD_PT", "EOPNOTSUPP"),
    );
    device.detach();
    expect(() => iommufd.hwInfo(device)).toThrow(sysError("IOMMU_GET_HW_INFO", "ENOENT"));
    expect(() => VfioDevice.openCdev("83b8f4f2-509f-382f-3c1e-e6bfe0fa1001")).toThrow("there is no device");
  });

  test("disappears when the card is removed", () => {
    const card = new MediatedDevice("mtty-1");
    card.close();
    expect(existsSync(card.path)).toBe(false);
    expect(() => VfioDevice.openCdev(card.uuid)).toThrow("there is no device");
    expect(() => groupOf(card.uuid)).toThrow("there is no device");
  });
});

describe("examples/migrate-mtty.ts", () => {
  test("moves a card's state to another card", () => {
    using source = new MediatedDevice("mtty-1");
    using target = new MediatedDevice("mtty-1");
    const output = execFileSync(
      process.execPath,
      ["dist/examples/migrate-mtty.js", source.uuid, target.uuid],
      {
        encoding: "utf8",
      },
    );
    expect(output).toContain("the other card has: hello");
  });
});

/** Two cards in one address space. */
function pairOfCards(mode: (typeof vfioModes)[number]) {
  const cards = [new MediatedDevice("mtty-2"), new MediatedDevice("mtty-2")] as const;
  const space = openMode(mode);
  return {
    source: openCard(space, cards[0]),
    target: openCard(space, cards[1]),
    [Symbol.dispose]: (): void => {
      space.close();
      for (const card of cards) card.close();
    },
  };
}

function dataOf<T>(data: T | undefined): T {
  if (data === undefined) throw new Error("this state begins no stream");
  return data;
}

function readAll(data: { read(target: Uint8Array): number | undefined }): Buffer {
  const parts: Uint8Array[] = [];
  for (;;) {
    const part = new Uint8Array(16);
    const count = data.read(part);
    if (count === undefined || count === 0) return Buffer.concat(parts);
    parts.push(part.subarray(0, count));
  }
}
