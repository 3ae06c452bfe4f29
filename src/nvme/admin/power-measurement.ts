/** The Power Measurement log (LID 25h): powers of intervals, and their histogram. */
import { NvmeProtocolError } from "../command/error.js";
import { decodeBits } from "../spec/capabilities.js";
import { MeasuredPower, powerHistogramBin, powerMeasurementLog } from "../spec/log-pages.js";
import { LogPageId } from "../spec/opcodes.js";
import type { LogSource } from "./log-source.js";

/** What a power measurement found. Powers are in watts, and undefined where the controller doesn't report them. */
export interface PowerMeasurement {
  /** The log without its histogram. */
  readonly log: ReturnType<typeof powerMeasurementLog.decode>;
  /** Average of the intervals. */
  readonly averageWatts: number | undefined;
  /** Maximum of the intervals. */
  readonly maximumWatts: number | undefined;
  /** Bins of the histogram, from the lowest power up. */
  readonly histogram: readonly {
    /** Lowest power of the bin. */
    readonly fromWatts: number | undefined;
    /** Intervals in it. */
    readonly count: number;
  }[];
}

const FIRST_BYTES = 4096;
const wattsOf = new Map([
  [1, 0.0001],
  [2, 0.01],
]);

/** @throws as NvmeLogs.read(); NvmeProtocolError if bins are shorter than the specification's */
export async function readPowerMeasurement(logs: LogSource): Promise<PowerMeasurement> {
  const first = powerMeasurementLog.sizeBytes;
  const bytes = (page: Uint8Array): number => {
    const { bins, binBytes } = powerMeasurementLog.decode(page);
    if (bins > 0 && binBytes < powerHistogramBin.sizeBytes)
      throw new NvmeProtocolError(
        `the Power Measurement log has bins of ${binBytes} bytes, less than ${powerHistogramBin.sizeBytes}`,
      );
    return first + bins * binBytes;
  };
  const page = await logs.readGrowing(LogPageId.powerMeasurement, FIRST_BYTES, bytes);
  const log = powerMeasurementLog.decode(page);
  return {
    log,
    averageWatts: watts(log.average),
    maximumWatts: watts(log.maximum),
    histogram: Array.from({ length: log.bins }, (_, i) => {
      const { count, from } = powerHistogramBin.decode(page.subarray(first + i * log.binBytes));
      return { fromWatts: watts(from), count };
    }),
  };
}

function watts(power: number): number | undefined {
  const { value, scale } = decodeBits(power, MeasuredPower);
  const unit = wattsOf.get(scale);
  return unit === undefined ? undefined : value * unit;
}
