/** Memory that is exported as a dma-buf or udmabuf, and mapped by its descriptor. */
import { randomBytes } from "node:crypto";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { exportUdmabuf } from "../../../src/doors/dma.js";
import { exportDmaBuf, VfioDevice } from "../../../src/doors/vfio.js";
import {
  ArgumentError,
  bindToVfio,
  MappedMemory,
  PciDevice,
  StateError,
  UnsupportedError,
  type VfioBinding,
} from "../../../src/index.js";
import { Edu } from "../../support/edu.js";
import { sysError } from "../../support/errors.js";
import { expectDma } from "../../support/expect-dma.js";
import { eduBdf, nvmeBdf } from "../../support/functions.js";
import { expectNothingLeft } from "../../support/holdings.js";
import { provoke } from "../../support/provoke.js";

const PAGE = 4096;
const MIB = 1024 * 1024;
/** The default controller's memory buffer. */
const CMB_BAR = 2;
/** Region of the configuration space, and the command register in it. */
const CONFIG_SPACE = 7;
const COMMAND = 4;

const bindings: VfioBinding[] = [];
beforeAll(() => {
  for (const bdf of [eduBdf(), nvmeBdf()]) bindings.push(bindToVfio(bdf));
});
afterAll(() => {
  for (const binding of bindings) binding.close();
});

describe("a dma-buf without a view", () => {
  expectNothingLeft();

  test("can be mapped by iommufd, and can't be reached after the exporter's reset", async () => {
    provoke("vtd_dmar_fault");
    using edu = PciDevice.open(eduBdf(), { backend: "iommufd" });
    using nvme = PciDevice.open(nvmeBdf(), { dma: edu.dma });
    using memory = edu.dma.alloc(PAGE, { addressBits: 28 });
    const { io } = nvme;
    if (!(io instanceof VfioDevice)) throw new Error("expected a VFIO device");
    using exported = exportDmaBuf(io, CMB_BAR, [{ offset: 0, sizeBytes: 2 * PAGE }]);
    const { dma } = edu;
    const window = dma.mapDmaBuf(exported.fd, { offset: PAGE, addressBits: 28 });
    expect(window.sizeBytes).toBe(PAGE);
    const read = (): number[] => {
      const bytes = new Uint8Array(8);
      io.readRegion(CMB_BAR, PAGE, bytes);
      return [...bytes];
    };
    io.writeRegion(CMB_BAR, PAGE, new Uint8Array(64));
    const engine = new Edu(edu.io);
    memory.bytes.fill(0x6b, 0, 64);
    await engine.load(memory.iova, 64);
    await engine.store(window.iova, 64);
    expect(read()).toEqual(Array(8).fill(0x6b));

    nvme.reset();
    io.writeRegion(CMB_BAR, PAGE, new Uint8Array(64));
    await engine.store(window.iova, 64);
    expect(read()).toEqual(Array(8).fill(0));
    window.close();
    window.close();
    // Without memory decoding there is nothing to reach: mapping it is refused for as long.
    const command = new Uint8Array(2);
    io.readRegion(CONFIG_SPACE, COMMAND, command);
    io.writeRegion(CONFIG_SPACE, COMMAND, new Uint8Array(2));
    expect(() => dma.mapDmaBuf(exported.fd, { sizeBytes: PAGE })).toThrow(
      sysError("IOMMU_IOAS_MAP_FILE", "ENODEV", { hint: "the exporter has revoked the dma-buf" }),
    );
    io.writeRegion(CONFIG_SPACE, COMMAND, command);
    dma.mapDmaBuf(exported.fd, { sizeBytes: PAGE }).close();
    for (const wrong of [{ offset: 1 }, { sizeBytes: 100 }, { sizeBytes: 0 }, { offset: 2 * PAGE }]) {
      expect(() => dma.mapDmaBuf(exported.fd, wrong), JSON.stringify(wrong)).toThrow(ArgumentError);
    }
    expect(() => dma.mapDmaBuf(exported.fd, { sizeBytes: 4 * PAGE })).toThrow(
      sysError("IOMMU_IOAS_MAP_FILE", "EINVAL"),
    );
    expect(() => dma.mapDmaBuf(-1)).toThrow(ArgumentError);
    expect(() => dma.mapDmaBuf(999, { sizeBytes: PAGE })).toThrow(sysError("IOMMU_IOAS_MAP_FILE", "EBADF"));
  });

  test("can't be mapped by type1, whose error says which backend can", () => {
    using edu = PciDevice.open(eduBdf(), { backend: "type1" });
    expect(() => edu.dma.mapDmaBuf(0)).toThrow(UnsupportedError);
    expect(() => edu.dma.mapDmaBuf(0)).toThrow(/map the device's BAR/);
  });
});

describe("a udmabuf", () => {
  expectNothingLeft();

  test.each(["iommufd", "type1"] as const)(
    "shows what a device wrote to the memory through %s",
    async (backend) => {
      using device = PciDevice.open(eduBdf(), { backend });
      const edu = new Edu(device.io);
      using buffer = device.dma.alloc(4 * PAGE, { shared: true, addressBits: 28 });
      using whole = exportUdmabuf(buffer.memory);
      using half = exportUdmabuf(buffer.memory, { offset: 2 * PAGE, sizeBytes: 2 * PAGE });
      expect([whole.sizeBytes, half.sizeBytes]).toEqual([4 * PAGE, 2 * PAGE]);
      // Somebody else's view of it, by the descriptor alone.
      using view = MappedMemory.ofFile(half.fd, 0, half.sizeBytes, "a view of the udmabuf");
      await expectDma(edu, buffer, 0, 2 * PAGE);
      expect(Buffer.compare(view.bytes.subarray(0, 256), buffer.view(0, 256))).toBe(0);
      view.bytes.set(randomBytes(256), PAGE);
      expect(Buffer.compare(buffer.view(3 * PAGE, 256), view.bytes.subarray(PAGE, PAGE + 256))).toBe(0);
    },
  );

  test("keeps its pages after the memory is closed", () => {
    const memory = MappedMemory.memfd(PAGE);
    memory.bytes.fill(0x5a);
    using dmaBuf = exportUdmabuf(memory);
    memory.close();
    using view = MappedMemory.ofFile(dmaBuf.fd, 0, PAGE, "a view of the udmabuf");
    expect(view.bytes.every((byte) => byte === 0x5a)).toBe(true);
  });

  test("covers only the part of a memfd that is mapped", () => {
    using memory = MappedMemory.memfd(4 * PAGE);
    for (let page = 0; page < 4; page++) memory.bytes.fill(page + 1, page * PAGE, (page + 1) * PAGE);
    using part = MappedMemory.ofFile(memory.fd, PAGE, 3 * PAGE, "a part of a memfd");
    using dmaBuf = exportUdmabuf(part, { offset: PAGE });
    using view = MappedMemory.ofFile(dmaBuf.fd, 0, dmaBuf.sizeBytes, "a view of the udmabuf");
    expect([view.bytes[0], view.bytes[PAGE]]).toEqual([3, 4]);
  });

  test("is refused beyond the module's limit, and for a file that can be truncated", () => {
    const limit = "/sys/module/udmabuf/parameters/size_limit_mb";
    const before = readFileSync(limit, "utf8");
    writeFileSync(limit, "1");
    try {
      using memory = MappedMemory.memfd(2 * MIB);
      const refusal = sysError("UDMABUF_CREATE", "EINVAL", {
        object: "2097152 bytes of memfd of 2097152 bytes",
        hint: expect.stringContaining("size_limit_mb in /sys/module/udmabuf/parameters"),
      });
      expect(() => exportUdmabuf(memory)).toThrow(refusal);
      exportUdmabuf(memory, { sizeBytes: MIB }).close();
    } finally {
      writeFileSync(limit, before);
    }
    const folder = mkdtempSync("/dev/shm/iova-");
    try {
      const path = join(folder, "file");
      writeFileSync(path, Buffer.alloc(PAGE));
      const fd = openSync(path, "r+");
      using memory = MappedMemory.ofFile(fd, 0, PAGE, path);
      closeSync(fd);
      expect(() => exportUdmabuf(memory)).toThrow(sysError("UDMABUF_CREATE", "EINVAL"));
      expect(() => exportUdmabuf(memory)).toThrow("sealed against shrinking");
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test("can't be mapped by iommufd, whose error says what can", () => {
    using device = PciDevice.open(eduBdf(), { backend: "iommufd" });
    using memory = MappedMemory.memfd(PAGE);
    using dmaBuf = exportUdmabuf(memory);
    expect(() => device.dma.mapDmaBuf(dmaBuf.fd)).toThrow(UnsupportedError);
    expect(() => device.dma.mapDmaBuf(dmaBuf.fd)).toThrow("map a udmabuf's memfd instead");
    device.dma.map(memory).close();
  });

  test("consists of whole pages of a memfd", () => {
    using anonymous = MappedMemory.anonymous(PAGE);
    expect(() => exportUdmabuf(anonymous)).toThrow(StateError);
    using memory = MappedMemory.memfd(2 * PAGE);
    for (const options of [
      { offset: 1 },
      { sizeBytes: 0 },
      { sizeBytes: 100 },
      { offset: PAGE, sizeBytes: 2 * PAGE },
      { offset: 2 * PAGE },
    ]) {
      expect(() => exportUdmabuf(memory, options)).toThrow(ArgumentError);
    }
  });
});
