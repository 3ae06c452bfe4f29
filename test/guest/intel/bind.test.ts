/** Binding PCI functions to vfio-pci and back, and functions that must not be taken. */
import {
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { blockDevices, partitions, usersOf } from "../../../src/doors/pci.js";
import {
  ArgumentError,
  BusyError,
  bindToVfio,
  bindToVfioAsync,
  NvmeController,
  PciDevice,
  readPciFunction,
  unbindFromVfio,
  unbindFromVfioAsync,
  VfioBinding,
} from "../../../src/index.js";
import { driverOf } from "../../../src/pci/sysfs.js";
import { busybox } from "../../support/busybox.js";
import { caught } from "../../support/caught.js";
import { Child, runChild } from "../../support/child.js";
import { eduBdf, nvmeBdf, pairNicBdf, wideNvmeBdf } from "../../support/functions.js";
import { guestProgram } from "../../support/guest-programs.js";
import { expectNothingLeftSoon } from "../../support/holdings-soon.js";
import { kernelDisk, writeDisk } from "../../support/kernel-disk.js";
import { backends } from "../../support/nvme-machine.js";

function overrideOf(bdf: string): string {
  return readFileSync(`/sys/bus/pci/devices/${bdf}/driver_override`, "utf8").trim();
}

/** Everything that binding changes of a function. */
function state(bdf: string): { driver: string | undefined; override: string } {
  return { driver: driverOf(bdf), override: overrideOf(bdf) };
}

const atBoot = { driver: "nvme", override: "(null)" };
const bound = { driver: "vfio-pci", override: "vfio-pci" };

expectNothingLeftSoon();
beforeEach(() => {
  expect(state(nvmeBdf())).toEqual(atBoot);
  expect(state(wideNvmeBdf())).toEqual(atBoot);
});
afterEach(async () => {
  expect(state(nvmeBdf())).toEqual(atBoot);
  expect(state(wideNvmeBdf())).toEqual(atBoot);
  // The next test may ask for the disk at once.
  await kernelDisk(nvmeBdf());
  await kernelDisk(wideNvmeBdf());
});

describe("bindToVfio", () => {
  test("takes a function from its driver; close() gives it back, and its disk appears again", async () => {
    const disk = await kernelDisk(nvmeBdf());
    const binding = bindToVfio(nvmeBdf());
    expect(binding).toMatchObject({ bdf: nvmeBdf(), previousDriver: "nvme", closed: false });
    expect(state(nvmeBdf())).toEqual(bound);
    expect(readPciFunction(nvmeBdf()).driver).toBe("vfio-pci");
    expect(readdirSync(`/sys/bus/pci/devices/${nvmeBdf()}/vfio-dev`)).toHaveLength(1);
    expect(blockDevices(nvmeBdf())).toEqual([]);
    binding.close();
    expect(state(nvmeBdf())).toEqual(atBoot);
    expect(await kernelDisk(nvmeBdf())).toBe(disk);
    binding.close();
    expect(binding.closed).toBe(true);
  });

  test("binds this one function, and no other of the same model", () => {
    using _binding = bindToVfio(nvmeBdf());
    expect(state(wideNvmeBdf())).toEqual(atBoot);
  });

  test("accepts an address without a domain, and works with `using`", () => {
    {
      using binding = bindToVfio(nvmeBdf().slice("0000:".length));
      expect(binding.bdf).toBe(nvmeBdf());
      expect(driverOf(nvmeBdf())).toBe("vfio-pci");
    }
    expect(driverOf(nvmeBdf())).toBe("nvme");
  });

  test("leaves a function without a driver as it was", () => {
    const before = state(eduBdf());
    expect(before).toEqual({ driver: undefined, override: "(null)" });
    {
      using binding = bindToVfio(eduBdf());
      expect(binding.previousDriver).toBeUndefined();
      expect(state(eduBdf())).toEqual(bound);
    }
    expect(state(eduBdf())).toEqual(before);
  });

  test("restores a driver_override that was set before", () => {
    const file = `/sys/bus/pci/devices/${nvmeBdf()}/driver_override`;
    writeFileSync(file, "nvme\n");
    try {
      const binding = bindToVfio(nvmeBdf());
      expect(state(nvmeBdf())).toEqual(bound);
      binding.close();
      expect(state(nvmeBdf())).toEqual({ driver: "nvme", override: "nvme" });
    } finally {
      writeFileSync(file, "\n");
    }
  });

  test("changes nothing the second time, and the last binding that closes gives the function back", async () => {
    for (const order of [
      [0, 1, 2],
      [2, 1, 0],
      [1, 0, 2],
    ]) {
      const bindings = [bindToVfio(nvmeBdf()), bindToVfio(nvmeBdf()), await bindToVfioAsync(nvmeBdf())];
      expect(bindings.map(({ previousDriver }) => previousDriver)).toEqual(["nvme", "vfio-pci", "vfio-pci"]);
      for (const index of order) {
        expect(state(nvmeBdf())).toEqual(bound);
        if (index === 1) await bindings[index]?.closeAsync();
        else bindings[index]?.close();
      }
      expect(state(nvmeBdf())).toEqual(atBoot);
    }
  });

  test("restores what was there before the first binding if the kernel took the function back in between", () => {
    for (const isOldestFirst of [true, false]) {
      const first = bindToVfio(nvmeBdf());
      writeFileSync("/sys/bus/pci/drivers/vfio-pci/unbind", nvmeBdf());
      const second = bindToVfio(nvmeBdf());
      expect(second.previousDriver).toBeUndefined();
      for (const each of isOldestFirst ? [first, second] : [second, first]) each.close();
      expect(state(nvmeBdf())).toEqual(atBoot);
    }
  });

  test("says that it needs root", async () => {
    const child = await runChild(guestProgram("nobody-bind"), nvmeBdf());
    expect(child.stderr).toBe("");
    expect(JSON.parse(child.stdout)).toEqual({
      name: "BindError",
      code: "ERR_IOVA_BIND",
      message: `writing "vfio-pci" to /sys/bus/pci/devices/${nvmeBdf()}/driver_override: EACCES (binding drivers needs root)`,
    });
  });
});

describe("unbindFromVfio", () => {
  test("lets the kernel choose a driver, as it does at boot", () => {
    // Left behind by a program that did not care.
    bindToVfio(nvmeBdf()).relinquish();
    expect(unbindFromVfio(nvmeBdf())).toBe("nvme");
    expect(state(nvmeBdf())).toEqual(atBoot);
  });

  test("leaves a function without a driver if no driver matches it", () => {
    bindToVfio(eduBdf()).relinquish();
    expect(unbindFromVfio(eduBdf())).toBeUndefined();
    expect(state(eduBdf())).toEqual({ driver: undefined, override: "(null)" });
  });

  test("leaves a function alone that is not bound to vfio-pci", () => {
    expect(unbindFromVfio(nvmeBdf())).toBe("nvme");
    expect(unbindFromVfio(nvmeBdf().slice("0000:".length))).toBe("nvme");
  });

  test("doesn't disturb a binding that is closed later", () => {
    using _binding = bindToVfio(nvmeBdf());
    unbindFromVfio(nvmeBdf());
    expect(state(nvmeBdf())).toEqual(atBoot);
  });
});

describe("bindToVfioAsync", () => {
  test("does the same while the event loop runs", async () => {
    let turns = 0;
    const counting = setInterval(() => turns++, 1);
    const binding = await bindToVfioAsync(nvmeBdf());
    clearInterval(counting);
    expect(turns).toBeGreaterThan(0);
    expect(binding).toMatchObject({ bdf: nvmeBdf(), previousDriver: "nvme", closed: false });
    expect(state(nvmeBdf())).toEqual(bound);
    await binding.closeAsync();
    expect(binding.closed).toBe(true);
    expect(state(nvmeBdf())).toEqual(atBoot);
    await bindToVfioAsync(nvmeBdf()).then((second) => second.relinquish());
    expect(await unbindFromVfioAsync(nvmeBdf())).toBe("nvme");
  });

  test("is given up by its signal in any of its steps, and gives the function back then", async () => {
    const reason = new Error("enough");
    expect(await caught(bindToVfioAsync(nvmeBdf(), { signal: AbortSignal.abort(reason) }))).toBe(reason);
    expect(state(nvmeBdf())).toEqual(atBoot);
    for (let delayMs = 0; delayMs < 100; delayMs += 10) {
      const scope = new AbortController();
      const binding = bindToVfioAsync(nvmeBdf(), { signal: scope.signal });
      setTimeout(() => scope.abort(reason), delayMs);
      const outcome = await binding.catch((error: unknown) => error);
      // It may have been complete before.
      if (outcome instanceof VfioBinding) await outcome.closeAsync();
      else expect(outcome).toBe(reason);
      expect(state(nvmeBdf())).toEqual(atBoot);
    }
  });

  test("refuses to take a function from a process that has it open, at once", async () => {
    const binding = await bindToVfioAsync(nvmeBdf());
    const nvme = await NvmeController.open(nvmeBdf());
    const start = `${nvmeBdf()} can't be taken from vfio-pci: open in process ${process.pid} (`;
    for (const take of [() => unbindFromVfioAsync(nvmeBdf()), () => binding.closeAsync()]) {
      const error = await caught(take());
      expect(error).toBeInstanceOf(BusyError);
      expect(error.message).toContain(start);
    }
    await nvme.close();
    await binding.closeAsync();
    expect(state(nvmeBdf())).toEqual(atBoot);
  });
});

describe.each(backends)("a bound function that is open through %s", (backend) => {
  test("can't be unbound by the process that has it open, without a hang, and can be after it is closed", async () => {
    const binding = bindToVfio(nvmeBdf());
    const nvme = await NvmeController.open(nvmeBdf(), { backend });
    const start = `${nvmeBdf()} can't be taken from vfio-pci: open in process ${process.pid} (`;
    for (let i = 0; i < 2; i++) {
      for (const take of [() => unbindFromVfio(nvmeBdf()), () => binding.close()]) {
        expect(take).toThrow(BusyError);
        expect(take).toThrow(start);
      }
      expect(binding.closed).toBe(false);
      expect(state(nvmeBdf())).toEqual(bound);
    }
    // No harm was done to who has it.
    const ns = await nvme.namespace(1);
    using buffer = nvme.dma.alloc(4096);
    await ns.read(0n, buffer);
    await nvme.close();
    binding.close();
    expect(state(nvmeBdf())).toEqual(atBoot);
  });

  test("can't be unbound while another process has it open, and the message names that process", async () => {
    const binding = bindToVfio(nvmeBdf());
    const child = new Child(guestProgram("nvme-endless"), nvmeBdf(), JSON.stringify({ backend }));
    try {
      await child.says("running");
      expect(() => binding.close()).toThrow(`open in process ${child.pid}`);
      expect(() => unbindFromVfio(nvmeBdf())).toThrow(BusyError);
      expect(state(nvmeBdf())).toEqual(bound);
    } finally {
      child.kill();
      await child.ended;
    }
    binding.close();
  });
});

describe("bindToVfio of a function that the kernel uses", () => {
  function expectRefused(bdf: string, ...reasons: string[]): void {
    const before = state(bdf);
    expect(usersOf(bdf)).toEqual(reasons);
    const bind = (): unknown => bindToVfio(bdf);
    expect(bind).toThrow(BusyError);
    expect(bind).toThrow(`${bdf} is in use: ${reasons.join("; ")}`);
    expect(state(bdf)).toEqual(before);
  }

  function withMount(device: string, body: (target: string) => void): void {
    const target = mkdtempSync(join(tmpdir(), "iova-mount-"));
    busybox("mount", "-t", "ext4", device, target);
    try {
      body(target);
      // Whoever has files there still has them.
      expect(readdirSync(target)).toContain("lost+found");
    } finally {
      busybox("umount", target);
      rmdirSync(target);
    }
  }

  test("refuses a mounted disk, and changes nothing", async () => {
    const disk = await kernelDisk(wideNvmeBdf());
    busybox("mke2fs", "-b", "4096", disk);
    withMount(disk, (target) => {
      expectRefused(wideNvmeBdf(), `${disk} is mounted on ${target}`);
    });
    expect(usersOf(wideNvmeBdf())).toEqual([]);
    bindToVfio(wideNvmeBdf()).close();
  });

  test("names both mount points of a disk that is mounted twice", async () => {
    const disk = await kernelDisk(wideNvmeBdf());
    busybox("mke2fs", "-b", "4096", disk);
    withMount(disk, (first) => {
      withMount(disk, (second) => {
        expectRefused(wideNvmeBdf(), `${disk} is mounted on ${first}`, `${disk} is mounted on ${second}`);
      });
    });
  });

  test("refuses a disk with a mounted partition", async () => {
    const disk = await kernelDisk(nvmeBdf());
    const name = disk.slice("/dev/".length);
    writeDisk(disk, 0, partitionTable(2048, 16 * 2048));
    busybox("blockdev", "--rereadpt", disk);
    try {
      expect(blockDevices(nvmeBdf())).toEqual([name, `${name}p1`]);
      expect(partitions(nvmeBdf())).toEqual([`${name}p1`]);
      // A partition alone is in nobody's use.
      expect(usersOf(nvmeBdf())).toEqual([]);
      busybox("mke2fs", `${disk}p1`);
      withMount(`${disk}p1`, (target) => {
        expectRefused(nvmeBdf(), `${disk} is in use`, `${disk}p1 is mounted on ${target}`);
      });
    } finally {
      writeDisk(disk, 0, new Uint8Array(512));
      busybox("blockdev", "--rereadpt", disk);
    }
    expect(partitions(nvmeBdf())).toEqual([]);
  });

  test("refuses a disk that a program has open exclusively", async () => {
    const disk = await kernelDisk(nvmeBdf());
    const fd = openSync(disk, constants.O_RDONLY | constants.O_EXCL);
    try {
      const [claim = "", open = ""] = usersOf(nvmeBdf());
      expect(claim).toBe(`${disk} is in use`);
      expect(open).toMatch(new RegExp(`^process ${process.pid} \\(.*\\) has ${disk} open$`));
      expectRefused(nvmeBdf(), claim, open);
    } finally {
      closeSync(fd);
    }
    expect(usersOf(nvmeBdf())).toEqual([]);
  });

  test("refuses a network interface that is up", () => {
    const [name = ""] = readdirSync(`/sys/bus/pci/devices/${pairNicBdf()}/net`);
    const before = state(pairNicBdf());
    expect(before).toEqual({ driver: "e1000e", override: "(null)" });
    expect(usersOf(pairNicBdf())).toEqual([]);
    busybox("ip", "link", "set", name, "up");
    try {
      expectRefused(pairNicBdf(), `network interface ${name} is up`);
    } finally {
      busybox("ip", "link", "set", name, "down");
    }
    const binding = bindToVfio(pairNicBdf());
    expect(binding.previousDriver).toBe("e1000e");
    binding.close();
    expect(state(pairNicBdf())).toEqual(before);
  });
});

describe("bindToVfio of an address without a function", () => {
  test.each([
    ["0000:00:1b.7", "there is no PCI device 0000:00:1b.7"],
    ["ff:1f.7", "ff:1f.7"],
    ["nonsense", '"nonsense" is no PCI address'],
    ["", '"" is no PCI address'],
    ["../../etc", '"../../etc" is no PCI address'],
  ])("%j", async (address, message) => {
    for (const ask of [bindToVfio, unbindFromVfio, readPciFunction, blockDevices, usersOf, PciDevice.open]) {
      expect(() => ask(address)).toThrow(ArgumentError);
      expect(() => ask(address)).toThrow(message);
    }
    for (const ask of [bindToVfioAsync, unbindFromVfioAsync])
      expect(await caught(ask(address))).toBeInstanceOf(ArgumentError);
  });
});

/** A master boot record with one Linux partition. */
function partitionTable(firstSector: number, sectors: number): Uint8Array {
  const mbr = Buffer.alloc(512);
  mbr[446 + 4] = 0x83;
  mbr.writeUInt32LE(firstSector, 446 + 8);
  mbr.writeUInt32LE(sectors, 446 + 12);
  mbr.writeUInt16LE(0xaa55, 510);
  return mbr;
}
