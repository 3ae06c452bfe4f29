import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { VfioUserDevice, VfioUserIoEventFd } from "../../../../src/doors/vfio-user.js";
import type { RunningEmulator } from "../../../../src/emulator/worker.js";
import { type DmaBuffer, PciDevice } from "../../../../src/index.js";
import { EDU_IDENTIFICATION, EduRegister } from "../../../support/edu.js";
import { COMPILE_MS, emulate } from "../../../support/emulators.js";
import { collectUntil } from "../../../support/gc.js";
import { holdings } from "../../../support/holdings.js";

const PAGE = 4096;

let emulator: RunningEmulator;
beforeAll(async () => {
  emulator = await emulate({ device: "edu", options: {} });
}, COMPILE_MS);
afterAll(() => emulator.close());

let warnings: string[];
const listen = ({ message }: Error): void => void warnings.push(message);
beforeEach(() => {
  warnings = [];
  process.on("warning", listen);
});
afterEach(() => {
  process.off("warning", listen);
});

const warned = (pattern: RegExp): Promise<boolean> =>
  collectUntil(() => warnings.some((message) => pattern.test(message)));

/** In a function of its own, so that nothing on a stack keeps what is dropped. */
function drop(make: () => unknown): void {
  make();
}

/** Often enough for anything that can be collected to be. */
async function collectAll(): Promise<void> {
  let rounds = 0;
  await collectUntil(() => ++rounds > 4);
}

const options = [
  ["", {}],
  [" that looks for its server", { vfioUser: { reconnect: true } }],
] as const;

test.each(options)("a forgotten device%s with open buffers is given back, whole", async (_, open) => {
  const { descriptors } = holdings();
  drop(() => {
    const device = PciDevice.open(emulator.address, open);
    device.dma.alloc(PAGE);
    device.dma.alloc(4 * PAGE);
    device.bar(0).read32(0);
    device.enableInterrupts({ kind: "msi" });
    device.onPresence(() => device.close());
    if (device.io instanceof VfioUserDevice) VfioUserIoEventFd.of(device.io, 0)[0]?.signal();
  });
  expect(holdings().descriptors).toBeGreaterThan(descriptors + 4);
  expect(await warned(/^PCI device .* was never closed/)).toBe(true);
  expect(warnings.some((message) => message.startsWith("DMA buffer"))).toBe(true);
  expect(await collectUntil(() => holdings().descriptors === descriptors)).toBe(true);
  // The server takes one client after the other: it has let the forgotten one go.
  using next = PciDevice.open(emulator.address);
  expect(next.bar(0).read32(EduRegister.identification)).toBe(EDU_IDENTIFICATION);
});

test("a forgotten buffer is taken from the server", async () => {
  using device = PciDevice.open(emulator.address);
  drop(() => device.dma.alloc(PAGE, { iova: 0x40000n }));
  expect(await warned(/^DMA buffer of 4096 bytes at iova 0x40000 was never closed/)).toBe(true);
  using next = device.dma.alloc(PAGE, { iova: 0x40000n });
  expect(next.iova).toBe(0x40000n);
});

test("a device is not lost of which a part is left", async () => {
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
  // A function of its own: when it is done nothing holds the part any more.
  const outlive = async (name: string, part: (device: PciDevice) => () => unknown): Promise<void> => {
    const use = part(PciDevice.open(emulator.address));
    await collectAll();
    expect(use, name).not.toThrow();
    expect(warnings, name).toEqual([]);
  };
  for (const [name, part] of Object.entries(parts)) {
    await outlive(name, part);
    expect(await warned(/^PCI device /), name).toBe(true);
    warnings = [];
  }
});
