/** Virtual functions of the 82576: opened with the token in one call, and reached by their own registers. */
import { readFileSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readPciDetails } from "../../../src/doors/pci.js";
import { PciDevice, readPciFunction } from "../../../src/index.js";
import { backendNames } from "../../../src/pci/open.js";
import { caught } from "../../support/caught.js";
import { expectNothingLeftSoon } from "../../support/holdings-soon.js";
import { bindForFile, leftIgbBdf } from "../../support/igb-machine.js";

const ENABLE_SRIOV = "/sys/module/vfio_pci/parameters/enable_sriov";
// 82576 datasheet, 8.14: 64 bytes for each virtual function, which its physical function reads, too.
const MAILBOX_MEMORY = 0x800;
const MAILBOX_BYTES = 64;

bindForFile([leftIgbBdf]);
let before = "";
beforeAll(() => {
  before = readFileSync(ENABLE_SRIOV, "utf8").trim();
  writeFileSync(ENABLE_SRIOV, "Y");
});
afterAll(() => writeFileSync(ENABLE_SRIOV, before));

describe.each(backendNames)("virtual functions of an 82576 through %s", (backend) => {
  expectNothingLeftSoon();

  test("open with the token in one call, and what each writes to its mailbox arrives", async () => {
    using pf = PciDevice.open(leftIgbBdf(), { backend });
    await using functions = await pf.createVirtualFunctions(2);
    const vfs = [0, 1].map((index) => pf.openVirtualFunction(index, { backend }));
    for (const [index, vf] of vfs.entries()) {
      expect(vf.function).toMatchObject({
        bdf: functions.addresses[index],
        vendorId: 0x8086,
        deviceId: 0x10ca,
        physicalFunction: pf.bdf,
      });
      vf.bar(0).write32(MAILBOX_MEMORY, 0xabcd_0000 + index);
    }
    for (const index of vfs.keys())
      expect(pf.bar(0).read32(MAILBOX_MEMORY + index * MAILBOX_BYTES)).toBe(0xabcd_0000 + index);
    for (const vf of vfs) vf.close();
  });

  test("open by their address with the token, and not without it", async () => {
    using pf = PciDevice.open(leftIgbBdf(), { backend });
    await using functions = await pf.createVirtualFunctions(1);
    const [address = ""] = functions.addresses;
    expect(await caught(() => PciDevice.open(address, { backend }))).toMatchObject({ code: "EACCES" });
    using vf = PciDevice.open(address, { backend, vfToken: pf.vfToken });
    expect(vf.bdf).toBe(address);
  });

  test("have regions within those that the physical function shows for all of them", async () => {
    expect(readPciDetails(leftIgbBdf()).virtualFunctionRegions.map(({ isEnabled }) => isEnabled)).toEqual([
      false,
      false,
    ]);
    using pf = PciDevice.open(leftIgbBdf(), { backend });
    await using functions = await pf.createVirtualFunctions(2);
    const { virtualFunctionRegions } = readPciDetails(pf.bdf);
    expect(virtualFunctionRegions).toMatchObject([
      { index: 0, isEnabled: true, isVirtual: false },
      { index: 3, isEnabled: true, isVirtual: false },
    ]);
    const { maxVirtualFunctions } = readPciFunction(pf.bdf);
    for (const [number, address] of functions.addresses.entries()) {
      const { regions } = readPciDetails(address);
      expect(regions).toHaveLength(2);
      for (const [at, all] of virtualFunctionRegions.entries()) {
        const sizeBytes = all.sizeBytes / maxVirtualFunctions;
        const start = BigInt(all.address ?? 0) + BigInt(number * sizeBytes);
        expect(regions[at]).toEqual({
          ...all,
          sizeBytes,
          address: `0x${start.toString(16)}`,
          isVirtual: true,
        });
      }
    }
  });
});
