/** What only this machine has: a controller that is pulled out under load, a CMB and a PMR. */

import { once } from "node:events";
import { closeSync, openSync, readFileSync, writeSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import {
  bindToVfio,
  DeviceGoneError,
  type DmaBuffer,
  NvmeController,
  type VfioBinding,
} from "../../../src/index.js";
import { listPciFunctions } from "../../../src/pci/sysfs.js";
import { nvmeBdf } from "../../support/functions.js";

vi.setConfig({ testTimeout: 180_000 });

const NVME = 0x010802;
const device = (bus: RegExp): string => {
  const found = listPciFunctions().find(({ bdf, classCode }) => classCode === NVME && bus.test(bdf));
  if (found === undefined) throw new Error("this machine has no such controller");
  return found.bdf;
};

/** Takes the power of a root port's slot: the device is gone at once, as when it is pulled out. */
function cutPower(port: string): void {
  const path = `/sys/bus/pci/devices/${port}/config`;
  const config = readFileSync(path);
  const EXPRESS = 0x10;
  let at = config[0x34] ?? 0;
  while (config[at] !== EXPRESS) at = config[at + 1] ?? 0;
  const control = at + 0x18;
  // Power indicator off, power controller off.
  const value = config.readUInt16LE(control) | (3 << 8) | (1 << 10);
  const patch = Buffer.alloc(2);
  patch.writeUInt16LE(value);
  writeAt(path, patch, control);
}

function writeAt(path: string, bytes: Buffer, position: number): void {
  const fd = openSync(path, "r+");
  writeSync(fd, bytes, 0, bytes.length, position);
  closeSync(fd);
}

describe.each([
  ["iommufd", "0000:00:13.0", /^0000:01:/],
  ["type1", "0000:00:14.0", /^0000:02:/],
] as const)("a controller that is pulled out under load, through %s", (backend, port, bus) => {
  it("every promise settles within a second with DeviceGoneError, and the process goes on", async () => {
    const bdf = device(bus);
    const binding = bindToVfio(bdf);
    const nvme = await NvmeController.open(bdf, { backend, queues: 4, completion: "interrupt" });
    const ns = await nvme.namespace(1);
    const buffers = Array.from({ length: 64 }, () => nvme.dma.alloc(65536));
    let done = 0;
    const ends = buffers.map(async (buffer, i): Promise<unknown> => {
      try {
        for (;;) {
          await ns.read(BigInt(i * 128), buffer);
          await ns.write(BigInt(i * 128), buffer);
          done++;
        }
      } catch (error) {
        return error;
      }
    });
    const event = nvme
      .admin({ name: "event", opcode: 0x0c, background: true })
      .catch((error: unknown) => error);
    while (done < 500) await new Promise((resolve) => setImmediate(resolve));
    const failed = once(nvme.lifecycle, "failed");
    cutPower(port);
    const from = performance.now();
    for (const error of await Promise.all(ends)) expect(error).toBeInstanceOf(DeviceGoneError);
    expect(await event).toBeInstanceOf(DeviceGoneError);
    await failed;
    // The demand of issue 6, with room for a machine that is busy.
    expect(performance.now() - from).toBeLessThan(5000);
    for (const buffer of buffers) buffer.close();
    await nvme.close();
    binding.close();
  });
});

describe("memory on a controller of QEMU's", () => {
  let bindings: VfioBinding[] = [];
  const pmrBdf = (): string => device(/:12\.0$/);
  beforeAll(() => {
    bindings = [bindToVfio(nvmeBdf()), bindToVfio(pmrBdf())];
  });
  afterAll(() => {
    for (const binding of bindings) binding.close();
  });

  /** Word by word: the virtual machine carries out nothing wider on a CMB. */
  function words(buffer: DmaBuffer, count: number): number[] {
    return Array.from({ length: count }, (_, i) => buffer.memory.words[i] ?? 0);
  }

  it("CMB: data and both rings of a queue pair", async () => {
    await using nvme = await NvmeController.open(nvmeBdf());
    const cmb = nvme.controllerMemoryBuffer();
    expect(cmb.sizeBytes).toBeGreaterThan(0);
    const ns = await nvme.namespace(1);
    using source = nvme.dma.alloc(4096);
    using target = nvme.dma.alloc(4096);
    using inCmb = cmb.alloc(4096);
    for (let i = 0; i < 1024; i++) source.memory.words[i] = i * 0x9e37;
    await ns.write(0n, source);
    await ns.read(0n, inCmb);
    expect(words(inCmb, 1024)).toEqual(words(source, 1024));
    await ns.write(64n, inCmb);
    await ns.read(64n, target);
    expect(Buffer.compare(target.bytes, source.bytes)).toBe(0);
    using submission = cmb.alloc(16 * 64);
    using completion = cmb.alloc(16 * 16);
    const queue = await nvme.createQueuePair({ entries: 16, memory: { submission, completion } });
    for (let i = 0; i < 40; i++) await ns.read(0n, target, { queue });
    await nvme.deleteQueuePair(queue);
    expect(nvme.lifecycle.state).toBe("live");
  });

  it("PMR: data that commands bring there and take away", async () => {
    await using nvme = await NvmeController.open(pmrBdf());
    const pmr = await nvme.persistentMemoryRegion();
    expect(pmr.sizeBytes).toBe(16 * 1024 * 1024);
    const ns = await nvme.namespace(1);
    using source = nvme.dma.alloc(4096);
    using target = nvme.dma.alloc(4096);
    using inPmr = pmr.alloc(8192);
    for (let i = 0; i < 1024; i++) source.memory.words[i] = i * 0x6b43;
    await ns.write(0n, source);
    if (pmr.properties.inCommands) {
      await ns.read(0n, inPmr, { length: 4096 });
      expect(words(inPmr, 1024)).toEqual(words(source, 1024));
      await ns.write(64n, inPmr, { length: 4096 });
      await ns.read(64n, target);
      expect(Buffer.compare(target.bytes, source.bytes)).toBe(0);
    }
    pmr.flush();
    await nvme.reset();
    pmr.flush();
  });

  it("shadow doorbells, weighed against plain ones: the same data", async () => {
    await using nvme = await NvmeController.open(nvmeBdf(), { shadowDoorbells: true });
    expect(nvme.usesShadowDoorbells).toBe(true);
    const ns = await nvme.namespace(1);
    using source = nvme.dma.alloc(64 * 512);
    using target = nvme.dma.alloc(64 * 512);
    for (let round = 0; round < 3; round++) {
      source.bytes.fill(round + 1);
      const part = (i: number) => ({ offset: i * 512, length: 512 });
      await Promise.all(Array.from({ length: 64 }, (_, i) => ns.write(BigInt(i), source, part(i))));
      await Promise.all(Array.from({ length: 64 }, (_, i) => ns.read(BigInt(i), target, part(i))));
      expect(Buffer.compare(target.bytes, source.bytes)).toBe(0);
      await nvme.reset();
    }
  });
});
