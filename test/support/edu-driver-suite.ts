/** Tests of the example's driver for edu that every backend passes. */
import { describe, expect, test } from "vitest";
import { Edu } from "../../examples/drivers/edu.js";
import type { PciDevice } from "../../src/index.js";

/** Only ends what would never end: each transfer takes QEMU's device a tenth of a second. */
const LONG = { timeout: 600_000 };

/** @param open opens an edu device; it is called once per test */
export function eduDriverSuite(open: () => PciDevice): void {
  describe("the example's driver", () => {
    test("identifies the device, and finds it alive", () => {
      using device = open();
      using edu = new Edu(device);
      expect(edu.version).toBe("1.0");
      expect(edu.isAlive()).toBe(true);
    });

    test("computes factorials modulo 2^32, told by interrupt", LONG, async () => {
      using device = open();
      using edu = new Edu(device);
      const results: number[] = [];
      for (const n of [0, 1, 5, 12, 13, 33, 34]) results.push(await edu.factorial(n));
      expect(results).toEqual([1, 1, 120, 479_001_600, 1_932_053_504, 2_147_483_648, 0]);
    });

    test("copies bytes in and out, up to all that the device takes", LONG, async () => {
      using device = open();
      using edu = new Edu(device);
      const bytes = Uint8Array.from({ length: 4095 }, (_, i) => (i * 7 + 3) & 0xff);
      await edu.write(0, bytes);
      expect(await edu.read(0, bytes.length)).toEqual(bytes);
      await edu.write(1000, Buffer.from("hello"));
      expect(Buffer.from(await edu.read(1000, 5)).toString()).toBe("hello");
      expect(await edu.read(1005, 3)).toEqual(bytes.slice(1005, 1008));
    });

    test("refuses transfers beyond the device's memory", async () => {
      using device = open();
      using edu = new Edu(device);
      for (const [offset, length] of [
        [0, 4096],
        [4095, 1],
        [-1, 1],
        [0, 0],
        [0.5, 1],
      ] as const)
        await expect(edu.read(offset, length)).rejects.toThrow(RangeError);
      await expect(edu.write(4094, new Uint8Array(2))).rejects.toThrow("got 2 at 4094");
    });

    test("gives its interrupts and memory back, so that another can be made", async () => {
      using device = open();
      for (let i = 0; i < 3; i++) {
        using edu = new Edu(device);
        expect(await edu.factorial(3)).toBe(6);
      }
    });
  });
}
