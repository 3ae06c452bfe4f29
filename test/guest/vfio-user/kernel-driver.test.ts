/**
 * Emulated controllers of this project behind QEMU's vfio-user client, driven by the kernel's nvme driver: neither of the
 * two is ours.
 */
import { createHash, randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { beforeAll, describe, expect, test } from "vitest";
import { KernelNvme, script, succeed } from "../../support/kernel-nvme.js";

const MIB = 2 ** 20;
const controllers = [
  { serial: "plain", blockSizeBytes: 512, disks: 2, diskBytes: 128 * MIB, interrupts: "PCI-MSIX" },
  { serial: "wide", blockSizeBytes: 4096, disks: 3, diskBytes: 128 * MIB, interrupts: "PCI-MSIX" },
  { serial: "pin", blockSizeBytes: 512, disks: 1, diskBytes: 128 * MIB, interrupts: "IO-APIC" },
  { serial: "protected", blockSizeBytes: 4096, disks: 1, diskBytes: 128 * MIB, interrupts: "PCI-MSIX" },
] as const;

/** What is written, and the file in memory that it is written from. */
const content = randomBytes(2 * MIB);
const source = "/run/source";
const sumOf = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

beforeAll(() => writeFileSync(source, content));

describe.each(controllers)("the $serial controller", (expected) => {
  const { serial } = expected;

  test("is found with its capabilities", async () => {
    const nvme = await KernelNvme.find(serial);
    await nvme.live(expected.disks);
    expect(nvme.get("model")).toBe("iova emulated NVMe controller");
    expect(nvme.get("subsysnqn")).toBe(`nqn.2026-01.org.iova:emulated:${serial}`);
    expect(nvme.disks).toHaveLength(expected.disks);
    for (const disk of nvme.disks) {
      expect(Number(nvme.disk(disk, "size")) * 512).toBe(expected.diskBytes);
      expect(Number(nvme.disk(disk, "queue/logical_block_size"))).toBe(expected.blockSizeBytes);
      expect(Number(nvme.disk(disk, "queue/max_hw_sectors_kb"))).toBeLessThanOrEqual(1024);
    }
    const lines = readFileSync("/proc/interrupts", "utf8").split("\n");
    const queue = new RegExp(`${nvme.disks[0]?.replace(/n\d+$/, "")}q\\d`);
    expect(lines.find((line) => queue.test(line))).toContain(expected.interrupts);
  });

  test("holds a file system that is made, mounted, written and read", async () => {
    const nvme = await KernelNvme.find(serial);
    await nvme.live(expected.disks);
    for (const disk of nvme.disks) {
      // Sizes that aren't multiples of anything go through the page cache; long transfers, and all reading, past it.
      const sums = await script(
        `mkfs.ext4 -q -F /dev/$1
        mkdir -p /run/$1
        mount /dev/$1 /run/$1
        for size in 1 4095 70001; do head -c $size $2 >/run/$1/$size; done
        dd if=$2 of=/run/$1/long bs=1M oflag=direct status=none
        sync -f /run/$1/long
        for file in 1 4095 70001 long; do dd if=/run/$1/$file bs=1M iflag=direct status=none | sha256sum; done
        umount /run/$1
        fsck.ext4 -f -n /dev/$1 >/dev/null 2>&1`,
        disk,
        source,
      );
      const want = [1, 4095, 70_001, content.length].map((bytes) => sumOf(content.subarray(0, bytes)));
      expect(sums.match(/^[0-9a-f]{64}/gm)).toEqual(want);
    }
  });

  test.each([
    ["a controller reset", (nvme: KernelNvme) => nvme.resetController()],
    ["a reset of the function", (nvme: KernelNvme) => expect(nvme.resetFunction()).toContain("flr")],
  ])("survives %s while files are written", async (_name, reset) => {
    const nvme = await KernelNvme.find(serial);
    await nvme.live(expected.disks);
    const [disk = ""] = nvme.disks;
    const writing = script(
      `mount /dev/$1 /run/$1
      for round in 1 2 3; do dd if=$2 of=/run/$1/round-$round bs=32K oflag=direct status=none; done
      sync -f /run/$1
      for round in 1 2 3; do dd if=/run/$1/round-$round bs=1M iflag=direct status=none | sha256sum; done
      umount /run/$1
      fsck.ext4 -f -n /dev/$1 >/dev/null 2>&1`,
      disk,
      source,
    );
    let isOver = false;
    const over = writing.finally(() => {
      isOver = true;
    });
    for (let resets = 0; resets < 2 || (!isOver && resets < 4); resets++) {
      reset(nvme);
      await nvme.live(expected.disks);
    }
    expect((await over).match(/^[0-9a-f]{64}/gm)).toEqual(new Array(3).fill(sumOf(content)));
  });

  test("keeps its data when its driver is unbound and bound again", async () => {
    const nvme = await KernelNvme.find(serial);
    await nvme.live(expected.disks);
    await script("dd if=$2 of=/dev/$1 bs=1M oflag=direct status=none", nvme.disks[0] ?? "", source);
    nvme.unbind()();
    const again = await KernelNvme.find(serial);
    await again.live(expected.disks);
    await succeed("cmp", "-n", `${content.length}`, `/dev/${again.disks[0]}`, source);
  });

  test("discards blocks and writes zeroes", async () => {
    const nvme = await KernelNvme.find(serial);
    await nvme.live(expected.disks);
    await script(
      `for how in -f -z; do
        dd if=$2 of=/dev/$1 bs=1M oflag=direct status=none
        blkdiscard -f $how -o 1048576 -l 524288 /dev/$1
        cmp -n 1048576 /dev/$1 $2
        cmp -i 1048576:0 -n 524288 /dev/$1 /dev/zero
        cmp -i 1572864 -n 524288 /dev/$1 $2
      done`,
      nvme.disks[0] ?? "",
      source,
    );
  });
});

describe("the zoned controller", () => {
  test("has zones that can be written in order, filled and reset", async () => {
    const nvme = await KernelNvme.find("zoned");
    const [disk = ""] = nvme.disks;
    expect(nvme.disk(disk, "queue/zoned")).toBe("host-managed");
    expect(nvme.disk(disk, "queue/nr_zones")).toBe("16");
    const zoneSectors = Number(nvme.disk(disk, "queue/chunk_sectors"));
    expect(zoneSectors * 512).toBe(16 * MIB);
    const report = async (): Promise<string> =>
      await succeed("blkzone", "report", "-o", `${zoneSectors}`, "-c", "1", `/dev/${disk}`);
    expect(await report()).toMatch(/wptr 0x0+ .*zcond: 1\(em\)/);
    const seek = ["bs=1M", "oflag=direct", "status=none"];
    await succeed("dd", `if=${source}`, `of=/dev/${disk}`, "seek=16", ...seek);
    expect(await report()).toMatch(/wptr 0x0*1000 .*zcond: 2\(oi\)/);
    // Not where the write pointer is.
    await expect(
      succeed("dd", "if=/dev/zero", `of=/dev/${disk}`, "count=1", "seek=20", ...seek),
    ).rejects.toThrow(/error/i);
    await succeed("blkzone", "finish", "-o", `${zoneSectors}`, "-c", "1", `/dev/${disk}`);
    expect(await report()).toContain("zcond:14(fu)");
    await succeed("blkzone", "reset", "-o", `${zoneSectors}`, "-c", "1", `/dev/${disk}`);
    expect(await report()).toMatch(/wptr 0x0+ .*zcond: 1\(em\)/);
  });
});
