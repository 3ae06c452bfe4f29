/** Power states: NVMe Base 2.x, figure "Power State Descriptor Data Structure". */
import { u8, u16, u32 } from "../../core/struct.js";
import { at, bits, record } from "./record.js";

/** One power state, 32 bytes of Identify Controller. Latencies in microseconds. */
export const powerState = record("Power State Descriptor", 32, {
  /** Maximum power: in hundredths of a watt, or in ten-thousandths where MXPS is 1. */
  mp: at(0, u16),
  mxps: at(3, bits(u8, 0, 1)),
  /** Non-operational: no I/O commands are processed. */
  nops: at(3, bits(u8, 1, 1)),
  enlat: at(4, u32),
  exlat: at(8, u32),
  rrt: at(12, bits(u8, 0, 5)),
  rrl: at(13, bits(u8, 0, 5)),
  rwt: at(14, bits(u8, 0, 5)),
  rwl: at(15, bits(u8, 0, 5)),
  idlp: at(16, u16),
  /** Scale of IDLP and ACTP: 1 is 0.1 mW, 2 is 10 mW. */
  ips: at(18, bits(u8, 6, 2)),
  actp: at(20, u16),
  apw: at(22, bits(u8, 0, 3)),
  aps: at(22, bits(u8, 6, 2)),
  epfrt: at(23, u8),
  fqvt: at(24, u8),
  epfvt: at(25, u8),
  epfrts: at(26, bits(u8, 0, 4)),
  fqvts: at(26, bits(u8, 4, 4)),
  epfvts: at(27, bits(u8, 0, 4)),
});
export type PowerState = ReturnType<typeof powerState.decode>;

/** @returns the most a power state takes, in watts; undefined where it isn't told */
export function maximumPowerWatts({ mp, mxps }: PowerState): number | undefined {
  return mp === 0 ? undefined : mp * (mxps === 1 ? 0.0001 : 0.01);
}
