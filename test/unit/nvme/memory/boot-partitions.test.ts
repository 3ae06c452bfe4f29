/** Boot partitions read by registers: from the emulated controller, and from one that fails or never answers. */
import { randomBytes } from "node:crypto";
import { afterEach, expect, test } from "vitest";
import { DmaSpace } from "../../../../src/dma/space.js";
import {
  ArgumentError,
  DeviceGoneError,
  IovaError,
  TimeoutError,
  UnsupportedError,
} from "../../../../src/index.js";
import { NvmeBootPartitions } from "../../../../src/nvme/memory/boot-partitions.js";
import { BootPartitionProtection, Feature } from "../../../../src/nvme/spec/features.js";
import { NvmeRegister } from "../../../../src/nvme/spec/registers.js";
import { NvmeStatus } from "../../../../src/nvme/spec/status.js";
import { caught } from "../../../support/caught.js";
import { openController, useEmulatedNvme } from "../../../support/emulated-nvme.js";
import { IdentityMapper } from "../../../support/identity-mapper.js";
import { NvmeTestHost } from "../../../support/nvme-host.js";

useEmulatedNvme();

const KIB = 1024;
const { unlocked, locked, untilPowerCycle, byRpmb } = BootPartitionProtection;
const prohibited = { statusCodeType: 1, statusCode: NvmeStatus.bootPartitionWriteProhibited & 0xff };

const spaces: DmaSpace[] = [];
afterEach(() => {
  for (const space of spaces.splice(0)) space.close();
});

test("a boot partition is read whole or in part, and two reads at once don't mix", async () => {
  const nvme = await openController({ bootPartitionBytes: 640 * KIB });
  expect(nvme.capabilities.bps).toBe(true);
  expect(nvme.bootPartitions.properties).toEqual({ sizeBytes: 640 * KIB, active: 0 });
  await nvme.features.write(Feature.bootPartitionWriteProtection, { partition1: unlocked });
  const image = randomBytes(640 * KIB);
  await nvme.firmware.download(image);
  await nvme.firmware.commit("replaceBootPartition", { bootPartition: 1 });
  await nvme.firmware.commit("activateBootPartition", { bootPartition: 1 });
  expect(nvme.bootPartitions.properties.active).toBe(1);
  const [whole, part, other] = await Promise.all([
    nvme.bootPartitions.read(1),
    nvme.bootPartitions.read(1, { offset: 8 * KIB, length: 300 * KIB }),
    nvme.bootPartitions.read(0),
  ]);
  expect(image.equals(whole)).toBe(true);
  expect(image.subarray(8 * KIB, 308 * KIB).equals(part)).toBe(true);
  expect(other.every((byte) => byte === 0)).toBe(true);
  expect(await nvme.bootPartitions.read(0, { offset: 640 * KIB })).toHaveLength(0);
});

test("wrong arguments are refused before a register is written, and so is a controller without boot partitions", async () => {
  const nvme = await openController({ bootPartitionBytes: 128 * KIB });
  const { bootPartitions } = nvme;
  const two: number = 2;
  for (const wrong of [
    () => bootPartitions.read(two === 0 ? 0 : (two as 1)),
    () => bootPartitions.read(0, { offset: 100 }),
    () => bootPartitions.read(0, { length: 100 }),
    () => bootPartitions.read(0, { offset: 64 * KIB, length: 128 * KIB }),
    () => bootPartitions.read(0, { timeoutMs: 0 }),
  ]) {
    expect(await caught(wrong())).toBeInstanceOf(ArgumentError);
  }
  const without = await openController();
  expect(await caught(without.bootPartitions.read(0))).toBeInstanceOf(UnsupportedError);
  expect(await caught((async () => without.bootPartitions.properties)())).toBeInstanceOf(UnsupportedError);
});

test("RPMB target 0 locks boot partitions", async () => {
  const key = randomBytes(32);
  const nvme = await openController({ bootPartitionBytes: 128 * KIB, rpmbTargets: 1 });
  expect(nvme.identify.bpcap).toBe(2);
  const rpmb = nvme.security.rpmb();
  await rpmb.programKey(key);
  await rpmb.writeConfiguration({ bootPartitionProtection: 1, bootPartition0Locked: 1 }, key);
  await nvme.firmware.download(new Uint8Array(4096).fill(1));
  const refused = await caught(nvme.firmware.commit("replaceBootPartition"));
  expect(refused).toMatchObject(prohibited);
  await nvme.firmware.commit("replaceBootPartition", { bootPartition: 1 });
  expect((await nvme.bootPartitions.read(1))[0]).toBe(1);
  const before = await caught(nvme.features.read(Feature.bootPartitionWriteProtection));
  expect(before).toMatchObject({ statusCode: NvmeStatus.invalidField });
  await rpmb.writeConfiguration({ bootPartitionProtection: 1 }, key);
  await nvme.firmware.download(new Uint8Array(4096).fill(2));
  await nvme.firmware.commit("replaceBootPartition");
  expect((await nvme.bootPartitions.read(0))[0]).toBe(2);
  await nvme.reset();
  await nvme.firmware.download(new Uint8Array(4096).fill(3));
  expect(await caught(nvme.firmware.commit("replaceBootPartition"))).toMatchObject(prohibited);
  expect((await nvme.bootPartitions.read(0))[0]).toBe(2);
});

test("boot partitions are locked until Set Features unlocks them, and some until the next power cycle", async () => {
  const nvme = await openController({ bootPartitionBytes: 128 * KIB });
  expect(nvme.identify.bpcap).toBe(5);
  const feature = Feature.bootPartitionWriteProtection;
  const commit = async (bootPartition: 0 | 1): Promise<unknown> => {
    await nvme.firmware.download(new Uint8Array(4096).fill(1));
    return await nvme.firmware.commit("replaceBootPartition", { bootPartition });
  };
  expect(await nvme.features.read(feature)).toEqual({ partition0: locked, partition1: locked });
  expect(await caught(commit(0))).toMatchObject(prohibited);
  expect(await caught(nvme.firmware.commit("activateBootPartition", { bootPartition: 1 }))).toMatchObject(
    prohibited,
  );
  await nvme.features.write(feature, { partition0: unlocked, partition1: untilPowerCycle });
  await nvme.reset();
  expect(await nvme.features.read(feature)).toEqual({ partition0: unlocked, partition1: untilPowerCycle });
  expect(await nvme.features.read(feature, { select: "default" })).toEqual({
    partition0: locked,
    partition1: locked,
  });
  await commit(0);
  expect(await caught(commit(1))).toMatchObject(prohibited);
  for (const [values, statusCode] of [
    [{ partition0: locked, partition1: unlocked }, NvmeStatus.featureNotChangeable & 0xff],
    [{ partition0: byRpmb }, NvmeStatus.invalidField],
  ] as const)
    expect(await caught(nvme.features.write(feature, values))).toMatchObject({ statusCode });
  expect(await caught(nvme.features.set(feature.fid, 1 << 6))).toMatchObject({
    statusCode: NvmeStatus.invalidField,
  });
  // A refused command changed neither.
  expect(await nvme.features.read(feature)).toEqual({ partition0: unlocked, partition1: untilPowerCycle });
  await nvme.features.write(feature, { partition0: locked });
  expect(await caught(commit(0))).toMatchObject(prohibited);
});

test("a host without a driver reads them while the controller is disabled, and a read beyond the end fails", () => {
  using host = new NvmeTestHost({ bootPartitionBytes: 128 * KIB });
  const at = host.alloc(8192);
  host.bytes(at, 8192).fill(9);
  expect(host.read32(NvmeRegister.BPINFO)).toBe(1);
  host.write32(NvmeRegister.BPMBL, host.iova(at) % 2 ** 32);
  host.write32(NvmeRegister.BPMBL + 4, Math.floor(host.iova(at) / 2 ** 32));
  host.write32(NvmeRegister.BPRSEL, 1);
  expect(host.read32(NvmeRegister.BPINFO) >>> 24).toBe(2);
  expect(host.bytes(at, 4096).every((byte) => byte === 0)).toBe(true);
  expect(host.bytes(at + 4096, 4096).every((byte) => byte === 9)).toBe(true);
  // 31 pages are left from page 1 on.
  host.write32(NvmeRegister.BPRSEL, 32 | (1 << 10));
  expect(host.read32(NvmeRegister.BPINFO) >>> 24).toBe(3);
  // Nobody's memory.
  host.write32(NvmeRegister.BPMBL + 4, 0xffff);
  host.write32(NvmeRegister.BPRSEL, 1);
  expect(host.read32(NvmeRegister.BPINFO) >>> 24).toBe(3);
});

test("boot partitions move with the emulated controller", () => {
  const options = { bootPartitionBytes: 128 * KIB };
  using source = new NvmeTestHost(options);
  using target = new NvmeTestHost(options);
  source.enable();
  expect(source.admin.run({ opcode: 0x09, cdw10: 0x85, cdw11: unlocked << 3 }).status).toBe(0);
  const at = source.alloc(4096);
  source.bytes(at, 4096).fill(5);
  const download = { opcode: 0x11, prp1: source.iova(at), cdw10: 1023 };
  expect(source.admin.run(download).status).toBe(0);
  expect(source.admin.run({ opcode: 0x10, cdw10: ((1 << 31) | (6 << 3)) >>> 0 }).status).toBe(0);
  expect(source.admin.run({ opcode: 0x10, cdw10: ((1 << 31) | (7 << 3)) >>> 0 }).status).toBe(0);
  source.write32(NvmeRegister.BPMBL, source.iova(at) % 2 ** 32);
  source.write32(NvmeRegister.BPMBL + 4, Math.floor(source.iova(at) / 2 ** 32));
  target.takeOver(source);
  target.device.migration.start();
  target.bytes(at, 4096).fill(0);
  target.write32(NvmeRegister.BPRSEL, ((1 << 31) | 1) >>> 0);
  expect(target.read32(NvmeRegister.BPINFO)).toBe(0x8200_0001);
  expect(target.bytes(at, 4096).every((byte) => byte === 5)).toBe(true);
  target.device.reset();
  target.freeAll();
  target.enable();
  expect(target.admin.run({ opcode: 0x0a, cdw10: 0x85 }).dw0).toBe(locked | (unlocked << 3));
});

/** Registers of a controller whose reads end in this state. */
function stuck(info: number): NvmeBootPartitions {
  const space = new DmaSpace(new IdentityMapper());
  spaces.push(space);
  const bar = { read32: () => info, read64: () => 0n, write32: () => {}, write64: () => {} };
  return new NvmeBootPartitions(bar, space, "0000:00:01.0", true);
}

test("a read that fails, one that never ends, and a controller that is gone are errors of their own", async () => {
  const failed = await caught(stuck(0x0300_0001).read(0));
  expect(failed).toBeInstanceOf(IovaError);
  expect(String(failed)).toContain("reading boot partition 0 of 0000:00:01.0 from byte 0 on failed");
  expect(await caught(stuck(0x0100_0001).read(1, { timeoutMs: 5 }))).toBeInstanceOf(TimeoutError);
  expect(await caught(stuck(0xffff_ffff).read(0))).toBeInstanceOf(DeviceGoneError);
});
