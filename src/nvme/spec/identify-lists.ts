/** Identify data structures that are lists: NVMe Base 2.x, section "Identify command". */
import { array, bytes, u8, u16, u32, u64 } from "../../core/struct.js";
import { IDENTIFY_BYTES } from "./identify.js";
import { at, bits, nested, record, u128 } from "./record.js";

/** Most namespace ids in a list of 4096 bytes. */
export const NAMESPACE_LIST_ENTRIES = 1024;
/** Most controller identifiers in a list of 4096 bytes. */
export const CONTROLLER_LIST_ENTRIES = 2047;

/** CNS 02h, 07h, 10h, 1Ah: ids in ascending order, ended by 0. */
export const namespaceList = record("Namespace List", IDENTIFY_BYTES, {
  ids: at(0, array(u32, NAMESPACE_LIST_ENTRIES)),
});

/** CNS 12h and 13h; also the data of Namespace Attachment. */
export const controllerList = record("Controller List", IDENTIFY_BYTES, {
  num: at(0, u16),
  identifier: at(2, array(u16, CONTROLLER_LIST_ENTRIES)),
});

/** CNS 19h. */
export const enduranceGroupList = record("Endurance Group List", IDENTIFY_BYTES, {
  num: at(0, u16),
  identifier: at(2, array(u16, CONTROLLER_LIST_ENTRIES)),
});

const nvmSet = record("NVM Set Attributes Entry", 128, {
  /** NVM set identifier. */
  nvmsetid: at(0, u16),
  /** Endurance group of the set. */
  endgid: at(2, u16),
  /** Typical time of a random read of 4 KiB, in units of 100 ns. */
  rr4kt: at(8, u32),
  /** Optimal write size in bytes. */
  ows: at(12, u32),
  /** Total capacity, in bytes. */
  tnvmsetcap: at(16, u128),
  /** Unallocated capacity, in bytes. */
  unvmsetcap: at(32, u128),
});
/** An entry of the NVM Set list (CNS 04h), decoded. */
export type NvmSet = ReturnType<typeof nvmSet.decode>;

/** CNS 04h. */
export const nvmSetList = record("NVM Set List", IDENTIFY_BYTES, {
  nid: at(0, u8),
  ent: at(128, array(nested(nvmSet), 31)),
});

const granularity = record("Namespace Granularity Descriptor", 16, {
  /** Preferred granularity of a namespace's size (NSZE), in bytes. */
  nszegran: at(0, u64),
  /** Preferred granularity of a namespace's capacity (NCAP), in bytes. */
  ncapgran: at(8, u64),
});
/** A descriptor of the Namespace Granularity list (CNS 16h), decoded. */
export type NamespaceGranularity = ReturnType<typeof granularity.decode>;

/** CNS 16h. One descriptor for all formats, or one for each. */
export const namespaceGranularityList = record("Namespace Granularity List", IDENTIFY_BYTES, {
  attributes: at(0, u32),
  /** Zero-based. */
  num_descriptors: at(4, u8),
  entry: at(32, array(nested(granularity), 16)),
});

const uuidEntry = record("UUID List Entry", 32, {
  /** 1: of the PCI vendor; 2: of the PCI subsystem vendor. */
  association: at(0, bits(u8, 0, 2)),
  /** The UUID, most significant byte first. */
  uuid: at(16, bytes(16)),
});

/** CNS 17h: ended by a UUID of zeros. */
export const uuidList = record("UUID List", IDENTIFY_BYTES, {
  entry: at(32, array(nested(uuidEntry), 127)),
});

const domain = record("Domain Attributes Entry", 128, {
  /** Domain identifier. */
  dom_id: at(0, u16),
  /** Total capacity, in bytes. */
  dom_cap: at(16, u128),
  /** Unallocated capacity, in bytes. */
  unalloc_dom_cap: at(32, u128),
  /** Maximum capacity of one endurance group, in bytes. */
  max_egrp_dom_cap: at(48, u128),
});
/** An entry of the Domain list (CNS 18h), decoded. */
export type Domain = ReturnType<typeof domain.decode>;

/** CNS 18h. */
export const domainList = record("Domain List", IDENTIFY_BYTES, {
  num: at(0, u8),
  domain_attr: at(128, array(nested(domain), 31)),
});

/** CNS 1Ch: combinations of I/O command sets that can be used together (bit 0 NVM, 1 KV, 2 ZNS). */
export const commandSetCombinations = record("I/O Command Set", IDENTIFY_BYTES, {
  iocsc: at(0, array(u64, 512)),
});
