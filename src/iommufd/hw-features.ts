/** Fields of the IOMMUs' capability registers. */

function bits(register: bigint, from: number, count: number): number {
  return Number((register >> BigInt(from)) & ((1n << BigInt(count)) - 1n));
}

function bit(register: bigint, at: number): boolean {
  return bits(register, at, 1) === 1;
}

/** Intel VT-d specification 5.x, sections 11.4.2 (CAP_REG) and 11.4.3 (ECAP_REG). */
export interface VtdFeatures {
  /** Bits of domain id (4 + 2 × ND). */
  readonly domainIdBits: number;
  /** Caching mode: not-present entries may be cached (emulated IOMMUs). */
  readonly cachingMode: boolean;
  /** Second-stage address widths supported, bit field (SAGAW): 2 is 48 bits, 3 is 57. */
  readonly sagaw: number;
  /** Maximum guest address width in bits (MGAW + 1). */
  readonly maxGuestAddressBits: number;
  /** Second-stage large pages: bit 0 is 2 MiB, bit 1 is 1 GiB (SSLPS). */
  readonly largePages: number;
  /** First-stage 1 GiB pages (FS1GP). */
  readonly firstStage1GPages: boolean;
  /** First-stage tables of five levels, for 57-bit addresses (FS5LP). */
  readonly firstStage5Level: boolean;
  /** Interrupts can be posted to a virtual processor (PI). */
  readonly postedInterrupts: boolean;
  /** Caches are invalidated through a queue in memory (QI). */
  readonly queuedInvalidation: boolean;
  /** Device TLBs are supported, which ATS needs (DT). */
  readonly deviceTlb: boolean;
  /** Interrupt remapping (IR). */
  readonly interruptRemapping: boolean;
  /** Snooping can be forced (SC). */
  readonly snoopControl: boolean;
  /** A first stage can be nested in a second one (NEST). */
  readonly nestedTranslation: boolean;
  /** Page requests of devices, which PRI needs (PRS). */
  readonly pageRequests: boolean;
  /** Requests with a PASID (PASID). */
  readonly pasid: boolean;
  /** Bits of PASID (PSS + 1); 0 without PASID support. */
  readonly pasidBits: number;
  /** Scalable mode: page tables by PASID (SMTS). */
  readonly scalableMode: boolean;
  /** Second-stage access and dirty flags (SSADS). */
  readonly secondStageDirty: boolean;
  /** Second-stage translation in scalable mode (SSTS). */
  readonly secondStage: boolean;
  /** First-stage translation in scalable mode (FSTS). */
  readonly firstStage: boolean;
  /** Page walks are coherent in scalable mode (SMPWCS). */
  readonly coherentPageWalk: boolean;
}

export function decodeVtd(cap: bigint, ecap: bigint): VtdFeatures {
  const pasid = bit(ecap, 40);
  return {
    domainIdBits: 4 + 2 * bits(cap, 0, 3),
    cachingMode: bit(cap, 7),
    sagaw: bits(cap, 8, 5),
    maxGuestAddressBits: bits(cap, 16, 6) + 1,
    largePages: bits(cap, 34, 4),
    firstStage1GPages: bit(cap, 56),
    postedInterrupts: bit(cap, 59),
    firstStage5Level: bit(cap, 60),
    queuedInvalidation: bit(ecap, 1),
    deviceTlb: bit(ecap, 2),
    interruptRemapping: bit(ecap, 3),
    snoopControl: bit(ecap, 7),
    nestedTranslation: bit(ecap, 26),
    pageRequests: bit(ecap, 29),
    pasid,
    pasidBits: pasid ? bits(ecap, 35, 5) + 1 : 0,
    scalableMode: bit(ecap, 43),
    secondStageDirty: bit(ecap, 45),
    secondStage: bit(ecap, 46),
    firstStage: bit(ecap, 47),
    coherentPageWalk: bit(ecap, 48),
  };
}

/** Arm SMMUv3 specification (IHI 0070), section 6.3: the fields that the kernel lets user space rely on. */
export interface Smmuv3Features {
  /** Stage 1 translation (S1P). */
  readonly stage1: boolean;
  /** Stage 2 translation (S2P). */
  readonly stage2: boolean;
  /** Table formats: 2 is AArch64, 3 is both (TTF). */
  readonly tableFormat: number;
  /** The SMMU reads tables and queues coherently with processor caches (COHACC). */
  readonly coherentAccess: boolean;
  /** Hardware translation table updates: 1 access flag, 2 dirty state too (HTTU). */
  readonly hardwareUpdates: number;
  /** Address translation services of PCIe (ATS). */
  readonly ats: boolean;
  /** Address space ids have 16 bits, otherwise 8 (ASID16). */
  readonly asid16: boolean;
  /** Page requests of PCIe (PRI). */
  readonly pri: boolean;
  /** Context descriptor tables of two levels (CD2L). */
  readonly twoLevelContextTable: boolean;
  /** Endianness of tables: 0 mixed, 2 little, 3 big (TTENDIAN). */
  readonly tableEndian: number;
  /** 0 stall and terminate, 1 terminate only, 2 stall only (STALL_MODEL). */
  readonly stallModel: number;
  /** A terminated transaction always aborts; otherwise it can also read zeros and ignore writes (TERM_MODEL). */
  readonly terminateModel: boolean;
  /** 1: stream tables of two levels (ST_LEVEL). */
  readonly streamTableLevels: number;
  /** Width of stream ids in bits (SIDSIZE). */
  readonly streamIdBits: number;
  /** Width of substream ids in bits; 0 without substreams (SSIDSIZE). */
  readonly substreamIdBits: number;
  /** Stage 2 can force write-back memory attributes (FWB). */
  readonly forceWriteBack: boolean;
  /** Invalidation of address ranges, and level hints (RIL). */
  readonly rangeInvalidation: boolean;
  /** Break-before-make level (BBML). */
  readonly breakBeforeMake: number;
  /** Translation granule of 4 KiB (GRAN4K). */
  readonly granule4K: boolean;
  /** Translation granule of 16 KiB (GRAN16K). */
  readonly granule16K: boolean;
  /** Translation granule of 64 KiB (GRAN64K). */
  readonly granule64K: boolean;
  /** 1: 52-bit virtual addresses (VAX). */
  readonly virtualAddressExtension: number;
}

export function decodeSmmuv3(idr: readonly number[]): Smmuv3Features {
  const [idr0 = 0n, idr1 = 0n, , idr3 = 0n, , idr5 = 0n] = idr.map(BigInt);
  return {
    stage2: bit(idr0, 0),
    stage1: bit(idr0, 1),
    tableFormat: bits(idr0, 2, 2),
    coherentAccess: bit(idr0, 4),
    hardwareUpdates: bits(idr0, 6, 2),
    ats: bit(idr0, 10),
    asid16: bit(idr0, 12),
    pri: bit(idr0, 16),
    twoLevelContextTable: bit(idr0, 19),
    tableEndian: bits(idr0, 21, 2),
    stallModel: bits(idr0, 24, 2),
    terminateModel: bit(idr0, 26),
    streamTableLevels: bits(idr0, 27, 2),
    streamIdBits: bits(idr1, 0, 6),
    substreamIdBits: bits(idr1, 6, 5),
    forceWriteBack: bit(idr3, 8),
    rangeInvalidation: bit(idr3, 10),
    breakBeforeMake: bits(idr3, 11, 2),
    granule4K: bit(idr5, 4),
    granule16K: bit(idr5, 5),
    granule64K: bit(idr5, 6),
    virtualAddressExtension: bits(idr5, 10, 2),
  };
}

/** AMD I/O Virtualization Technology specification (48882), extended feature register. */
export interface AmdFeatures {
  /** The IOMMU accepts prefetch commands (PreFSup). */
  readonly prefetch: boolean;
  /** Page requests of devices, which PRI needs (PPRSup). */
  readonly pageRequests: boolean;
  /** Interrupts can have x2APIC destinations (XTSup). */
  readonly x2apic: boolean;
  /** No-execute and privilege bits of page tables are honoured (NXSup). */
  readonly noExecute: boolean;
  /** Guest virtual addresses can be translated (GTSup). */
  readonly guestTranslation: boolean;
  /** Interrupts can go to a guest's virtual APIC (GASup). */
  readonly guestApic: boolean;
  /** Host address translation levels: 0 four, 1 five, 2 six (HATS). */
  readonly hostLevels: number;
  /** Guest address translation levels: 0 four, 1 five (GATS). */
  readonly guestLevels: number;
  /** Guest CR3 root table levels (GLXSup). */
  readonly guestCr3Levels: number;
  /** Bits of PASID (PASmax + 1). */
  readonly pasidBits: number;
  /** I/O protection by guest page tables (GIOSup). */
  readonly guestIo: boolean;
  /** The IOMMU sets accessed bits in host page tables (HASup). */
  readonly hostAccessFlag: boolean;
  /** Enhanced handling of page requests (EPHSup). */
  readonly enhancedPageRequests: boolean;
  /** The IOMMU sets dirty bits in host page tables (HDSup). */
  readonly hostDirtyFlag: boolean;
}

export function decodeAmd(efr: bigint): AmdFeatures {
  return {
    prefetch: bit(efr, 0),
    pageRequests: bit(efr, 1),
    x2apic: bit(efr, 2),
    noExecute: bit(efr, 3),
    guestTranslation: bit(efr, 4),
    guestApic: bit(efr, 7),
    hostLevels: bits(efr, 10, 2),
    guestLevels: bits(efr, 12, 2),
    guestCr3Levels: bits(efr, 14, 2),
    pasidBits: bits(efr, 32, 5) + 1,
    guestIo: bit(efr, 48),
    hostAccessFlag: bit(efr, 49),
    enhancedPageRequests: bit(efr, 50),
    hostDirtyFlag: bit(efr, 52),
  };
}
