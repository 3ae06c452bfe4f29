/** `iova nvme` beside nvme-cli: the same controllers, first through the kernel's driver, then bound to vfio-pci. */
import { randomFillSync } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { bindToVfio } from "../../../src/index.js";
import { nvmeBdf, wideNvmeBdf } from "../../support/functions.js";
import { expectNothingLeftSoon } from "../../support/holdings-soon.js";
import { kernelDisk, readDisk } from "../../support/kernel-disk.js";
import {
  type Fields,
  fieldsOf,
  iova,
  iovaJson,
  nvmeCli,
  nvmeCliJson,
  registersOf,
} from "../../support/nvme-cli.js";

/** Each run of nvme-cli starts a process, and opening a controller takes a while in a guest without KVM. */
const LIMIT_MS = 900_000;
let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "iova-nvme-cli-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** What stands in an object that has one key, which is the name of a device. */
function only(value: Fields): unknown {
  const values = Object.values(value);
  expect(values).toHaveLength(1);
  return values[0];
}

describe.each([
  { name: "default", bdf: nvmeBdf, blockBytes: 512 },
  { name: "wide", bdf: wideNvmeBdf, blockBytes: 4096 },
])("the $name controller", ({ name, bdf, blockBytes }) => {
  expectNothingLeftSoon();

  test(
    "gives nvme-cli's JSON and ours the same values in every field",
    async () => {
      const disk = await kernelDisk(bdf());
      const controller = disk.replace(/n\d+$/, "");
      const listed = await iovaJson("list");
      const theirs = {
        ctrl: await nvmeCliJson("id-ctrl", controller),
        ns: await nvmeCliJson("id-ns", disk),
        ids: await nvmeCliJson("list-ns", controller),
        descriptors: await nvmeCliJson("ns-descs", disk),
        nvmCtrl: await nvmeCliJson("nvm-id-ctrl", controller),
        firmware: await nvmeCliJson("fw-log", controller),
        errors: await nvmeCliJson("error-log", controller),
        effects: await nvmeCliJson("effects-log", controller),
        registers: await registersOf(controller),
        threshold: await nvmeCli("get-feature", controller, "-f", "4"),
        list: await nvmeCliJson("list"),
        // Last: what comes before is counted in it.
        smart: await nvmeCliJson("smart-log", controller),
      };

      // The kernel has it: listed as nvme-cli lists it, and otherwise left alone, with the way out named.
      const sn = String(theirs.ctrl["sn"]).trimEnd();
      const device = deviceOf(theirs.list, "DevicePath", disk);
      expect(deviceOf(listed, "Address", bdf())).toMatchObject({
        Controller: basename(controller),
        Driver: "nvme",
        SerialNumber: sn,
        Firmware: device["Firmware"],
        ModelNumber: device["ModelNumber"],
        Namespaces: [
          {
            NameSpace: device["NameSpace"],
            DevicePath: disk,
            MaximumLBA: device["MaximumLBA"],
            PhysicalSize: device["PhysicalSize"],
            SectorSize: blockBytes,
          },
        ],
      });
      await expect(iova("identify", bdf())).rejects.toThrow(`"iova bind ${bdf()}"`);

      using _binding = bindToVfio(bdf());
      expect(await iovaJson("smart", bdf())).toMatchObject(theirs.smart);
      expect(await iovaJson("identify", bdf())).toMatchObject(theirs.ctrl);
      expect(await iovaJson("id-ns", bdf())).toMatchObject(theirs.ns);
      expect(await iovaJson("list-ns", bdf())).toEqual(theirs.ids);
      expect(await iovaJson("ns-descs", bdf())).toEqual(theirs.descriptors);
      expect(await iovaJson("nvm-id-ctrl", bdf())).toMatchObject(theirs.nvmCtrl);
      expect(only(await iovaJson("fw-log", bdf()))).toEqual(only(theirs.firmware));
      expect(await iovaJson("error-log", bdf())).toMatchObject(theirs.errors);
      // Theirs has the zoned command set, too.
      const { 0: effects } = await iovaJson("effects-log", bdf());
      expect(Object.values(theirs.effects)).toContainEqual(effects);
      const { cap, vs } = theirs.registers;
      expect(await iovaJson("regs", bdf())).toMatchObject({ cap, vs });
      const threshold = await iovaJson("get-feature", bdf(), "-f", "4");
      expect(threshold).toMatchObject({ value: Number(/value:(0x[0-9a-f]+)/i.exec(theirs.threshold)?.[1]) });
      expect(deviceOf(await iovaJson("list"), "Address", bdf())).toMatchObject({
        Driver: "vfio-pci",
        SerialNumber: sn,
        ModelNumber: device["ModelNumber"],
        Firmware: device["Firmware"],
        Namespaces: [{ MaximumLBA: device["MaximumLBA"], PhysicalSize: device["PhysicalSize"] }],
      });
    },
    LIMIT_MS,
  );

  test(
    "is read and formatted the same by nvme-cli and this driver",
    async () => {
      const ours = randomFillSync(Buffer.alloc(64 * blockBytes + (1 << 20)));
      // No more than a command carries: nvme-cli sends one.
      const count = 8192 / blockBytes;
      const theirs = randomFillSync(Buffer.alloc(count * blockBytes));
      const file = (kind: string): string => join(folder, `${name}-${kind}`);
      writeFileSync(file("ours"), ours);
      writeFileSync(file("theirs"), theirs);
      const [size, zeroBased] = [String(theirs.length), String(count - 1)];
      const before = await kernelDisk(bdf());
      await nvmeCli("write", before, "-s", "1000", "-c", zeroBased, "-z", size, "-d", file("theirs"));
      {
        using _binding = bindToVfio(bdf());
        const args = ["-s", "1000", "-c", zeroBased, "-z", size, "--data", file("back")];
        await iova("read", bdf(), ...args);
        expect(readFileSync(file("back")).equals(theirs)).toBe(true);
        // Far more than a command carries. Other tests may have left a file system.
        await iova("write", bdf(), "--start-block", "2000", "--data-file", file("ours"), "--yes", "--force");
        // What it was is up to the controller; what stands beside it is not.
        const [start, blocks] = [String(1000 + count), String(count)];
        await iova("trim", bdf(), "--start-block", start, "--blocks", blocks, "--yes", "--force");
      }
      const disk = await kernelDisk(bdf());
      expect(Buffer.compare(readDisk(disk, 2000 * blockBytes, ours.length), ours)).toBe(0);
      await nvmeCli("read", disk, "-s", "2000", "-c", zeroBased, "-z", size, "-d", file("read"));
      expect(readFileSync(file("read")).equals(ours.subarray(0, theirs.length))).toBe(true);
      await nvmeCli("read", disk, "-s", "1000", "-c", zeroBased, "-z", size, "-d", file("read"));
      expect(readFileSync(file("read")).equals(theirs)).toBe(true);

      const other = blockBytes === 512 ? 4096 : 512;
      const { flbas: original } = await nvmeCliJson("id-ns", disk);
      {
        using _binding = bindToVfio(bdf());
        await iova("format", bdf(), "--block-size", String(other), "--yes", "--force");
      }
      const formatted = await kernelDisk(bdf());
      try {
        const queue = `/sys/class/block/${basename(formatted)}/queue/logical_block_size`;
        expect(Number(readFileSync(queue, "utf8"))).toBe(other);
        const erased = readDisk(formatted, 1000 * blockBytes, theirs.length);
        expect(erased.equals(Buffer.alloc(theirs.length))).toBe(true);
      } finally {
        await nvmeCli("format", formatted, "-l", String(original), "--force");
      }
      using _binding = bindToVfio(bdf());
      expect(await iovaJson("id-ns", bdf())).toMatchObject({ flbas: original });
    },
    LIMIT_MS,
  );
});

/** One of `list`'s devices. */
function deviceOf(list: Fields, key: string, value: string): Fields {
  const found = Object.values(fieldsOf(list["Devices"]))
    .map(fieldsOf)
    .find((device) => device[key] === value);
  if (found === undefined) throw new Error(`${value} is not listed`);
  return found;
}
