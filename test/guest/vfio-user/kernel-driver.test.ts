/**
 * Emulated controllers of this project behind QEMU's vfio-user client, driven by the kernel's nvme driver: neither of the
 * two is ours.
 */
import { createHash, randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { KernelNvme, MountedDisk, sha256, succeed } from "../../support/kernel-nvme.js";

const MIB = 2 ** 20;
const controllers = [
  { serial: "plain", blockSizeBytes: 512, disks: 2, diskBytes: 128 * MIB, interrupts: "PCI-MSIX" },
  { serial: "wide", blockSizeBytes: 4096, disks: 3, diskBytes: 128 * MIB, interrupts: "PCI-MSIX" },
  { serial: "pin", blockSizeBytes: 512, disks: 1, diskBytes: 128 * MIB, interrupts: "IO-APIC" },
  { serial: "protected", blockSizeBytes: 4096, disks: 1, diskBytes: 128 * MIB, interrupts: "PCI-MSIX" },
] as const;

describe.each(controllers)("the $serial controller", (expected) => {
  const { serial } = expected;

  it("is found with what it offers", async () => {
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

  it("keeps file systems: made, mounted, written, read", async () => {
    const nvme = await KernelNvme.find(serial);
    await nvme.live(expected.disks);
    for (const disk of nvme.disks) {
      await succeed("mkfs.ext4", "-q", "-F", `/dev/${disk}`);
      const mounted = await MountedDisk.mount(disk, `/run/${disk}`);
      try {
        // Sizes that aren't multiples of anything, through the page cache; and long transfers past it.
        const sums = new Map<string, string>();
        for (const bytes of [1, 4095, 70_001, 5 * MIB + 13]) {
          const content = randomBytes(bytes);
          const file = mounted.file(`file-${bytes}`);
          writeFileSync(file, content);
          sums.set(file, createHash("sha256").update(content).digest("hex"));
        }
        const [long] = [mounted.file("long")];
        await succeed("dd", "if=/dev/urandom", `of=${long}.in`, "bs=1M", "count=8", "status=none");
        await succeed("dd", `if=${long}.in`, `of=${long}`, "bs=4M", "oflag=direct", "status=none");
        sums.set(long, await sha256(`${long}.in`));
        for (const [file, sum] of sums) expect(await sha256(file)).toBe(sum);
        await succeed("cmp", long, `${long}.in`);
      } finally {
        await mounted.unmount();
      }
      await succeed("fsck.ext4", "-f", "-n", `/dev/${disk}`);
    }
  });

  it.each([
    ["a controller reset", (nvme: KernelNvme) => nvme.resetController()],
    ["a reset of the function", (nvme: KernelNvme) => expect(nvme.resetFunction()).toContain("flr")],
  ])("survives %s while files are written", async (_name, reset) => {
    const nvme = await KernelNvme.find(serial);
    await nvme.live(expected.disks);
    const [disk = ""] = nvme.disks;
    const mounted = await MountedDisk.mount(disk, `/run/${disk}`);
    try {
      const source = mounted.file("source");
      await succeed("dd", "if=/dev/urandom", `of=${source}`, "bs=1M", "count=6", "status=none");
      const sum = await sha256(source);
      for (let round = 0; round < 3; round++) {
        const copy = mounted.file(`copy-${round}`);
        const copying = succeed("dd", `if=${source}`, `of=${copy}`, "bs=64K", "oflag=direct", "status=none");
        reset(nvme);
        await copying;
        await nvme.live(expected.disks);
        expect(await sha256(copy)).toBe(sum);
      }
    } finally {
      await mounted.unmount();
    }
    await succeed("fsck.ext4", "-f", "-n", `/dev/${disk}`);
  });

  it("comes and goes with its driver, and its data stays", async () => {
    const nvme = await KernelNvme.find(serial);
    await nvme.live(expected.disks);
    const [disk = ""] = nvme.disks;
    await succeed(
      "dd",
      "if=/dev/urandom",
      `of=/dev/${disk}`,
      "bs=1M",
      "count=4",
      "oflag=direct",
      "status=none",
    );
    const before = await succeed("dd", `if=/dev/${disk}`, "bs=1M", "count=4", "status=none");
    nvme.unbind()();
    const again = await KernelNvme.find(serial);
    await again.live(expected.disks);
    const [same = ""] = again.disks;
    expect(await succeed("dd", `if=/dev/${same}`, "bs=1M", "count=4", "status=none")).toBe(before);
  });

  it("discards and zeroes", async () => {
    const nvme = await KernelNvme.find(serial);
    await nvme.live(expected.disks);
    const [disk = ""] = nvme.disks;
    for (const how of [[], ["-z"]]) {
      await succeed(
        "dd",
        "if=/dev/urandom",
        `of=/dev/${disk}`,
        "bs=1M",
        "count=2",
        "oflag=direct",
        "status=none",
      );
      await succeed("blkdiscard", "-f", ...how, "-o", `${MIB}`, "-l", `${MIB}`, `/dev/${disk}`);
      await succeed("cmp", "-i", `${MIB}:0`, "-n", `${MIB}`, `/dev/${disk}`, "/dev/zero");
      const first = await succeed("od", "-An", "-tx8", "-N", "64", `/dev/${disk}`);
      expect(first).not.toMatch(/^[\s0]*$/);
    }
  });
});

describe("the zoned controller", () => {
  it("has zones that are written in order, filled and reset", async () => {
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
    await succeed("dd", "if=/dev/urandom", `of=/dev/${disk}`, "count=2", "seek=16", ...seek);
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
