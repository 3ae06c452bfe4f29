/** A device in use in every way that this kernel has is not taken from its user, and the error says who that is. */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { packageRoot } from "../../../guest/paths.js";
import { usersOf } from "../../../src/doors/pci.js";
import { BusyError, bindToVfio, listPciFunctions } from "../../../src/index.js";
import { driverOf } from "../../../src/pci/sysfs.js";
import { busybox } from "../../support/busybox.js";
import { nvmeBdf } from "../../support/functions.js";
import { kernelDisk, writeDisk } from "../../support/kernel-disk.js";
import { runNode } from "../../support/run.js";

const cli = join(packageRoot(), "dist", "lib", "cli.js");
const mountPoint = join(tmpdir(), "iova-in-use");

/** Programs of the host, which an ordinary PATH may lack. */
function run(program: string, ...args: string[]): string {
  const env = { ...process.env, PATH: `${process.env["PATH"]}:/usr/sbin:/sbin` };
  return execFileSync(program, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"], env });
}

function sectorsOf(disk: string): number {
  return Number(readFileSync(`/sys/class/block/${disk.slice("/dev/".length)}/size`, "utf8"));
}

/** Makes a volume of the device mapper. */
function mapped(name: string, uuid: string, table: string): Disposable {
  run("dmsetup", "create", name, "--uuid", uuid, "--table", table, "--noudevsync", "--noudevrules");
  return {
    [Symbol.dispose]: () => run("dmsetup", "remove", "--retry", "--noudevsync", "--noudevrules", name),
  };
}

/** A function is refused, and keeps its driver. */
function expectRefused(bdf: string, reason: RegExp): void {
  const driver = driverOf(bdf);
  expect(usersOf(bdf).join("; ")).toMatch(reason);
  expect(() => bindToVfio(bdf)).toThrow(BusyError);
  expect(() => bindToVfio(bdf)).toThrow(reason);
  expect(driverOf(bdf)).toBe(driver);
}

/** The commands say the same. */
async function expectShown(bdf: string, reason: RegExp): Promise<void> {
  for (const command of [
    ["bind", bdf],
    ["list", "--json"],
    ["doctor", bdf],
  ]) {
    const { stdout, stderr } = await runNode(cli, ...command);
    expect(`${stdout}${stderr}`).toMatch(reason);
  }
}

describe("a disk", () => {
  const bdf = nvmeBdf();
  let disk: string;
  beforeEach(async () => {
    disk = await kernelDisk(bdf);
    writeDisk(disk, 0, new Uint8Array(2 ** 20));
    mkdirSync(mountPoint, { recursive: true });
  });
  afterEach(async () => {
    expect(usersOf(bdf)).toEqual([]);
    // Nothing of it stands in the way afterwards.
    bindToVfio(bdf).close();
    await kernelDisk(bdf);
    rmSync(mountPoint, { recursive: true });
  });

  test("that is mounted", () => {
    run("mkfs.ext4", "-q", "-F", disk);
    run("mount", "-t", "ext4", disk, mountPoint);
    try {
      expectRefused(bdf, /is mounted on .*iova-in-use/);
    } finally {
      run("umount", mountPoint);
    }
  });

  test("that is mounted where only other processes see it", async () => {
    run("mkfs.ext4", "-q", "-F", disk);
    const script = `mount -t ext4 ${disk} ${mountPoint} && echo mounted && cat`;
    const other = spawn("unshare", ["--mount", "sh", "-c", script], { stdio: ["pipe", "pipe", "inherit"] });
    try {
      expect(String((await once(other.stdout, "data"))[0])).toBe("mounted\n");
      expectRefused(bdf, /nvme\d+n1 is in use/);
    } finally {
      other.stdin.end();
      await once(other, "exit");
    }
  });

  test("that is swap space", () => {
    busybox("mkswap", disk);
    run("swapon", disk);
    try {
      expectRefused(bdf, /nvme\d+n1 is swap space/);
    } finally {
      run("swapoff", disk);
    }
  });

  test("that is part of an LVM volume", async () => {
    using _volume = mapped("vg-data", "LVM-0123456789abcdef", `0 2048 linear ${disk} 2048`);
    expectRefused(bdf, /is part of the LVM volume vg-data \(dm-\d+\)/);
    await expectShown(bdf, /is part of the LVM volume vg-data/);
  });

  test("that is part of an encrypted volume", () => {
    const key = "0123456789abcdef".repeat(4);
    const table = `0 2048 crypt aes-xts-plain64 ${key} 0 ${disk} 0`;
    using _volume = mapped("secret", "CRYPT-LUKS2-0123-secret", table);
    expectRefused(bdf, /is part of the encrypted volume secret \(dm-\d+\)/);
  });

  test("that is a path of a multipath device", () => {
    const table = `0 ${sectorsOf(disk)} multipath 0 0 1 1 service-time 0 1 1 ${disk} 1`;
    using _volume = mapped("mpatha", "mpath-3600508b400105e21", table);
    expectRefused(bdf, /is part of the multipath device mpatha \(dm-\d+\)/);
  });

  test("that is a member of a RAID array", () => {
    run("mdadm", "--create", "/dev/md/iova", "--run", "--level=1", "--raid-devices=2", disk, "missing");
    try {
      expectRefused(bdf, /is part of the RAID array md\d+ \(raid1\)/);
    } finally {
      run("mdadm", "--stop", "/dev/md/iova");
    }
  });

  test.each([
    ["that a program has open", () => disk],
    ["whose controller's node a program has open", () => disk.replace(/n1$/, "")],
  ])("%s, as a virtual machine or nvme-cli has", (_, node) => {
    expect(existsSync(node())).toBe(true);
    const fd = openSync(node(), "r");
    try {
      expectRefused(bdf, new RegExp(`process ${process.pid} \\(.*\\) has ${node()} open`));
    } finally {
      closeSync(fd);
    }
  });
});

describe("a network card", () => {
  let bdf: string;
  let name: string;
  beforeAll(() => {
    run("modprobe", "e1000e");
    const found = listPciFunctions().find(({ driver }) => driver === "e1000e");
    if (found === undefined) throw new Error("this machine has no network card");
    ({ bdf } = found);
    [name = ""] = readdirSync(`/sys/bus/pci/devices/${bdf}/net`);
  });
  afterEach(() => {
    run("ip", "link", "set", name, "nomaster", "down");
    expect(usersOf(bdf)).toEqual([]);
  });

  test("that is up", () => {
    run("ip", "link", "set", name, "up");
    expectRefused(bdf, new RegExp(`network interface ${name} is up`));
  });

  test.each([
    ["bond", ["type", "bond"]],
    ["bridge", ["type", "bridge"]],
  ])("that is part of a %s, even if it is down", (kind, type) => {
    run("ip", "link", "add", "iova-upper", ...type);
    try {
      run("ip", "link", "set", name, "master", "iova-upper");
      run("ip", "link", "set", name, "down");
      expectRefused(bdf, new RegExp(`network interface ${name} is part of the ${kind} iova-upper`));
    } finally {
      run("ip", "link", "del", "iova-upper");
    }
  });

  test("that carries a VLAN", () => {
    run("ip", "link", "add", "link", name, "name", "iova-vlan", "type", "vlan", "id", "7");
    try {
      expectRefused(bdf, new RegExp(`network interface ${name} carries iova-vlan`));
    } finally {
      run("ip", "link", "del", "iova-vlan");
    }
  });
});
