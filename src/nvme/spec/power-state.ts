/** Power states: NVMe Base 2.x, figure "Power State Descriptor Data Structure". */
import { u8, u16, u32 } from "../../core/struct.js";
import { at, bits, record } from "./record.js";

/** One power state, 32 bytes of Identify Controller. Latencies in microseconds. */
export const powerState = record("Power State Descriptor", 32, {
  /** Maximum power: in units of 0.01 W, or of 0.0001 W if MXPS is 1. */
  mp: at(0, u16),
  /** Scale of MP: 0 is 0.01 W, 1 is 0.0001 W. */
  mxps: at(3, bits(u8, 0, 1)),
  /** Non-operational: no I/O commands are processed. */
  nops: at(3, bits(u8, 1, 1)),
  /** Maximum time to enter the state, in microseconds; 0: not reported. */
  enlat: at(4, u32),
  /** Maximum time to leave the state, in microseconds; 0: not reported. */
  exlat: at(8, u32),
  /** Relative read throughput: lower is better. */
  rrt: at(12, bits(u8, 0, 5)),
  /** Relative read latency: lower is better. */
  rrl: at(13, bits(u8, 0, 5)),
  /** Relative write throughput: lower is better. */
  rwt: at(14, bits(u8, 0, 5)),
  /** Relative write latency: lower is better. */
  rwl: at(15, bits(u8, 0, 5)),
  /** Idle power over 30 seconds, in units of IPS. */
  idlp: at(16, u16),
  /** Scale of IDLP: 0 not reported, 1 is 0.1 mW, 2 is 10 mW. */
  ips: at(18, bits(u8, 6, 2)),
  /** Active power under the workload APW, in units of APS. */
  actp: at(20, u16),
  /** Workload of ACTP: 1 or 2; 0: none. */
  apw: at(22, bits(u8, 0, 3)),
  /** Scale of ACTP: 0 not reported, 1 is 0.1 mW, 2 is 10 mW. */
  aps: at(22, bits(u8, 6, 2)),
  /** Emergency power fail recovery time, in units of EPFRTS. */
  epfrt: at(23, u8),
  /** Forced quiescence vault time, in units of FQVTS. */
  fqvt: at(24, u8),
  /** Emergency power fail vault time, in units of EPFVTS. */
  epfvt: at(25, u8),
  /** Scale of EPFRT. */
  epfrts: at(26, bits(u8, 0, 4)),
  /** Scale of FQVT. */
  fqvts: at(26, bits(u8, 4, 4)),
  /** Scale of EPFVT. */
  epfvts: at(27, bits(u8, 0, 4)),
});
/** A power state descriptor, decoded. Latencies are in microseconds. */
export type PowerState = ReturnType<typeof powerState.decode>;

/** @returns the maximum power of a power state, in watts; undefined if the controller doesn't report it */
export function maximumPowerWatts({ mp, mxps }: PowerState): number | undefined {
  return mp === 0 ? undefined : mp * (mxps === 1 ? 0.0001 : 0.01);
}
