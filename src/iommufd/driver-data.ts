/**
 * Structures whose form depends on the IOMMU: data of nested page tables, and cache invalidations. The kernel takes a type
 * and bytes. These functions create both for the IOMMUs that it knows.
 */
import { checkArray, checkBytes, checkKeys, checkObject, checkU32, checkU64, show } from "../core/check.js";
import { ArgumentError } from "../core/errors.js";
import {
  IOMMU_HWPT_DATA_AMD_GUEST,
  IOMMU_HWPT_DATA_ARM_SMMUV3,
  IOMMU_HWPT_DATA_VTD_S1,
  IOMMU_HWPT_INVALIDATE_DATA_VTD_S1,
  IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3,
  IOMMU_VTD_INV_FLAGS_LEAF,
  IOMMU_VTD_S1_EAFE,
  IOMMU_VTD_S1_SRE,
  IOMMU_VTD_S1_WPE,
  iommu_hwpt_amd_guest,
  iommu_hwpt_arm_smmuv3,
  iommu_hwpt_vtd_s1,
  iommu_hwpt_vtd_s1_invalidate,
  iommu_viommu_arm_smmuv3_invalidate,
} from "./uapi-hwpt.js";

/** Data for the driver of one kind of IOMMU. */
export interface DriverData {
  /** enum iommu_hwpt_data_type, enum iommu_viommu_type, ... */
  readonly type: number;
  /** The type's structure. */
  readonly bytes: Uint8Array;
}

/** @throws ArgumentError */
export function checkDriverData(data: DriverData): void {
  checkObject("data", data);
  checkU32("data.type", data.type);
  checkBytes("data.bytes", data.bytes);
}

/** Invalidation requests of one type. */
export interface InvalidationData {
  /** enum iommu_hwpt_invalidate_data_type */
  readonly type: number;
  /** Length of one request in bytes. */
  readonly entryBytes: number;
  /** The requests, one after the other. */
  readonly bytes: Uint8Array;
}

/** Stage-1 page table of a guest on Intel VT-d (struct iommu_hwpt_vtd_s1). */
export interface VtdStage1 {
  /** Guest physical address of the page table. */
  readonly pageTable: bigint;
  /** Address width in bits. */
  readonly addressWidth: number;
  /** Supervisor requests (SRE). */
  readonly supervisorRequests?: boolean;
  /** Extended access flag (EAFE). */
  readonly extendedAccessFlag?: boolean;
  /** Write protection (WPE). */
  readonly writeProtect?: boolean;
}

/** Data of a nested page table on Intel VT-d, from a guest's stage-1 table (struct iommu_hwpt_vtd_s1). @throws ArgumentError */
export function vtdStage1(table: VtdStage1): DriverData {
  checkKeys("table", table, [
    "pageTable",
    "addressWidth",
    "supervisorRequests",
    "extendedAccessFlag",
    "writeProtect",
  ]);
  checkU64("table.pageTable", table.pageTable);
  checkU32("table.addressWidth", table.addressWidth);
  const flags =
    (table.supervisorRequests === true ? IOMMU_VTD_S1_SRE : 0) |
    (table.extendedAccessFlag === true ? IOMMU_VTD_S1_EAFE : 0) |
    (table.writeProtect === true ? IOMMU_VTD_S1_WPE : 0);
  return {
    type: IOMMU_HWPT_DATA_VTD_S1,
    bytes: iommu_hwpt_vtd_s1.encode({
      flags: BigInt(flags),
      pgtbl_addr: table.pageTable,
      addr_width: table.addressWidth,
    }),
  };
}

/** The first two words of a guest's stream table entry on Arm SMMUv3. @throws ArgumentError */
export function smmuv3StreamTableEntry(words: readonly [bigint, bigint]): DriverData {
  return {
    type: IOMMU_HWPT_DATA_ARM_SMMUV3,
    bytes: iommu_hwpt_arm_smmuv3.encode({ ste: list("words", words) }),
  };
}

/** A guest's device table entry on AMD. @throws ArgumentError */
export function amdDeviceTableEntry(words: readonly [bigint, bigint, bigint, bigint]): DriverData {
  return {
    type: IOMMU_HWPT_DATA_AMD_GUEST,
    bytes: iommu_hwpt_amd_guest.encode({ dte: list("words", words) }),
  };
}

/** Number of pages that means the whole table. */
const ALL_PAGES = 0xffff_ffff_ffff_ffffn;

/** A range to invalidate in VT-d's caches; the whole table by default. */
export interface VtdInvalidation {
  /** First address of the range in the nested page table; 0 by default. */
  readonly address?: bigint;
  /** Length of the range in 4 KiB pages; everything by default. */
  readonly pages?: bigint;
  /** Only leaf entries changed. */
  readonly leafOnly?: boolean;
}

/**
 * Invalidation requests of a VT-d stage-1 page table, for `NestedHwpt.invalidate` (struct
 * iommu_hwpt_vtd_s1_invalidate).
 * @throws ArgumentError
 */
export function vtdInvalidations(requests: readonly VtdInvalidation[]): InvalidationData {
  return concatenate(
    IOMMU_HWPT_INVALIDATE_DATA_VTD_S1,
    iommu_hwpt_vtd_s1_invalidate.sizeBytes,
    list("requests", requests).map((request) => {
      checkKeys("request", request, ["address", "pages", "leafOnly"]);
      const { address = 0n, pages = ALL_PAGES, leafOnly = false } = request;
      const flags = leafOnly ? IOMMU_VTD_INV_FLAGS_LEAF : 0;
      return iommu_hwpt_vtd_s1_invalidate.encode({ addr: address, npages: pages, flags });
    }),
  );
}

/** Invalidations of a guest's SMMUv3 command queue, in the guest's format. @throws ArgumentError */
export function smmuv3Invalidations(commands: readonly (readonly [bigint, bigint])[]): InvalidationData {
  return concatenate(
    IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3,
    iommu_viommu_arm_smmuv3_invalidate.sizeBytes,
    list("commands", commands).map((cmd) =>
      iommu_viommu_arm_smmuv3_invalidate.encode({ cmd: list("command", cmd) }),
    ),
  );
}

/** A copy, whose holes are undefined. @throws ArgumentError */
function list<T>(name: string, values: readonly T[]): T[] {
  checkArray(name, values);
  return [...values];
}

function concatenate(type: number, entryBytes: number, entries: readonly Uint8Array[]): InvalidationData {
  const bytes = new Uint8Array(entryBytes * entries.length);
  entries.forEach((entry, i) => {
    bytes.set(entry, i * entryBytes);
  });
  return { type, entryBytes, bytes };
}

/** Number of entries. @throws ArgumentError if the bytes aren't a whole number of entries */
export function entryCount(data: InvalidationData): number {
  checkObject("data", data);
  const { bytes, entryBytes } = data;
  checkBytes("data.bytes", bytes);
  if (!Number.isInteger(entryBytes) || entryBytes < 0)
    throw new ArgumentError(`entryBytes must be an integer of at least 0, got ${show(entryBytes)}`);
  if (entryBytes === 0) return bytes.length === 0 ? 0 : 1;
  if (bytes.length % entryBytes !== 0) {
    throw new ArgumentError(`${bytes.length} bytes are not a whole number of entries of ${entryBytes} bytes`);
  }
  return bytes.length / entryBytes;
}
