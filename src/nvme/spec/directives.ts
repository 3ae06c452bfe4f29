/** Directives: NVMe Base 2.x, section "Directives". */
import { bytes, u8, u16, u32 } from "../../core/struct.js";
import { at, record } from "./record.js";

/** DTYPE. */
export const DirectiveType = { identify: 0, streams: 1, dataPlacement: 2 } as const;

/** Identify directive, Return Parameters: a bit for each type. */
export const identifyDirectives = record("Identify Directive Parameters", 4096, {
  supported: at(0, bytes(32)),
  enabled: at(32, bytes(32)),
  persistent: at(64, bytes(32)),
});

/** Of a directive type. */
export interface DirectiveState {
  readonly enabled: boolean;
  /** Stays enabled over resets. */
  readonly persistent: boolean;
}

/** Streams directive, Return Parameters. */
export const streamsParameters = record("Streams Directive Parameters", 32, {
  /** Most streams, available, open: of the subsystem. */
  msl: at(0, u16),
  nssa: at(2, u16),
  nsso: at(4, u16),
  nssc: at(6, u8),
  /** Stream write size in blocks; stream granularity in those. */
  sws: at(16, u32),
  sgs: at(20, u16),
  /** Allocated and open: of the namespace. */
  nsa: at(22, u16),
  nso: at(24, u16),
});
export type StreamsParameters = ReturnType<typeof streamsParameters.decode>;
