/** Features that quirks forbid. */
import type { AdminTarget } from "../command/admin-target.js";
import { assertNoQuirk } from "../quirks/quirks.js";
import { decodeBits } from "../spec/capabilities.js";
import { Feature, powerTransitions } from "../spec/features.js";
import { FeatureId } from "../spec/opcodes.js";

const APST_ENABLED = 1;
/** TMPSEL: thresholds 1 to 8 are of sensors. */
const LAST_SENSOR = 8;

/**
 * Checks a Get Features or Set Features against the controller's quirks.
 * @param cdw11 value, or what is asked for
 * @throws UnsupportedError that names the quirk
 */
export function assertFeature(
  target: AdminTarget,
  fid: number,
  action: "get" | "set",
  cdw11: number,
  data?: Uint8Array,
): void {
  if (fid === FeatureId.temperatureThreshold) {
    const { sensor } = decodeBits(cdw11, Feature.temperatureThreshold.table);
    if (sensor > 0 && sensor <= LAST_SENSOR) {
      assertNoQuirk(target, "no-sensor-thresholds", `the temperature threshold of sensor ${sensor}`);
    }
    if (action === "set")
      assertNoQuirk(target, "no-temperature-threshold", "Set Features of a temperature threshold");
  }
  if (action === "get") return;
  const { npss } = target.identify;
  if (fid === FeatureId.powerManagement && npss > 0) {
    const { powerState } = decodeBits(cdw11, Feature.powerManagement.table);
    if (powerState === npss) assertNoQuirk(target, "no-deepest-power-state", `power state ${npss}`);
  }
  if (fid === FeatureId.autonomousPowerStateTransition && (cdw11 & APST_ENABLED) !== 0) {
    assertNoQuirk(target, "no-apst", "Autonomous Power State Transition");
    const isDeepest = entriesOf(data).some(
      ({ powerState, milliseconds }) => milliseconds > 0 && powerState === npss,
    );
    if (isDeepest) assertNoQuirk(target, "no-deepest-power-state", `power state ${npss}`);
  }
}

function entriesOf(data: Uint8Array | undefined): ReturnType<typeof powerTransitions.decode>["entry"] {
  return data?.length === powerTransitions.sizeBytes ? powerTransitions.decode(data).entry : [];
}
