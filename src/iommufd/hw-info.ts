/** Information about an IOMMU's hardware (IOMMU_GET_HW_INFO). */
import { addressOf } from "../sys/libc.js";
import { call } from "./call.js";
import type { BoundDevice } from "./device-ref.js";
import {
  type AmdFeatures,
  decodeAmd,
  decodeSmmuv3,
  decodeVtd,
  type Smmuv3Features,
  type VtdFeatures,
} from "./hw-features.js";
import {
  IOMMU_GET_HW_INFO,
  IOMMU_HW_CAP_DIRTY_TRACKING,
  IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED,
  IOMMU_HW_CAP_PCI_PASID_EXEC,
  IOMMU_HW_CAP_PCI_PASID_PRIV,
  IOMMU_HW_INFO_ARM_SMMUV3_ERRATA_REPEAT_TLBI_CFGI,
  IOMMU_HW_INFO_FLAG_INPUT_TYPE,
  IOMMU_HW_INFO_TYPE_AMD,
  IOMMU_HW_INFO_TYPE_ARM_SMMUV3,
  IOMMU_HW_INFO_TYPE_INTEL_VTD,
  IOMMU_HW_INFO_TYPE_NONE,
  IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV,
  IOMMU_HW_INFO_VTD_ERRATA_772415_SPR17,
  iommu_hw_info,
  iommu_hw_info_amd,
  iommu_hw_info_arm_smmuv3,
  iommu_hw_info_tegra241_cmdqv,
  iommu_hw_info_vtd,
} from "./uapi-hw-info.js";

/** The IOMMU's own registers, by kind. */
export type HwRegisters =
  /** The kernel reports nothing about this IOMMU. */
  | {
      /** Which of these structures it is. */
      readonly kind: "none";
    }
  | ({
      /** Which of these structures it is. */
      readonly kind: "intel-vtd";
      /** Capability register (CAP_REG). */
      readonly cap: bigint;
      /** Extended capability register (ECAP_REG). */
      readonly ecap: bigint;
      /** Erratum SPR17: memory of a nesting parent must not be mapped read-only. */
      readonly erratumSpr17: boolean;
    } & VtdFeatures)
  | ({
      /** Which of these structures it is. */
      readonly kind: "arm-smmuv3";
      /** Identification registers SMMU_IDR0 to SMMU_IDR5. */
      readonly idr: readonly number[];
      /** Implementation identification register (SMMU_IIDR). */
      readonly iidr: number;
      /** Architecture identification register (SMMU_AIDR). */
      readonly aidr: number;
      /** Erratum T264-SMMU-3: TLBI and CFGI commands, each with its SYNC, must be issued twice. */
      readonly erratumRepeatTlbi: boolean;
    } & Smmuv3Features)
  | ({
      /** Which of these structures it is. */
      readonly kind: "amd";
      /** Extended feature register (MMIO offset 0x30). */
      readonly efr: bigint;
      /** Extended feature 2 register (MMIO offset 0x1a0). */
      readonly efr2: bigint;
    } & AmdFeatures)
  | {
      /** Which of these structures it is. */
      readonly kind: "tegra241-cmdqv";
      /** Version of the CMDQV hardware. */
      readonly version: number;
      /** Number of virtual command queues, as a power of 2. */
      readonly log2Vcmdqs: number;
      /** Number of stream ids that can be replaced, as a power of 2. */
      readonly log2Vsids: number;
    }
  | {
      /** Which of these structures it is: this library doesn't know the type. */
      readonly kind: "unknown";
      /** enum iommu_hw_info_type */
      readonly type: number;
      /** The structure as the kernel returned it. */
      readonly bytes: Uint8Array;
    };

/** IOMMU_GET_HW_INFO: type and abilities of a device's IOMMU. */
export interface HwInfo {
  /** enum iommu_hw_info_type */
  readonly type: number;
  /** The registers, decoded if this library knows the type. */
  readonly registers: HwRegisters;
  /** Page tables for this device can track dirty pages. */
  readonly dirtyTracking: boolean;
  /** Width of the device's PASIDs in bits; 0 if it has none. */
  readonly maxPasidLog2: number;
  /** Requests with a PASID can ask to execute. Meaningless if `maxPasidLog2` is 0. */
  readonly pasidExecute: boolean;
  /** Requests with a PASID can be privileged. Meaningless if `maxPasidLog2` is 0. */
  readonly pasidPrivileged: boolean;
  /** The device can't use ATS. If false, ATS may be on. */
  readonly atsNotSupported: boolean;
}

/** Bytes for the answer: enough for Linux 7.3. The kernel truncates silently. */
const ROOM = 256;

/**
 * @param type requested kind of information (IOMMU_HW_INFO_FLAG_INPUT_TYPE); the IOMMU's own by default
 * @throws ClosedError, UnsupportedError, SysError: EOPNOTSUPP if this IOMMU has no such information
 */
export function readHwInfo(device: BoundDevice, type?: number): HwInfo {
  device.lease.assertOpen();
  const data = new Uint8Array(ROOM);
  const request = iommu_hw_info.encode({
    flags: type === undefined ? 0 : IOMMU_HW_INFO_FLAG_INPUT_TYPE,
    dev_id: device.deviceId,
    data_len: data.length,
    data_uptr: BigInt(addressOf(data)),
    out_data_type: type ?? 0,
  });
  call(device.iommufd.fd, IOMMU_GET_HW_INFO, request, { object: device.lease.label });
  const info = iommu_hw_info.decode(request);
  const capabilities = Number(info.out_capabilities & 0xffff_ffffn);
  return {
    type: info.out_data_type,
    registers: decodeRegisters(info.out_data_type, data.subarray(0, Math.min(info.data_len, ROOM))),
    dirtyTracking: (capabilities & IOMMU_HW_CAP_DIRTY_TRACKING) !== 0,
    maxPasidLog2: info.out_max_pasid_log2,
    pasidExecute: (capabilities & IOMMU_HW_CAP_PCI_PASID_EXEC) !== 0,
    pasidPrivileged: (capabilities & IOMMU_HW_CAP_PCI_PASID_PRIV) !== 0,
    atsNotSupported: (capabilities & IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED) !== 0,
  };
}

/** Decodes the type-dependent part. */
export function decodeRegisters(type: number, bytes: Uint8Array): HwRegisters {
  switch (type) {
    case IOMMU_HW_INFO_TYPE_NONE:
      return { kind: "none" };
    case IOMMU_HW_INFO_TYPE_INTEL_VTD: {
      const { flags, cap_reg, ecap_reg } = iommu_hw_info_vtd.decode(bytes);
      return {
        kind: "intel-vtd",
        cap: cap_reg,
        ecap: ecap_reg,
        erratumSpr17: (flags & IOMMU_HW_INFO_VTD_ERRATA_772415_SPR17) !== 0,
        ...decodeVtd(cap_reg, ecap_reg),
      };
    }
    case IOMMU_HW_INFO_TYPE_ARM_SMMUV3: {
      const { flags, idr, iidr, aidr } = iommu_hw_info_arm_smmuv3.decode(bytes);
      return {
        kind: "arm-smmuv3",
        idr,
        iidr,
        aidr,
        erratumRepeatTlbi: (flags & IOMMU_HW_INFO_ARM_SMMUV3_ERRATA_REPEAT_TLBI_CFGI) !== 0,
        ...decodeSmmuv3(idr),
      };
    }
    case IOMMU_HW_INFO_TYPE_AMD: {
      const { efr, efr2 } = iommu_hw_info_amd.decode(bytes);
      return { kind: "amd", efr, efr2, ...decodeAmd(efr) };
    }
    case IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV: {
      const { version, log2vcmdqs, log2vsids } = iommu_hw_info_tegra241_cmdqv.decode(bytes);
      return { kind: "tegra241-cmdqv", version, log2Vcmdqs: log2vcmdqs, log2Vsids: log2vsids };
    }
    default:
      return { kind: "unknown", type, bytes };
  }
}
