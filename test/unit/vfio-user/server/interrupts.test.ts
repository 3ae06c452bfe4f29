/** A served function interrupts only where hardware would: what a driver forgets to enable doesn't come. */
import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { ArgumentError } from "../../../../src/core/errors.js";
import { PciDevice } from "../../../../src/pci/device.js";
import { EventFd } from "../../../../src/sys/eventfd.js";
import {
  VFIO_IRQ_SET_ACTION_TRIGGER,
  VFIO_IRQ_SET_DATA_EVENTFD,
  VFIO_PCI_INTX_IRQ_INDEX,
  VFIO_PCI_MSI_IRQ_INDEX,
  VFIO_PCI_MSIX_IRQ_INDEX,
  vfio_irq_set,
} from "../../../../src/vfio/uapi.js";
import { Command, regionAccess } from "../../../../src/vfio-user/protocol/protocol.js";
import { encodeVersion } from "../../../../src/vfio-user/protocol/version.js";
import type { EmulatedDevice } from "../../../../src/vfio-user/server/emulated-device.js";
import { VfioUserServer } from "../../../../src/vfio-user/server/server.js";
import { bestKind } from "../../../../src/vfio-user/server/vectors.js";
import { compileEmulators, emulate, socketPath } from "../../../support/emulators.js";
import { RawClient } from "../../../support/raw-vfio-user.js";
import { MSI_AT, MSIX_AT, MSIX_PENDING, MSIX_TABLE, TestFunction } from "../../../support/test-function.js";

const CONFIG = 7;
const COMMAND = 0x04;
const BUS_MASTER = 0x0004;
const INTERRUPT_DISABLE = 0x0400;
const MSI_CONTROL = MSI_AT + 2;
const MSIX_CONTROL = MSIX_AT + 2;
const MSIX_ENABLE = 0x8000;
const FUNCTION_MASK = 0x4000;

let device: TestFunction;
let server: VfioUserServer;
let client: RawClient;
const events: EventFd[] = [];

beforeEach(async () => {
  device = new TestFunction();
  server = new VfioUserServer(socketPath(), device);
  client = new RawClient(server.path);
  await client.ask(Command.version, encodeVersion());
});

afterEach(async () => {
  client.close();
  await vi.waitFor(() => expect(server.connected).toBe(false), { interval: 1 });
  server.close();
  device.close();
  for (const event of events.splice(0)) event.close();
});

/** An eventfd for a vector. */
async function listen(index: number, vector: number): Promise<EventFd> {
  const event = new EventFd();
  events.push(event);
  const flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
  const request = vfio_irq_set.encode({ flags, index, start: vector, count: 1 });
  expect(await client.errnoOf(Command.deviceSetIrqs, request, [event.fd])).toBe(0);
  return event;
}

async function write(region: number, offset: number, bytes: Uint8Array): Promise<void> {
  const access = regionAccess.encode({ region, offset: BigInt(offset), count: bytes.length });
  expect(await client.errnoOf(Command.regionWrite, Buffer.concat([access, bytes]))).toBe(0);
}

const write16 = (offset: number, value: number): Promise<void> =>
  write(CONFIG, offset, Uint8Array.of(value & 0xff, value >> 8));

const mask = (vector: number, masked: boolean): Promise<void> =>
  write(0, MSIX_TABLE + 16 * vector + 12, Uint8Array.of(masked ? 1 : 0, 0, 0, 0));

async function pendingBits(): Promise<number> {
  const answer = await client.ask(
    Command.regionRead,
    regionAccess.encode({ region: 0, offset: BigInt(MSIX_PENDING), count: 4 }),
  );
  return answer?.payload[regionAccess.sizeBytes] ?? -1;
}

describe("MSI-X", () => {
  test("sends no message while MSI-X Enable is clear", async () => {
    const event = await listen(VFIO_PCI_MSIX_IRQ_INDEX, 2);
    await write16(MSIX_CONTROL, 0);
    device.host?.raise(2);
    expect(event.take()).toBe(0);
    await write16(MSIX_CONTROL, MSIX_ENABLE);
    expect(event.take()).toBe(0);
    device.host?.raise(2);
    expect(event.take()).toBe(1);
  });

  test("sends no message while the function isn't bus master", async () => {
    const event = await listen(VFIO_PCI_MSIX_IRQ_INDEX, 0);
    await write16(COMMAND, 0);
    device.host?.raise(0);
    expect(event.take()).toBe(0);
    await write16(COMMAND, BUS_MASTER);
    device.host?.raise(0);
    expect(event.take()).toBe(1);
  });

  test("keeps the message of a masked vector as a pending bit until the vector is unmasked", async () => {
    const event = await listen(VFIO_PCI_MSIX_IRQ_INDEX, 3);
    await mask(3, true);
    device.host?.raise(3);
    device.host?.raise(3);
    expect([event.take(), await pendingBits()]).toEqual([0, 0b1000]);
    await mask(3, false);
    expect([event.take(), await pendingBits()]).toEqual([1, 0]);
  });

  test("keeps all messages under Function Mask, and sends them when it is cleared", async () => {
    const one = await listen(VFIO_PCI_MSIX_IRQ_INDEX, 1);
    const two = await listen(VFIO_PCI_MSIX_IRQ_INDEX, 2);
    await mask(2, true);
    await write16(MSIX_CONTROL, MSIX_ENABLE | FUNCTION_MASK);
    device.host?.raise(1);
    device.host?.raise(2);
    expect([one.take(), two.take(), await pendingBits()]).toEqual([0, 0, 0b110]);
    await write16(MSIX_CONTROL, MSIX_ENABLE);
    expect([one.take(), two.take(), await pendingBits()]).toEqual([1, 0, 0b100]);
  });

  test("forgets pending messages at a reset", async () => {
    const event = await listen(VFIO_PCI_MSIX_IRQ_INDEX, 0);
    await mask(0, true);
    device.host?.raise(0);
    expect(await client.errnoOf(Command.deviceReset)).toBe(0);
    await mask(0, false);
    expect([event.take(), await pendingBits()]).toEqual([0, 0]);
  });

  test("has pending bits that can't be written", async () => {
    await write(0, MSIX_PENDING, Uint8Array.of(0xff, 0xff, 0xff, 0xff));
    expect(await pendingBits()).toBe(0);
  });
});

describe("MSI", () => {
  test("sends no message while MSI Enable is clear, and uses as many vectors as are enabled", async () => {
    await write16(MSIX_CONTROL, 0);
    const events: EventFd[] = [];
    for (const vector of [0, 1, 2, 3]) events.push(await listen(VFIO_PCI_MSI_IRQ_INDEX, vector));
    const counts = (): number[] => events.map((event) => event.take());
    device.host?.raise(3, "msi");
    expect(counts()).toEqual([0, 0, 0, 0]);
    // Two of four.
    await write16(MSI_CONTROL, 0x0011);
    for (const vector of [0, 1, 2, 3]) device.host?.raise(vector, "msi");
    expect(counts()).toEqual([2, 2, 0, 0]);
  });
});

describe("the pin", () => {
  test("the pin is asserted only while neither MSI nor MSI-X is enabled", async () => {
    const event = await listen(VFIO_PCI_INTX_IRQ_INDEX, 0);
    device.host?.raise(0, "intx");
    expect(event.take()).toBe(0);
    await write16(MSIX_CONTROL, 0);
    device.host?.raise(0, "intx");
    expect(event.take()).toBe(1);
  });

  test("the pin waits while Interrupt Disable is set", async () => {
    await write16(MSIX_CONTROL, 0);
    await write16(COMMAND, BUS_MASTER | INTERRUPT_DISABLE);
    const event = await listen(VFIO_PCI_INTX_IRQ_INDEX, 0);
    device.host?.raise(0, "intx");
    expect(event.take()).toBe(0);
    await write16(COMMAND, BUS_MASTER);
    expect(event.take()).toBe(1);
  });
});

test("a device that raises an interrupt that it lacks gets an ArgumentError that names those it has", () => {
  const there = 'the device has vectors 0 to 3 of "msix", vectors 0 to 3 of "msi", vector 0 of "intx"';
  for (const [vector, kind] of [
    [20, "msix"],
    [4, "msi"],
    [1, "intx"],
    [-1, "msix"],
    [0.5, "msi"],
    [0, "msx" as "msix"],
  ] as const) {
    const raise = (): void => device.host?.raise(vector, kind);
    expect(raise).toThrow(ArgumentError);
    expect(raise).toThrow(`no interrupt ${vector} of "${kind}": ${there}`);
  }
  expect(() => device.host?.raise(4)).toThrow('no interrupt 4 of "msix"');
});

test("an interrupt without a kind is of the best kind that the device has", () => {
  const none = { intx: 0, msi: 0, msix: 0 };
  for (const [vectors, kind] of [
    [{ intx: 1, msi: 2, msix: 4 }, "msix"],
    [{ intx: 1, msi: 2, msix: 0 }, "msi"],
    [{ ...none, intx: 1 }, "intx"],
    [none, "msix"],
  ] as const)
    expect(bestKind(vectors)).toBe(kind);
});

test("a device whose vectors are not in its configuration space is refused", () => {
  for (const vectors of [
    { intx: 0, msi: 0, msix: 5 },
    { intx: 0, msi: 8, msix: 0 },
  ]) {
    const wrong: EmulatedDevice = Object.assign(new TestFunction(), { vectors });
    expect(() => new VfioUserServer(socketPath(), wrong)).toThrow(ArgumentError);
    wrong.close();
  }
});

describe("our driver, as a guest's would", () => {
  beforeAll(() => void compileEmulators());

  test.each([
    ["nvme", "msix", 0x11, 0x8000],
    ["edu", "msi", 0x05, 0x0001],
  ] as const)(
    "switches the messages of %s (%s) on in configuration space, and off",
    async (what, kind, id, bit) => {
      await using emulator = await emulate({ device: what, options: {} });
      using pci = PciDevice.open(emulator.address);
      const capability = pci.config.capabilities().find((one) => one.id === id);
      const control = (): number => pci.config.read16((capability?.offset ?? 0) + 2) & bit;
      expect(control()).toBe(0);
      const interrupts = pci.enableInterrupts({ kind });
      expect(control()).toBe(bit);
      pci.reset();
      expect(control()).toBe(bit);
      interrupts.close();
      expect(control()).toBe(0);
    },
  );

  test("our driver allows the pin while it uses it, and forbids it afterwards", async () => {
    await using emulator = await emulate({ device: "edu", options: {} });
    using pci = PciDevice.open(emulator.address);
    const interrupts = pci.enableInterrupts({ kind: "intx" });
    expect(pci.config.interruptDisable).toBe(false);
    interrupts.close();
    expect(pci.config.interruptDisable).toBe(true);
  });
});
