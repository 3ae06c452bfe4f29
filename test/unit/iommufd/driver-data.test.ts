/** Structures for Intel VT-d, Arm SMMUv3 and AMD, compared byte by byte with linux/iommufd.h and the IOMMUs' specifications. */
import { describe, expect, test } from "vitest";
import {
  amdDeviceTableEntry,
  smmuv3Invalidations,
  smmuv3StreamTableEntry,
  vtdInvalidations,
  vtdStage1,
} from "../../../src/doors/iommufd.js";

/** The bytes of 64-bit numbers in memory, lowest byte first. */
function words(...values: bigint[]): number[] {
  const bytes = new Uint8Array(values.length * 8);
  const view = new DataView(bytes.buffer);
  for (const [i, value] of values.entries()) view.setBigUint64(i * 8, value, true);
  return [...bytes];
}

const ALL_ONES = 2n ** 64n - 1n;

describe("vtdStage1()", () => {
  test("lays out struct iommu_hwpt_vtd_s1: flags, table and address width", () => {
    const { type, bytes } = vtdStage1({ pageTable: 0x1_2345_6000n, addressWidth: 48 });
    expect(type).toBe(1); // IOMMU_HWPT_DATA_VTD_S1
    expect([...bytes]).toEqual(words(0n, 0x1_2345_6000n, 48n));
  });

  test.each([
    ["supervisorRequests", 1n], // IOMMU_VTD_S1_SRE
    ["extendedAccessFlag", 2n], // IOMMU_VTD_S1_EAFE
    ["writeProtect", 4n], // IOMMU_VTD_S1_WPE
  ] as const)("sets the kernel's flag for %s", (option, flag) => {
    const { bytes } = vtdStage1({ pageTable: 0x1000n, addressWidth: 57, [option]: true });
    expect([...bytes]).toEqual(words(flag, 0x1000n, 57n));
  });

  test("combines flags", () => {
    const all = { supervisorRequests: true, extendedAccessFlag: true, writeProtect: true };
    expect([...vtdStage1({ pageTable: 0n, addressWidth: 48, ...all }).bytes]).toEqual(words(7n, 0n, 48n));
  });
});

describe("vtdInvalidations()", () => {
  test("lays out struct iommu_hwpt_vtd_s1_invalidate for each range", () => {
    const { type, entryBytes, bytes } = vtdInvalidations([
      { address: 0x7f00_0000n, pages: 16n },
      { address: 0x8000_0000n, pages: 1n, leafOnly: true },
    ]);
    expect([type, entryBytes]).toEqual([0, 24]); // IOMMU_HWPT_INVALIDATE_DATA_VTD_S1
    // IOMMU_VTD_INV_FLAGS_LEAF is bit 0.
    expect([...bytes]).toEqual(words(0x7f00_0000n, 16n, 0n, 0x8000_0000n, 1n, 1n));
  });

  test("invalidates everything, by address 0 and U64_MAX pages, if there is no range", () => {
    expect([...vtdInvalidations([{}]).bytes]).toEqual(words(0n, ALL_ONES, 0n));
  });

  test("returns no bytes, but the length of an entry, for no requests", () => {
    expect(vtdInvalidations([])).toEqual({ type: 0, entryBytes: 24, bytes: new Uint8Array(0) });
  });
});

describe("smmuv3StreamTableEntry()", () => {
  test("returns the first two words of the guest's entry unchanged", () => {
    // Arm IHI 0070, stream table entry: V bit 0; Config bits 3:1, 5 is stage 1 only; S1ContextPtr bits 51:6;
    // S1DSS bits 65:64, S1CIR, S1COR and S1CSH bits 71:66.
    const first = 1n | (5n << 1n) | 0x8_0123_4567_8940n;
    const second = 2n | (1n << 2n) | (1n << 4n) | (3n << 6n);
    const { type, bytes } = smmuv3StreamTableEntry([first, second]);
    expect(type).toBe(2); // IOMMU_HWPT_DATA_ARM_SMMUV3
    expect([...bytes]).toEqual(words(0x8_0123_4567_894bn, 0xd6n));
  });
});

describe("smmuv3Invalidations()", () => {
  test("returns commands of 16 bytes in order", () => {
    // Arm IHI 0070: opcode bits 7:0, ASID bits 63:48; the second word of CMD_TLBI_NH_VA has Leaf in bit 0, and the address.
    const byAsid = [0x11n | (0x42n << 48n), 0n] as const;
    const byAddress = [0x12n | (0x42n << 48n), 0xffff_0000_1000n | 1n] as const;
    const { type, entryBytes, bytes } = smmuv3Invalidations([byAsid, byAddress]);
    expect([type, entryBytes]).toEqual([1, 16]); // IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3
    expect([...bytes]).toEqual(words(0x42_0000_0000_0011n, 0n, 0x42_0000_0000_0012n, 0xffff_0000_1001n));
  });
});

describe("amdDeviceTableEntry()", () => {
  test("returns all four words of an entry with a guest page table unchanged", () => {
    // AMD 48882, device table entry: V bit 0, TV bit 1, GV bit 55, GLX bits 57:56; DomainID bits 79:64.
    const valid = 1n | (1n << 1n) | (1n << 55n) | (1n << 56n);
    const { type, bytes } = amdDeviceTableEntry([valid, 0x1234n, 0n, ALL_ONES]);
    expect(type).toBe(3); // IOMMU_HWPT_DATA_AMD_GUEST
    expect([...bytes]).toEqual(words(0x0180_0000_0000_0003n, 0x1234n, 0n, ALL_ONES));
  });
});
