/** Virtualization enhancements: NVMe Base 2.x, figures of Identify CNS 14h and 15h, and of Virtualization Management. */
import { array, u8, u16, u32 } from "../../core/struct.js";
import { IDENTIFY_BYTES } from "./identify.js";
import { at, bits, nested, record } from "./record.js";

/** CNS 14h. VQ: a submission and a completion queue; VI: an interrupt vector. */
export const primaryControllerCapabilities = record("Primary Controller Capabilities", IDENTIFY_BYTES, {
  cntlid: at(0, u16),
  portid: at(2, u16),
  /** Controller Resource Types: bit 0 VQ, bit 1 VI. */
  crt: at(4, u8),
  /** Flexible resources in all, assigned to secondary controllers, allocated to the primary; its private ones. */
  vqfrt: at(32, u32),
  vqrfa: at(36, u32),
  vqrfap: at(40, u16),
  vqprt: at(42, u16),
  /** Most flexible resources of a secondary controller, and in what steps. */
  vqfrsm: at(44, u16),
  vqgran: at(46, u16),
  vifrt: at(64, u32),
  virfa: at(68, u32),
  virfap: at(72, u16),
  viprt: at(74, u16),
  vifrsm: at(76, u16),
  vigran: at(78, u16),
});
export type PrimaryControllerCapabilities = ReturnType<typeof primaryControllerCapabilities.decode>;

const secondaryController = record("Secondary Controller Entry", 32, {
  scid: at(0, u16),
  pcid: at(2, u16),
  /** Online. */
  scs: at(4, bits(u8, 0, 1)),
  /** Number of the virtual function, from 1; 0 where it is none. */
  vfn: at(8, u16),
  nvq: at(10, u16),
  nvi: at(12, u16),
});
export type SecondaryController = ReturnType<typeof secondaryController.decode>;

/** CNS 15h. */
export const secondaryControllerList = record("Secondary Controller List", IDENTIFY_BYTES, {
  num: at(0, u8),
  sc_entry: at(32, array(nested(secondaryController), 127)),
});

/** Virtualization Management, CDW10 bits 3:0 (ACT). */
export const VirtualizationAction = {
  primaryFlexibleAllocation: 1,
  secondaryOffline: 7,
  secondaryAssign: 8,
  secondaryOnline: 9,
} as const;

/** The same, bits 10:8 (RT). */
export const ResourceType = { queues: 0, interrupts: 1 } as const;
