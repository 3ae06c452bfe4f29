/** Controllers that leave the machine while commands are outstanding. */
import { once } from "node:events";
import { existsSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import {
  bindToVfio,
  ClosedError,
  DeviceGoneError,
  type DmaBuffer,
  listPciFunctions,
  NvmeController,
} from "../../../src/index.js";
import { caught } from "../../support/caught.js";
import { expectNothingLeftSoon } from "../../support/holdings-soon.js";
import { QemuMonitor } from "../../support/qemu-monitor.js";
import { cutPower } from "../../support/root-port.js";

const NVME = 0x010802;
/** Ends only what never comes. */
const LIMIT_MS = 540_000;
const OUTSTANDING = 64;

/** The controller behind the root port in this slot. @returns the port's address and its own */
function behind(slot: string): { port: string; bdf: string } {
  const port = `0000:00:${slot}`;
  const found = listPciFunctions().find(
    ({ bdf, classCode }) => classCode === NVME && existsSync(`/sys/bus/pci/devices/${port}/${bdf}`),
  );
  if (found === undefined) throw new Error(`this machine has no controller behind ${port}`);
  return { port, bdf: found.bdf };
}

let monitor: QemuMonitor;
beforeAll(async () => {
  monitor = await QemuMonitor.open();
});
afterAll(() => monitor.close());

/** Reads without end into a buffer each. @returns their buffers and their ends, once all of them have begun to flow */
async function load(nvme: NvmeController): Promise<{ buffers: DmaBuffer[]; ends: Promise<unknown>[] }> {
  const ns = await nvme.namespace(1);
  const buffers = Array.from({ length: OUTSTANDING }, () => nvme.dma.alloc(65536));
  let done = 0;
  const endless = async (buffer: DmaBuffer, i: number): Promise<never> => {
    for (;;) {
      await ns.read(BigInt(i * 128), buffer);
      done++;
    }
  };
  const ends = buffers.map((buffer, i) => caught(endless(buffer, i)));
  while (done < 3 * OUTSTANDING) await new Promise((resolve) => setImmediate(resolve));
  return { buffers, ends };
}

/** The kernel can take it away, which waits for as long as any descriptor of it is open. */
async function expectFree(id: string, bdf: string): Promise<void> {
  const folder = `/sys/bus/pci/devices/${bdf}`;
  await monitor.deleted(id);
  // Whoever took the power knows what is in the slot: the kernel's driver waits for no news of it.
  if (id.startsWith("pulled")) writeFileSync(`${folder}/remove`, "1");
  await vi.waitFor(() => expect(existsSync(folder)).toBe(false), { timeout: LIMIT_MS, interval: 20 });
}

describe("a controller under load", () => {
  expectNothingLeftSoon();

  test.each([
    { how: "pulled out", id: "pulled-iommufd", slot: "10.0", backend: "iommufd", take: cutPower },
    { how: "pulled out", id: "pulled-type1", slot: "11.0", backend: "type1", take: cutPower },
    {
      how: "deleted from the machine",
      id: "deleted",
      slot: "12.0",
      backend: "iommufd",
      take: (_: string, id: string) => monitor.run("device_del", { id }),
    },
  ] as const)(
    "rejects every promise with a DeviceGoneError when it is $how, through $backend",
    async (way) => {
      const { port, bdf } = behind(way.slot);
      using _binding = bindToVfio(bdf);
      await using nvme = await NvmeController.open(bdf, {
        backend: way.backend,
        queues: 4,
        completion: "interrupt",
        // Not by its time limit: that is longer than the test's.
        timeoutMs: 600_000,
      });
      const { buffers, ends } = await load(nvme);
      const event = caught(nvme.admin({ name: "event", opcode: 0x0c, background: true }));
      const failure = once(nvme.lifecycle, "failure");
      const failed = once(nvme.lifecycle, "failed");
      await way.take(port, way.id);
      // Deleting takes the kernel some seconds, in which it may be told to think better of it.
      if (way.take !== cutPower) await failure;
      for (const error of await Promise.all([...ends, event])) expect(error).toBeInstanceOf(DeviceGoneError);
      await failed;
      expect(await caught(nvme.logs.smart())).toBeInstanceOf(DeviceGoneError);
      for (const buffer of buffers) buffer.close();
      await nvme.close();
      await expectFree(way.id, bdf);
    },
  );

  test("lets a program that listens end its work in order when it is deleted from the machine, through type1", async () => {
    const { bdf } = behind("13.0");
    using _binding = bindToVfio(bdf);
    await using nvme = await NvmeController.open(bdf, { backend: "type1", queues: 4 });
    const { ends } = await load(nvme);
    const removal = once(nvme.lifecycle, "removal");
    await monitor.run("device_del", { id: "listened" });
    await removal;
    const ns = await nvme.namespace(1);
    using buffer = nvme.dma.alloc(512);
    const last = ns.read(0n, buffer);
    expect(nvme.lifecycle.state).toBe("live");
    await nvme.close();
    await last;
    for (const error of await Promise.all(ends)) expect(error).toBeInstanceOf(ClosedError);
    await expectFree("listened", bdf);
  });
});
