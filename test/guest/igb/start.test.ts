/** The example's driver for the 82576: identification, link, and what it gives back. */
import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Igb } from "../../../examples/drivers/igb/igb.js";
import { PciDevice } from "../../../src/index.js";
import { backendNames } from "../../../src/pci/open.js";
import { caught } from "../../support/caught.js";
import { expectNothingLeft } from "../../support/holdings.js";
import { bindForFile, IgbPair, LINK_LIMIT, leftIgbBdf, rightIgbBdf } from "../../support/igb-machine.js";
import { QemuMonitor } from "../../support/qemu-monitor.js";

bindForFile([leftIgbBdf, rightIgbBdf]);
let monitor: QemuMonitor;
beforeAll(async () => {
  monitor = await QemuMonitor.open();
});
afterAll(() => monitor.close());

/** Only ends what would never end. */
const LONG = { timeout: 600_000 };

describe.each(backendNames)("an 82576 through %s", (backend) => {
  expectNothingLeft();

  test("has its address, and a link at 1000 Mb/s", LONG, async () => {
    using device = PciDevice.open(leftIgbBdf(), { backend });
    await using igb = await Igb.start(device);
    expect(igb.macAddress).toBe("52:54:00:00:00:10");
    await igb.linkUp(LINK_LIMIT);
    expect(igb.link).toEqual({ up: true, megabits: 1000, fullDuplex: true });
  });

  test("can be started again on an open device", LONG, async () => {
    using device = PciDevice.open(leftIgbBdf(), { backend });
    for (const queues of [1, 4, 2]) {
      await using igb = await Igb.start(device, { queues });
      expect(igb.queues).toBe(queues);
    }
  });

  test("tells by events that the link goes down and comes up", LONG, async () => {
    await using pair = await IgbPair.start(backend);
    const { left, right } = pair;
    const down = once(left.events, "link");
    await monitor.run("set_link", { name: "left", up: false });
    expect(await down).toEqual([expect.objectContaining({ up: false, megabits: 0 })]);
    expect(left.link.up).toBe(false);
    const up = once(left.events, "link");
    await monitor.run("set_link", { name: "left", up: true });
    expect(await up).toEqual([{ up: true, megabits: 1000, fullDuplex: true }]);
    expect(right.link.up).toBe(true);
  });

  test("ends waits and iterations when the driver closes", LONG, async () => {
    using device = PciDevice.open(leftIgbBdf(), { backend });
    const igb = await Igb.start(device);
    await igb.linkUp(LINK_LIMIT);
    const ended = igb.receive().next();
    await monitor.run("set_link", { name: "left", up: false });
    const link = caught(igb.linkUp(LINK_LIMIT));
    await igb.close();
    expect(await ended).toEqual({ done: true, value: undefined });
    expect(await link).toMatchObject({ code: "ERR_IGB", message: expect.stringContaining("was closed") });
    await expect(igb.send(Buffer.alloc(60))).rejects.toThrow("queue 0 is closed");
    await monitor.run("set_link", { name: "left", up: true });
  });

  test("refuses other devices and wrong options", LONG, async () => {
    using device = PciDevice.open(leftIgbBdf(), { backend });
    await expect(Igb.start(device, { queues: 5 })).rejects.toThrow("has 10 vectors: 5 queues need 11");
    await expect(Igb.start(device, { queues: 0 })).rejects.toThrow("queues must be an integer within 1 to 8");
    await expect(Igb.start(device, { slots: 100 })).rejects.toThrow("slots must be a multiple of 8, got 100");
    await expect(Igb.start(device, { hashKey: new Uint8Array(39) })).rejects.toThrow("got 39");
    await using igb = await Igb.start(device);
    await expect(igb.send(Buffer.alloc(13))).rejects.toThrow("14 to 1518 bytes, got 13");
    await expect(igb.send(Buffer.alloc(1515), { vlan: 1 })).rejects.toThrow("14 to 1514 bytes, got 1515");
    await expect(igb.send(Buffer.alloc(60), { vlan: 0x1_0000 })).rejects.toThrow("a VLAN tag is 0 to 65535");
    await expect(igb.send(Buffer.alloc(60), { queue: 1 })).rejects.toThrow("queue is 0 to 0, got 1");
    await expect(igb.send(Buffer.alloc(60), { checksum: true })).rejects.toThrow("neither IPv4");
    expect(() => igb.receiveBatches({ queue: 1 })).toThrow("queue is 0 to 0, got 1");
    expect(() => igb.filters.setMulticast(["52:54:00:00:00:10"])).toThrow("no multicast address");
    expect(() => igb.filters.setVlans([4096])).toThrow("0 to 4095, got 4096");
  });
});
