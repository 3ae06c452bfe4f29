/**
 * An emulated controller behind QEMU's vfio-user client and a guest's IOMMU, driven by the kernel: queues and lists lie in
 * one mapping per page. The server copies them, because QEMU's memory is in a file that can't be sealed.
 */
import { randomBytes } from "node:crypto";
import { readFileSync, realpathSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { KernelNvme, script, succeed } from "../../support/kernel-nvme.js";

const MIB = 2 ** 20;
const content = randomBytes(MIB);
const source = "/run/source";

beforeAll(() => writeFileSync(source, content));

async function live(): Promise<{ nvme: KernelNvme; disk: string }> {
  const nvme = await KernelNvme.find("translated");
  await nvme.live();
  return { nvme, disk: nvme.disks[0] ?? "" };
}

test("the kernel's driver makes a disk of it, behind the IOMMU", async () => {
  const { nvme, disk } = await live();
  const group = realpathSync(join(nvme.pci, "iommu_group"));
  expect(readFileSync(join(group, "type"), "utf8").trim()).toBe("DMA");
  expect(Number(nvme.disk(disk, "size")) * 512).toBe(128 * MIB);
});

test.each([
  ["4K", 32],
  ["64K", 8],
  ["1M", 1],
])("the kernel reads what it wrote in blocks of %s", async (size, count) => {
  const { disk } = await live();
  await script("dd if=$2 of=/dev/$1 bs=$3 count=$4 oflag=direct status=none", disk, source, size, `${count}`);
  await script(
    "dd if=/dev/$1 of=$2 bs=$3 count=$4 iflag=direct status=none",
    disk,
    "/run/copy",
    size,
    `${count}`,
  );
  const copy = readFileSync("/run/copy");
  expect(copy.equals(content.subarray(0, copy.length))).toBe(true);
});

test("the data is there after a reset of the controller", async () => {
  const { nvme, disk } = await live();
  await script("dd if=$2 of=/dev/$1 bs=1M oflag=direct status=none", disk, source);
  nvme.resetController();
  await nvme.live();
  await succeed("cmp", "-n", `${content.length}`, `/dev/${disk}`, source);
});
