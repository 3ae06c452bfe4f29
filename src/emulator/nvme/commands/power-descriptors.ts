/** The power states that the emulated controller reports. */
import { type PowerState, powerState } from "../../../nvme/spec/power-state.js";

/** Power states that a controller can have. */
export const MOST_POWER_STATES = 32;

/** Maximum power of state 0 and the range of the operational states, in units of 0.01 W. */
const FULL_POWER = 2500;
const OPERATIONAL_RANGE = 2000;
/** Maximum power of the first non-operational state and the range of these states, in units of 0.0001 W. */
const IDLE_POWER = 1000;
const IDLE_RANGE = 900;
/** Latencies in microseconds, for each step down. */
const OPERATIONAL_LATENCY = 100;
const IDLE_ENTRY_LATENCY = 1000;
const IDLE_EXIT_LATENCY = 5000;

/** How many of so many states are operational: the first half; the last state never is, unless it is the only one. */
export function operationalStates(count: number): number {
  return Math.ceil(count / 2);
}

/** Descriptors of `count` states: each takes less power than the one before, and is slower. */
export function powerDescriptors(count: number): PowerState[] {
  const operational = operationalStates(count);
  const idle = count - operational;
  return Array.from({ length: count }, (_, state) => {
    const relative = { rrt: state, rrl: state, rwt: state, rwl: state };
    const depth = state - operational;
    const fields =
      depth < 0
        ? {
            mp: FULL_POWER - Math.floor((state * OPERATIONAL_RANGE) / operational),
            enlat: state * OPERATIONAL_LATENCY,
            exlat: state * OPERATIONAL_LATENCY,
          }
        : {
            mp: IDLE_POWER - Math.floor((depth * IDLE_RANGE) / idle),
            mxps: 1,
            nops: 1,
            enlat: (depth + 1) * IDLE_ENTRY_LATENCY,
            exlat: (depth + 1) * IDLE_EXIT_LATENCY,
          };
    return powerState.decode(powerState.encode({ ...fields, ...relative }));
  });
}
