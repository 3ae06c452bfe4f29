/** Changes to a real host: what doctor mends by itself, permissions, huge pages, bindings that last; and all of it taken back. */
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { packageRoot } from "../../../guest/paths.js";
import { listChanges, listHugePages } from "../../../src/doors/host.js";
import { readPciFunction } from "../../../src/doors/pci.js";
import { driverOf } from "../../../src/pci/sysfs.js";
import { busybox } from "../../support/busybox.js";
import { runChild } from "../../support/child.js";
import { useNoDriverctl } from "../../support/driverctl.js";
import { nvmeBdf } from "../../support/functions.js";
import { kernelDisk } from "../../support/kernel-disk.js";

const cli = join(packageRoot(), "dist", "lib", "cli.js");
const RECORD = "/var/lib/iova";

async function iova(
  ...args: string[]
): Promise<{ readonly status: number | NodeJS.Signals | null; readonly text: string }> {
  const child = await runChild(cli, ...args);
  return { status: await child.ended, text: `${child.stdout}${child.stderr}` };
}

afterEach(async () => {
  expect(await iova("restore")).toMatchObject({ status: 0 });
  expect(listChanges().changes.filter(({ state }) => state !== "restored")).toEqual([]);
  rmSync(RECORD, { recursive: true });
});

test("doctor --fix makes a device usable, NVMe runs on it, and restore gives it back to its driver", async () => {
  const bdf = nvmeBdf();
  expect(driverOf(bdf)).toBe("nvme");
  const before = await iova("doctor", bdf);
  expect(before.status).toBe(1);
  const shown = await iova("doctor", bdf, "--fix", "--dry-run");
  expect(shown.text).toContain(`npx iova bind ${bdf}`);
  expect(driverOf(bdf)).toBe("nvme");
  const fixed = await iova("doctor", bdf, "--fix");
  expect(fixed).toMatchObject({ status: 0, text: expect.stringContaining("iova restore 1") });
  expect(driverOf(bdf)).toBe("vfio-pci");
  expect(await iova("nvme", "identify", bdf)).toMatchObject({
    status: 0,
    text: expect.stringContaining("deadbeef"),
  });
  expect(await iova("restore", "1")).toMatchObject({ status: 0 });
  expect(driverOf(bdf)).toBe("nvme");
  await kernelDisk(bdf);
});

test("permissions give the nodes of a bound device to a group, and --remove takes them back", async () => {
  const bdf = nvmeBdf();
  expect(await iova("bind", bdf)).toMatchObject({ status: 0 });
  const before = statSync("/dev/iommu");
  expect(await iova("permissions", "--group", "nogroup", bdf, "--memlock", "1G")).toMatchObject({
    status: 0,
  });
  const { gid } = statSync("/dev/iommu");
  expect(gid).not.toBe(before.gid);
  const [node = ""] = readdirSync(`/sys/bus/pci/devices/${bdf}/vfio-dev`);
  expect(statSync(`/dev/vfio/devices/${node}`)).toMatchObject({ gid, mode: 0o020660 });
  expect(readFileSync("/etc/udev/rules.d/91-iova-shared.rules", "utf8")).toContain(`chown :${gid} `);
  expect(await iova("permissions", "--group", "nogroup", "--remove")).toMatchObject({ status: 0 });
  expect(statSync("/dev/iommu")).toMatchObject({ gid: before.gid, mode: before.mode });
  expect(existsSync("/etc/udev/rules.d/91-iova-shared.rules")).toBe(false);
  expect(await iova("unbind", bdf)).toMatchObject({ status: 0 });
  await kernelDisk(bdf);
});

test.each([
  ["of the system", "iova-udev", "--system"],
  ["of a directory", "EXAMPLE\\bob smith@example.com", "--uid=4711"],
])("udev gives the nodes to a user as those %s are, when they appear", async (_, user, kind) => {
  const bdf = nvmeBdf();
  execFileSync("useradd", [kind, "--badname", "--no-user-group", user]);
  execFileSync("/lib/systemd/systemd-udevd", ["--daemon"]);
  try {
    expect(await iova("bind", bdf)).toMatchObject({ status: 0 });
    expect(await iova("permissions", "--user", user, bdf)).toMatchObject({ status: 0 });
    const [cdev = ""] = readdirSync(`/sys/bus/pci/devices/${bdf}/vfio-dev`);
    const own = [`/dev/vfio/devices/${cdev}`, `/dev/vfio/${readPciFunction(bdf).iommuGroup}`];
    const nodes = [...own, "/dev/iommu", "/dev/vfio/vfio"];
    const given = nodes.map((node) => ownerOf(node));
    const uid = Number(execFileSync("id", ["-u", user], { encoding: "utf8" }));
    expect(given.slice(0, 2).map((owner) => owner.uid)).toEqual([uid, uid]);
    expect(execFileSync("id", ["-Gn", user], { encoding: "utf8" })).toContain(" iova");
    for (const node of nodes) {
      chownSync(node, 0, 0);
      chmodSync(node, 0o600);
    }
    execFileSync("udevadm", ["control", "--reload"]);
    for (const subsystem of ["misc", "vfio", "vfio-dev"])
      execFileSync("udevadm", ["trigger", "--action=add", `--subsystem-match=${subsystem}`]);
    execFileSync("udevadm", ["settle"]);
    expect(nodes.map((node) => ownerOf(node))).toEqual(given);
    expect(await iova("restore")).toMatchObject({ status: 0 });
    expect(await iova("unbind", bdf)).toMatchObject({ status: 0 });
    await kernelDisk(bdf);
  } finally {
    execFileSync("udevadm", ["control", "--exit"]);
    execFileSync("userdel", [user]);
  }
});

function ownerOf(node: string): { uid: number; gid: number; mode: number } {
  const { uid, gid, mode } = statSync(node);
  return { uid, gid, mode: mode & 0o777 };
}

test("hugepages reserves pages, and restore gives as many back", async () => {
  const total = (): number | undefined =>
    listHugePages().pools.find(({ pageBytes }) => pageBytes === 2 ** 21)?.total;
  const before = total() ?? 0;
  expect(await iova("hugepages", String(before + 3), "--size", "2M")).toMatchObject({ status: 0 });
  expect(total()).toBe(before + 3);
  expect(await iova("restore")).toMatchObject({ status: 0 });
  expect(total()).toBe(before);
});

describe("bind --persist on a host without driverctl", () => {
  useNoDriverctl();
  const script = (bdf: string): string => `/etc/iova/bind-${bdf.replaceAll(":", "-")}.sh`;
  const rules = (bdf: string): string => `/etc/udev/rules.d/70-iova-bind-${bdf.replaceAll(":", "-")}.rules`;

  test("binds now, leaves a rule for each start, and iova restore and bind --restore take both back", async () => {
    const bdf = nvmeBdf();
    for (const back of [["restore"], ["bind", "--restore", bdf]]) {
      const shown = await iova("bind", bdf, "--persist", "--dry-run");
      expect(shown).toMatchObject({ status: 0, text: expect.stringContaining(rules(bdf)) });
      expect(driverOf(bdf)).toBe("nvme");
      expect(await iova("bind", bdf, "--persist")).toMatchObject({
        status: 0,
        text: expect.stringContaining(`${bdf} bound to vfio-pci at each start`),
      });
      expect(driverOf(bdf)).toBe("vfio-pci");
      expect(existsSync(script(bdf)) && existsSync(rules(bdf))).toBe(true);
      expect(await iova(...back)).toMatchObject({ status: 0 });
      expect(driverOf(bdf)).toBe("nvme");
      expect(existsSync(script(bdf)) || existsSync(rules(bdf))).toBe(false);
      await kernelDisk(bdf);
    }
  });

  test("udev gives the function to vfio-pci when it appears, but not while its disk is in use", async () => {
    const bdf = nvmeBdf();
    expect(await iova("bind", bdf, "--persist")).toMatchObject({ status: 0 });
    expect((await iova("unbind", bdf)).text).toContain(
      `bound again at the next start: ${bdf}. To end that: iova bind --restore ${bdf}`,
    );
    const disk = await kernelDisk(bdf);
    const target = mkdtempSync(join(tmpdir(), "iova-mount-"));
    busybox("mke2fs", disk);
    execFileSync("/lib/systemd/systemd-udevd", ["--daemon"]);
    try {
      const appear = (): void => {
        execFileSync("udevadm", ["trigger", "--action=add", `/sys/bus/pci/devices/${bdf}`]);
        execFileSync("udevadm", ["settle"]);
      };
      busybox("mount", "-t", "ext4", disk, target);
      appear();
      expect(driverOf(bdf)).toBe("nvme");
      busybox("umount", target);
      appear();
      expect(driverOf(bdf)).toBe("vfio-pci");
    } finally {
      execFileSync("udevadm", ["control", "--exit"]);
    }
  });
});
