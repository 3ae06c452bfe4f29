/** Virtualization enhancements: NVMe Base 2.x, figures of Identify CNS 14h and 15h, and of Virtualization Management. */
import { array, u8, u16, u32 } from "../../core/struct.js";
import { IDENTIFY_BYTES } from "./identify.js";
import { at, bits, nested, record } from "./record.js";

/** Identify, CNS 14h. A VQ is a submission and a completion queue, a VI an interrupt vector. */
export const primaryControllerCapabilities = record("Primary Controller Capabilities", IDENTIFY_BYTES, {
  /** Controller identifier of the primary controller. */
  cntlid: at(0, u16),
  /** Port of the NVM subsystem (PORTID). */
  portid: at(2, u16),
  /** Controller Resource Types: bit 0 VQ, bit 1 VI. */
  crt: at(4, u8),
  /** Flexible queue pairs in total (VQFRT). */
  vqfrt: at(32, u32),
  /** Flexible queue pairs assigned to secondary controllers (VQRFA). */
  vqrfa: at(36, u32),
  /** Flexible queue pairs allocated to the primary controller (VQRFAP). */
  vqrfap: at(40, u16),
  /** Private queue pairs of the primary controller (VQPRT). */
  vqprt: at(42, u16),
  /** Most flexible queue pairs of a secondary controller (VQFRSM). */
  vqfrsm: at(44, u16),
  /** Preferred step of assigning flexible queue pairs (VQGRAN). */
  vqgran: at(46, u16),
  /** Flexible interrupt vectors in total (VIFRT). */
  vifrt: at(64, u32),
  /** Flexible interrupt vectors assigned to secondary controllers (VIRFA). */
  virfa: at(68, u32),
  /** Flexible interrupt vectors allocated to the primary controller (VIRFAP). */
  virfap: at(72, u16),
  /** Private interrupt vectors of the primary controller (VIPRT). */
  viprt: at(74, u16),
  /** Most flexible interrupt vectors of a secondary controller (VIFRSM). */
  vifrsm: at(76, u16),
  /** Preferred step of assigning flexible interrupt vectors (VIGRAN). */
  vigran: at(78, u16),
});
/** Primary Controller Capabilities (CNS 14h), decoded. */
export type PrimaryControllerCapabilities = ReturnType<typeof primaryControllerCapabilities.decode>;

const secondaryController = record("Secondary Controller Entry", 32, {
  /** Controller identifier of the secondary controller. */
  scid: at(0, u16),
  /** Controller identifier of its primary controller. */
  pcid: at(2, u16),
  /** 1: the secondary controller is online; 0: it is offline. */
  scs: at(4, bits(u8, 0, 1)),
  /** Number of the PCI virtual function, from 1; 0: the controller isn't on a virtual function. */
  vfn: at(8, u16),
  /** Flexible queue pairs assigned to it. */
  nvq: at(10, u16),
  /** Flexible interrupt vectors assigned to it. */
  nvi: at(12, u16),
});
/** An entry of the Secondary Controller List (CNS 15h), decoded. */
export type SecondaryController = ReturnType<typeof secondaryController.decode>;

/** Identify, CNS 15h. */
export const secondaryControllerList = record("Secondary Controller List", IDENTIFY_BYTES, {
  /** Number of valid entries. */
  num: at(0, u8),
  /** Entries in ascending order of the controller identifiers. */
  sc_entry: at(32, array(nested(secondaryController), 127)),
});

/** Virtualization Management, CDW10 bits 3:0 (ACT). */
export const VirtualizationAction = {
  /** Allocates flexible resources to the primary controller. */
  primaryFlexibleAllocation: 1,
  /** Takes a secondary controller offline. */
  secondaryOffline: 7,
  /** Assigns flexible resources to an offline secondary controller. */
  secondaryAssign: 8,
  /** Brings a secondary controller online. */
  secondaryOnline: 9,
} as const;

/** Virtualization Management, CDW10 bits 10:8 (RT). */
export const ResourceType = {
  /** VQ: a submission and a completion queue. */
  queues: 0,
  /** VI: an interrupt vector. */
  interrupts: 1,
} as const;
