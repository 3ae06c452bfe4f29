/** The example's driver for the 82576: identification, link, and what it gives back. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Igb } from "../../../examples/drivers/igb/igb.js";
import { bindToVfio, PciDevice, type VfioBinding } from "../../../src/index.js";
import { backendNames } from "../../../src/pci/open.js";
import { expectNothingLeft } from "../../support/holdings.js";
import { leftIgbBdf, rightIgbBdf } from "../../support/igb-machine.js";

/** Only ends what would never end. */
const LIMIT = { timeoutMs: 60_000 };
const bindings: VfioBinding[] = [];
beforeAll(() => {
  for (const bdf of [leftIgbBdf(), rightIgbBdf()]) bindings.push(bindToVfio(bdf));
});
afterAll(() => {
  for (const binding of bindings) binding.close();
});

describe.each(backendNames)("an 82576 through %s", (backend) => {
  expectNothingLeft();

  test("has its address, and a link at 1000 Mb/s", async () => {
    using device = PciDevice.open(leftIgbBdf(), { backend });
    await using igb = await Igb.start(device);
    expect(igb.macAddress).toBe("52:54:00:00:00:10");
    await igb.linkUp(LIMIT);
    expect(igb.link).toEqual({ up: true, megabits: 1000, fullDuplex: true });
  });

  test("sends a frame to the other, and both count it", async () => {
    using one = PciDevice.open(leftIgbBdf(), { backend });
    using two = PciDevice.open(rightIgbBdf(), { backend });
    await using left = await Igb.start(one);
    await using right = await Igb.start(two);
    await Promise.all([left.linkUp(LIMIT), right.linkUp(LIMIT)]);
    const frame = Buffer.concat([
      Buffer.from("525400000011525400000010", "hex"),
      Buffer.from("88b5", "hex"),
      Buffer.alloc(100, 7),
    ]);
    const next = right.receive().next();
    await left.send(frame);
    const { value } = await next;
    expect(value && Buffer.from(value.bytes).equals(frame)).toBe(true);
    expect(left.statistics()).toMatchObject({ sentGood: 1, sentGoodBytes: 118, received: 0 });
    expect(right.statistics()).toMatchObject({ receivedGood: 1, receivedGoodBytes: 118, sent: 0 });
  });
});
