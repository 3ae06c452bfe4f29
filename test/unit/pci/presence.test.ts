/** The device's signal and its events: the device goes, is requested back, reports an error, comes back, or closes. */
import { beforeAll, describe, expect, test } from "vitest";
import { bit, reg32, registerBlock } from "../../../src/doors/pci.js";
import type { DeviceInfo, DeviceIo, IrqInfo, RegionInfo } from "../../../src/doors/vfio.js";
import {
  type DevicePresence,
  VFIO_PCI_CONFIG_REGION_INDEX,
  VFIO_PCI_ERR_IRQ_INDEX,
  VFIO_PCI_REQ_IRQ_INDEX,
} from "../../../src/doors/vfio.js";
import type { RunningEmulator } from "../../../src/emulator/worker.js";
import {
  Bar,
  ClosedError,
  DeviceGoneError,
  DeviceRequestedError,
  Interrupts,
  PciDevice,
} from "../../../src/index.js";
import { presenceOf } from "../../../src/pci/presence.js";
import type { MappedMemory } from "../../../src/sys/memory.js";
import { write } from "../../../src/sys/syscalls.js";
import { caught } from "../../support/caught.js";
import { EduRegister } from "../../support/edu.js";
import { useEmulatedEdu } from "../../support/emulated-edu.js";
import { compileEmulators, emulate, socketPath } from "../../support/emulators.js";
import { drop, useForgottenWarnings } from "../../support/forgotten.js";

beforeAll(() => void compileEmulators());

/** Of the ids in configuration space, which Linux answers from its copy when the device has gone. */
const IDS_BYTES = 4;

/** A device whose kernel gives notices, and whose configuration space can read all ones. */
class NoticingIo implements DeviceIo {
  readonly lease;
  isRemoved = false;
  private readonly notices = new Map<number, number>();

  constructor(private readonly io: DeviceIo) {
    this.lease = io.lease;
  }

  notice(index: number): void {
    const fd = this.notices.get(index);
    if (fd === undefined) throw new Error(`nothing listens to ${index}`);
    write(fd, BigUint64Array.of(1n));
  }

  info(): DeviceInfo {
    return this.io.info();
  }
  regionInfo(index: number): RegionInfo {
    return this.io.regionInfo(index);
  }
  readRegion(index: number, offset: number, target: Uint8Array): void {
    const isCopy = index === VFIO_PCI_CONFIG_REGION_INDEX && offset < IDS_BYTES;
    if (this.isRemoved && !isCopy) target.fill(0xff);
    else this.io.readRegion(index, offset, target);
  }
  writeRegion(index: number, offset: number, source: Uint8Array): void {
    this.io.writeRegion(index, offset, source);
  }
  mapRegion(index: number, offset: number, sizeBytes: number): MappedMemory {
    return this.io.mapRegion(index, offset, sizeBytes);
  }
  irqInfo(index: number): IrqInfo {
    const info = this.io.irqInfo(index);
    return index < VFIO_PCI_ERR_IRQ_INDEX ? info : { ...info, count: 1, eventfd: true };
  }
  setIrqEventfds(index: number, start: number, fds: readonly number[]): void {
    const [fd] = fds;
    if (index < VFIO_PCI_ERR_IRQ_INDEX) this.io.setIrqEventfds(index, start, fds);
    else if (fd !== undefined) this.notices.set(index, fd);
  }
  disableIrq(index: number): void {
    this.io.disableIrq(index);
  }
  actOnIrq(index: number, action: "mask" | "unmask" | "trigger", start: number, count: number): void {
    this.io.actOnIrq(index, action, start, count);
  }
  reset(): void {
    this.io.reset();
  }
}

const Registers = registerBlock("edu", { status: reg32(0x20, { fields: { never: bit(9) } }) });

describe("the signal of a device", () => {
  let device: PciDevice;
  let emulator: RunningEmulator;
  useEmulatedEdu((made) => {
    ({ device, emulator } = made);
  });
  const eventsOf = (io: DeviceIo): DevicePresence["kind"][] => {
    const kinds: DevicePresence["kind"][] = [];
    presenceOf(io).on(({ kind }) => kinds.push(kind), {});
    return kinds;
  };
  const aborted = (signal: AbortSignal): Promise<unknown> =>
    new Promise((resolve) => signal.addEventListener("abort", () => resolve(signal.reason)));

  test("is always the same and aborts with a ClosedError when the device closes", () => {
    const { signal } = device;
    expect(device.signal).toBe(signal);
    expect(signal.aborted).toBe(false);
    device.close();
    expect(signal.reason).toBeInstanceOf(ClosedError);
  });

  test("is aborted from the start if the device has closed", () => {
    device.close();
    expect(device.signal.reason).toBeInstanceOf(ClosedError);
  });

  test("aborts with a DeviceGoneError when the server ends, and so does each wait", async () => {
    const reason = aborted(device.signal);
    const { status } = Registers.on(device.bar(0));
    const wake = () => ({ close: () => {} });
    const wait = caught(status.until({ never: true }, { timeoutMs: 600_000, wake }));
    await emulator.close();
    expect(await reason).toBeInstanceOf(DeviceGoneError);
    expect(await wait).toBeInstanceOf(DeviceGoneError);
    expect(device.signal.reason).toBeInstanceOf(DeviceGoneError);
  });

  test("is aborted from the start if the device has gone before it was asked for", async () => {
    await emulator.close();
    await expect.poll(() => device.signal.reason).toBeInstanceOf(DeviceGoneError);
  });

  test("aborts when the kernel requests the device back, and so does each wait; later waits can still stop it", async () => {
    const io = new NoticingIo(device.io);
    const events = eventsOf(io);
    const { signal } = presenceOf(io);
    using interrupts = new Interrupts(io);
    const [vector] = interrupts.vectors;
    const wait = caught(vector?.once() ?? Promise.resolve());
    const register = caught(
      Registers.on(new Bar(io, 0)).status.until({ never: true }, { timeoutMs: 600_000, everyMs: 1000 }),
    );
    io.notice(VFIO_PCI_REQ_IRQ_INDEX);
    expect(await wait).toBeInstanceOf(DeviceRequestedError);
    expect(await register).toBeInstanceOf(DeviceRequestedError);
    expect(signal.reason).toBeInstanceOf(DeviceRequestedError);
    expect(presenceOf(io).signal.aborted).toBe(true);
    const stopping = vector?.once();
    io.notice(VFIO_PCI_REQ_IRQ_INDEX);
    await expect.poll(() => events).toEqual(["requested", "requested"]);
    vector?.trigger();
    expect(await stopping).toBe(1);
  });

  test("aborts with a DeviceGoneError if the device that is requested reads all ones", async () => {
    const io = new NoticingIo(device.io);
    const events = eventsOf(io);
    using interrupts = new Interrupts(io);
    const [vector] = interrupts.vectors;
    io.notice(VFIO_PCI_REQ_IRQ_INDEX);
    await expect.poll(() => events).toEqual(["requested"]);
    const stopping = caught(vector?.once() ?? Promise.resolve());
    io.isRemoved = true;
    io.notice(VFIO_PCI_REQ_IRQ_INDEX);
    expect(await stopping).toBeInstanceOf(DeviceGoneError);
    expect(events).toEqual(["requested", "requested", "gone"]);
  });

  test("aborts when a wait finds registers and configuration space of all ones", async () => {
    const io = new NoticingIo(device.io);
    const { signal } = presenceOf(io);
    io.isRemoved = true;
    const { status } = Registers.on(new Bar(io, 0));
    const never = (value: number): boolean => value === 1;
    expect(await caught(status.until(never, { timeoutMs: 600_000 }))).toBeInstanceOf(DeviceGoneError);
    expect(signal.reason).toBeInstanceOf(DeviceGoneError);
    io.isRemoved = false;
    expect(new Bar(io, 0).isGone()).toBe(true);
    expect(new Bar(io, 0).waitSignal().reason).toBeInstanceOf(DeviceGoneError);
  });

  test("aborts when once() reaches its limit and the device has gone", async () => {
    const io = new NoticingIo(device.io);
    using interrupts = new Interrupts(io);
    io.isRemoved = true;
    const [vector] = interrupts.vectors;
    expect(await caught(vector?.once({ timeoutMs: 1 }) ?? Promise.resolve())).toBeInstanceOf(DeviceGoneError);
    io.isRemoved = false;
  });

  test("doesn't abort for an error of the bus, which is an event", async () => {
    const io = new NoticingIo(device.io);
    const events = eventsOf(io);
    const { signal } = presenceOf(io);
    io.notice(VFIO_PCI_ERR_IRQ_INDEX);
    await expect.poll(() => events).toEqual(["error"]);
    expect(signal.aborted).toBe(false);
  });
});

test("a device that comes back has a new signal", async () => {
  const socket = socketPath();
  const start = () => emulate({ device: "edu", options: {}, socket });
  const first = await start();
  const device = PciDevice.open(first.address, {
    vfioUser: { reconnect: { firstPauseMs: 1, longestPauseMs: 20 } },
  });
  const before = device.signal;
  const back = new Promise<void>((resolve) => {
    device.onPresence(({ kind }) => {
      if (kind === "back") resolve();
    });
  });
  await first.close();
  const second = await start();
  await back;
  expect(before.reason).toBeInstanceOf(DeviceGoneError);
  expect(device.signal).not.toBe(before);
  expect(device.signal.aborted).toBe(false);
  expect(device.bar(0).read32(EduRegister.identification)).toBe(0x0100_00ed);
  device.close();
  await second.close();
});

describe("a device that a program forgets", () => {
  const forgotten = useForgottenWarnings();

  test("is collected although listeners and its signal's handlers use it", async () => {
    const emulator = await emulate({ device: "edu", options: {} });
    drop(() => {
      const device = PciDevice.open(emulator.address);
      device.onPresence(() => device.close());
      device.signal.addEventListener("abort", () => device.close());
    });
    expect(await forgotten.warned(/^PCI device .* was never closed/)).toBe(true);
    await emulator.close();
  });
});
