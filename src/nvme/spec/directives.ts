/** Directives: NVMe Base 2.x, section "Directives". */
import { bytes, u8, u16, u32 } from "../../core/struct.js";
import { at, record } from "./record.js";

/** Directive types (DTYPE). */
export const DirectiveType = {
  /** Identify directive: which types are supported and enabled. */
  identify: 0,
  /** Streams directive: data with a common lifetime. */
  streams: 1,
  /** Data Placement directive (FDP). */
  dataPlacement: 2,
} as const;

/** Identify directive, Return Parameters: a bit for each type. */
export const identifyDirectives = record("Identify Directive Parameters", 4096, {
  /** Bit n: type n is supported. */
  supported: at(0, bytes(32)),
  /** Bit n: type n is enabled. */
  enabled: at(32, bytes(32)),
  /** Bit n: type n stays enabled over controller resets. */
  persistent: at(64, bytes(32)),
});

/** Of a directive type. */
export interface DirectiveState {
  /** The type is enabled for the namespace. */
  readonly enabled: boolean;
  /** Stays enabled over resets. */
  readonly persistent: boolean;
}

/** Streams directive, Return Parameters. */
export const streamsParameters = record("Streams Directive Parameters", 32, {
  /** Most open streams of the subsystem. */
  msl: at(0, u16),
  /** Streams of the subsystem that are available. */
  nssa: at(2, u16),
  /** Streams of the subsystem that are open. */
  nsso: at(4, u16),
  /** Stream capabilities of the subsystem (NSSC). */
  nssc: at(6, u8),
  /** Stream write size, in blocks: writes should be a multiple of it. */
  sws: at(16, u32),
  /** Stream granularity size, in units of `sws`. */
  sgs: at(20, u16),
  /** Streams allocated to the namespace for this host. */
  nsa: at(22, u16),
  /** Streams open in the namespace. */
  nso: at(24, u16),
});
/** Parameters of the Streams directive, decoded. */
export type StreamsParameters = ReturnType<typeof streamsParameters.decode>;
