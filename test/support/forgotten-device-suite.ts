/** Tests for every backend of PCI devices, and parts of them, that a program forgets to close. */
import { expect, test } from "vitest";
import type { DmaBuffer, PciDevice } from "../../src/index.js";
import { collectAll, drop, type ForgottenWarnings } from "./forgotten.js";
import { holdings } from "./holdings.js";

const PAGE = 4096;

/** @param open opens the device under test; it is called several times */
export function describeForgottenDevice(
  open: () => PciDevice,
  { messages, clear, warned }: ForgottenWarnings,
  options: { readonly timeout?: number } = {},
): void {
  test("the address of a forgotten buffer can be used again", options, async () => {
    using device = open();
    const before = holdings();
    drop(() => device.dma.alloc(PAGE, { iova: 0x40000n }));
    expect(holdings()).not.toEqual(before);
    expect(await warned(/^DMA buffer of 4096 bytes at iova 0x40000 was never closed/)).toBe(true);
    expect(holdings()).toEqual(before);
    using next = device.dma.alloc(PAGE, { iova: 0x40000n });
    expect(next.iova).toBe(0x40000n);
  });

  test("a device is not collected while the program uses a part of it", options, async () => {
    const parts: Readonly<Record<string, (device: PciDevice) => () => unknown>> = {
      dma:
        ({ dma }) =>
        () =>
          dma.alloc(PAGE).close(),
      bar: (device) => {
        const bar = device.bar(0);
        return () => bar.read32(0);
      },
      buffer: ({ dma }) => {
        const buffer: DmaBuffer = dma.alloc(PAGE);
        return () => buffer.bytes;
      },
      vector: (device) => {
        const [vector] = device.enableInterrupts({ kind: "msi" }).vectors;
        return () => vector?.take();
      },
    };
    // A separate function, so that nothing holds the part when it has returned.
    const outlive = async (name: string, part: (device: PciDevice) => () => unknown): Promise<void> => {
      const use = part(open());
      await collectAll();
      expect(use, name).not.toThrow();
      expect(messages, name).toEqual([]);
    };
    for (const [name, part] of Object.entries(parts)) {
      await outlive(name, part);
      expect(await warned(/^PCI device /), name).toBe(true);
      clear();
    }
  });
}
