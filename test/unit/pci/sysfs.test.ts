/** PCI functions in sysfs: their BARs, and the list of the functions of this host. */
import { describe, expect, test } from "vitest";
import { ArgumentError } from "../../../src/core/errors.js";
import { devicePath } from "../../../src/pci/address/device-path.js";
import { driverOf, listPciFunctions, parseBars, readPciFunction } from "../../../src/pci/sysfs.js";

/** Lines of a `resource` file: six BARs, then ROM and bridge windows, which are not BARs. */
function resource(...lines: string[]): string {
  const empty = "0x0000000000000000 0x0000000000000000 0x0000000000000000";
  return `${Array.from({ length: 13 }, (_, i) => lines[i] ?? empty).join("\n")}\n`;
}

describe("parseBars()", () => {
  test("returns the BARs of QEMU's NVMe controller with a CMB", () => {
    const text = resource(
      "0x00000000fe010000 0x00000000fe013fff 0x0000000000140204",
      "0x0000000000000000 0x0000000000000000 0x0000000000000000",
      "0x00000000fd000000 0x00000000fdffffff 0x000000000014220c",
    );
    expect(parseBars(text)).toEqual([
      { index: 0, kind: "memory", sizeBytes: 16384, prefetchable: false, is64Bit: true },
      { index: 2, kind: "memory", sizeBytes: 16 * 1024 * 1024, prefetchable: true, is64Bit: true },
    ]);
  });

  test("returns 32-bit memory and I/O ports of a network card", () => {
    const text = resource(
      "0x00000000febc0000 0x00000000febdffff 0x0000000000040200",
      "0x0000000000000000 0x0000000000000000 0x0000000000000000",
      "0x000000000000c000 0x000000000000c01f 0x0000000000040101",
    );
    expect(parseBars(text)).toEqual([
      { index: 0, kind: "memory", sizeBytes: 131_072, prefetchable: false, is64Bit: false },
      { index: 2, kind: "io", sizeBytes: 32, prefetchable: false, is64Bit: false },
    ]);
  });

  test("returns a BAR above 4 GiB", () => {
    const text = resource("0x0000380000000000 0x00003800ffffffff 0x000000000014220c");
    expect(parseBars(text)).toEqual([
      { index: 0, kind: "memory", sizeBytes: 2 ** 32, prefetchable: true, is64Bit: true },
    ]);
  });

  test("returns a BAR that has no address from the firmware", () => {
    const text = resource("0x0000000000000000 0x0000000000003fff 0x0000000020140204");
    expect(parseBars(text)).toMatchObject([{ index: 0, sizeBytes: 16384, kind: "memory" }]);
  });

  test("leaves out the ROM and the windows of a bridge", () => {
    const lines = Array.from({ length: 13 }, () => "");
    lines[6] = "0x00000000feb80000 0x00000000febbffff 0x0000000000046200";
    lines[8] = "0x00000000fea00000 0x00000000febfffff 0x0000000000000200";
    expect(parseBars(resource(...lines.map((line) => line || "0x0 0x0 0x0")))).toEqual([]);
  });

  test("returns no BARs for an empty file", () => {
    expect(parseBars("")).toEqual([]);
    expect(parseBars("\n")).toEqual([]);
  });
});

describe("the list of PCI functions of this host", () => {
  test("is in order, may be empty, and has the same data as readPciFunction()", () => {
    const functions = listPciFunctions();
    const addresses = functions.map(({ bdf }) => bdf);
    expect(addresses).toEqual([...addresses].sort());
    for (const fn of functions) expect(readPciFunction(fn.bdf)).toEqual(fn);
  });

  test.each(["0000:ff:1f.7", "ffff:ff:1f.7"])("doesn't have %s, which causes an error", (bdf) => {
    for (const ask of [devicePath, driverOf, readPciFunction]) {
      expect(() => ask(bdf)).toThrow(ArgumentError);
      expect(() => ask(bdf)).toThrow(`there is no PCI device ${bdf}`);
    }
  });
});
