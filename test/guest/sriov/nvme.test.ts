/**
 * A virtual function of a controller whose physical function is VFIO's: opened with the token of the physical one, given
 * queues and vectors by it, and used like any other controller.
 */
import { randomFillSync, randomUUID } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import {
  ArgumentError,
  bindToVfio,
  ConfigError,
  NvmeController,
  type NvmeOptions,
  PciDevice,
  readPciFunction,
  SysError,
  UnsupportedError,
  type VfioBinding,
} from "../../../src/index.js";
import { driverOf } from "../../../src/pci/sysfs.js";
import { caught } from "../../support/caught.js";
import { nvmeBdf, sriovNvmeBdf } from "../../support/functions.js";
import { expectNothingLeftSoon } from "../../support/holdings-soon.js";
import { iovaJson } from "../../support/nvme-cli.js";
import { backends, bindGroup } from "../../support/nvme-machine.js";

const ENABLE_SRIOV = "/sys/module/vfio_pci/parameters/enable_sriov";
const BYTES = 64 * 1024;

let enabled = "";
const bindings: { close(): void }[] = [];

beforeAll(() => {
  enabled = readFileSync(ENABLE_SRIOV, "utf8").trim();
  writeFileSync(ENABLE_SRIOV, "Y");
  const binding: VfioBinding = bindToVfio(sriovNvmeBdf());
  bindings.push(binding, bindGroup(nvmeBdf()));
});
afterEach(() => expect(readPciFunction(sriovNvmeBdf()).virtualFunctions).toEqual([]));
afterAll(() => {
  for (const binding of bindings) binding.close();
  writeFileSync(ENABLE_SRIOV, enabled);
});
expectNothingLeftSoon();

/** Makes the first virtual function, which closes with its physical one, and lets its controller work. @returns its address */
async function bringUp(pf: NvmeController): Promise<string> {
  const [vf = ""] = (await pf.device.createVirtualFunctions(1)).addresses;
  expect(driverOf(vf)).toBe("vfio-pci");
  const { virtualization } = pf;
  const secondary = await virtualization.ofVirtualFunction(1);
  if (secondary === undefined) throw new Error("no secondary controller");
  await virtualization.assignMost(secondary.scid);
  await virtualization.online(secondary.scid);
  return vf;
}

describe.each(backends)("a virtual function through %s", (backend) => {
  test.each(["interrupt", "poll"] as const)(
    "reads and writes its namespace, completions by %s",
    async (completion) => {
      const vfToken = randomUUID();
      await using pf = await NvmeController.open(sriovNvmeBdf(), { backend, vfToken });
      const address = await bringUp(pf);
      await using vf = await NvmeController.open(address, { backend, vfToken, completion });
      expect(vf.backend).toBe(backend);
      expect(vf.identify.cntlid).not.toBe(pf.identify.cntlid);
      expect(vf.identify.subnqn).toBe(pf.identify.subnqn);

      const [ours, theirs] = [await vf.namespace(1), await pf.namespace(1)];
      using source = vf.dma.alloc(BYTES);
      using target = vf.dma.alloc(BYTES);
      using other = pf.dma.alloc(BYTES);
      randomFillSync(source.bytes);
      const pieces = Array.from({ length: 16 }, (_, i) => ({ offset: (i * BYTES) / 16, length: BYTES / 16 }));
      const lba = (offset: number): bigint => BigInt(offset / ours.blockSizeBytes);
      await Promise.all(pieces.map((piece) => ours.write(lba(piece.offset), source, piece)));
      await Promise.all(pieces.map((piece) => ours.read(lba(piece.offset), target, piece)));
      expect(Buffer.compare(target.bytes, source.bytes)).toBe(0);
      // The physical one has the same namespace.
      await theirs.read(0n, other);
      expect(Buffer.compare(other.bytes, source.bytes)).toBe(0);
      randomFillSync(other.bytes);
      await theirs.write(0n, other);
      await ours.read(0n, target);
      expect(Buffer.compare(target.bytes, other.bytes)).toBe(0);
      // It is a controller of its own.
      await vf.reset();
      await ours.write(1n, source);
      await theirs.read(1n, other);
      expect(Buffer.compare(other.bytes, source.bytes)).toBe(0);
    },
  );

  test("opens only with its physical function's token, which can be changed", async () => {
    const [first, second] = [randomUUID(), randomUUID()];
    await using pf = await NvmeController.open(sriovNvmeBdf(), { backend, vfToken: first });
    const address = await bringUp(pf);
    const call = backend === "iommufd" ? "VFIO_DEVICE_BIND_IOMMUFD" : "VFIO_GROUP_GET_DEVICE_FD";
    const refused = async (options: NvmeOptions): Promise<void> => {
      const error = await caught(NvmeController.open(address, { backend, ...options }));
      expect(error).toBeInstanceOf(SysError);
      expect(error).toMatchObject({
        syscall: call,
        code: "EACCES",
        message: expect.stringContaining("vfToken"),
      });
    };
    await refused({});
    await refused({ vfToken: second });
    // Whatever backend: each one's reason is told.
    const none = await caught(NvmeController.open(address));
    expect(none).toBeInstanceOf(UnsupportedError);
    expect(none.message).toContain("vfToken");

    pf.device.setVfToken(second);
    await refused({ vfToken: first });
    expect(await iovaJson("identify", address, "--backend", backend, "--vf-token", second)).toMatchObject({
      subnqn: pf.identify.subnqn,
    });
    using device = PciDevice.open(address, { backend, vfToken: second });
    expect(device.function.classCode).toBe(pf.device.function.classCode);
  });

  test("joins its physical function's address space with the token", async () => {
    const vfToken = randomUUID();
    await using pf = await NvmeController.open(sriovNvmeBdf(), { backend, vfToken });
    const address = await bringUp(pf);
    expect(await caught(NvmeController.open(address, { dma: pf.dma }))).toMatchObject({ code: "EACCES" });
    await using vf = await NvmeController.open(address, { dma: pf.dma, vfToken });
    using buffer = pf.dma.alloc(4096);
    randomFillSync(buffer.bytes);
    const before = Buffer.from(buffer.bytes);
    await (await vf.namespace(1)).write(8n, buffer);
    buffer.bytes.fill(0);
    await (await pf.namespace(1)).read(8n, buffer);
    expect(Buffer.compare(buffer.bytes, before)).toBe(0);
  });
});

describe("a VF token", () => {
  test("is checked before anything is opened, and rejected for a device that needs none", async () => {
    expect(await caught(NvmeController.open(nvmeBdf(), { vfToken: "secret" }))).toBeInstanceOf(ConfigError);
    expect(() => PciDevice.open(nvmeBdf(), { vfToken: "secret" })).toThrow(ArgumentError);
    expect(() => PciDevice.open(nvmeBdf(), { vfToken: randomUUID(), backend: "iommufd" })).toThrow("EINVAL");
    using device = PciDevice.open(nvmeBdf());
    expect(() => device.setVfToken(randomUUID())).toThrow(UnsupportedError);
    expect(() => device.setVfToken("secret")).toThrow(ArgumentError);
  });
});
