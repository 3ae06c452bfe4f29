/** The example's driver for virtio's source of random bytes. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { VirtioBlk } from "../../../examples/drivers/virtio/blk.js";
import { VirtioRng } from "../../../examples/drivers/virtio/rng.js";
import { bindToVfio, PciDevice, type VfioBinding } from "../../../src/index.js";
import { backendNames } from "../../../src/pci/open.js";
import { virtioRngBdf } from "../../support/functions.js";
import { expectNothingLeft } from "../../support/holdings.js";

let binding: VfioBinding;
beforeAll(() => {
  binding = bindToVfio(virtioRngBdf());
});
afterAll(() => binding.close());

describe.each(backendNames)("virtio-rng through %s", (backend) => {
  expectNothingLeft();

  test("fills buffers with bytes that differ each time", async () => {
    using device = PciDevice.open(virtioRngBdf(), { backend });
    await using rng = await VirtioRng.start(device);
    using buffer = device.dma.alloc(64);
    const seen = new Set<string>();
    for (let i = 0; i < 20; i++) {
      buffer.bytes.fill(0);
      const written = await rng.fill(buffer);
      expect(written).toBeGreaterThan(0);
      expect(written).toBeLessThanOrEqual(64);
      expect(buffer.bytes.subarray(written).every((byte) => byte === 0)).toBe(true);
      seen.add(Buffer.from(buffer.bytes).toString("hex"));
    }
    expect(seen.size).toBe(20);
  });

  test("can be started again on an open device, as often as one likes", async () => {
    using device = PciDevice.open(virtioRngBdf(), { backend });
    using buffer = device.dma.alloc(16);
    for (let i = 0; i < 5; i++) {
      await using rng = await VirtioRng.start(device);
      expect(await rng.fill(buffer)).toBeGreaterThan(0);
    }
  });

  test("is refused by the driver of another device", async () => {
    using device = PciDevice.open(virtioRngBdf(), { backend });
    await expect(VirtioBlk.start(device)).rejects.toThrow("is 1af4:1044: this driver takes 1af4:1042");
  });
});
