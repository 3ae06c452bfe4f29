/** What the bits of a feature's value mean, under the specification's mnemonics. */
import type { BitTable } from "../../../nvme/spec/capabilities.js";
import { FeatureId } from "../../../nvme/spec/opcodes.js";

export const featureFields: Readonly<Record<number, BitTable>> = {
  [FeatureId.arbitration]: { ab: [0, 3], lpw: [8, 8], mpw: [16, 8], hpw: [24, 8] },
  [FeatureId.powerManagement]: { ps: [0, 5], wh: [5, 3] },
  [FeatureId.temperatureThreshold]: { tmpth: [0, 16], tmpsel: [16, 4], thsel: [20, 2], tmpthh: [22, 3] },
  [FeatureId.errorRecovery]: { tler: [0, 16], dulbe: 16 },
  [FeatureId.volatileWriteCache]: { wce: 0 },
  [FeatureId.numberOfQueues]: { nsqa: [0, 16], ncqa: [16, 16] },
  [FeatureId.interruptCoalescing]: { thr: [0, 8], time: [8, 8] },
  [FeatureId.interruptVectorConfiguration]: { iv: [0, 16], cd: 16 },
  [FeatureId.writeAtomicityNormal]: { dn: 0 },
  [FeatureId.asyncEventConfiguration]: {
    shcw: [0, 8],
    nan: 8,
    fan: 9,
    tln: 10,
    anacn: 11,
    plealcn: 12,
    lsian: 13,
    egealcn: 14,
    nnss: 15,
    zdcn: 27,
  },
  [FeatureId.autonomousPowerStateTransition]: { apste: 0 },
  [FeatureId.hostMemoryBuffer]: { ehm: 0, mr: 1 },
  [FeatureId.keepAliveTimer]: { kato: [0, 32] },
  [FeatureId.hostControlledThermalManagement]: { tmt2: [0, 16], tmt1: [16, 16] },
  [FeatureId.nonOperationalPowerState]: { noppme: 0 },
  [FeatureId.readRecoveryLevel]: { rrl: [0, 4] },
  [FeatureId.commandSetProfile]: { iocsci: [0, 9] },
  [FeatureId.sanitizeConfig]: { nodrm: 0 },
  [FeatureId.flexibleDataPlacement]: { fdpe: 0, fdpcidx: [8, 8] },
  [FeatureId.reservationPersistence]: { ptpl: 0 },
  [FeatureId.namespaceWriteProtection]: { wps: [0, 3] },
};

/** Bytes of a feature's data structure. */
export const featureBytes: Readonly<Record<number, number>> = {
  [FeatureId.lbaRangeType]: 4096,
  [FeatureId.autonomousPowerStateTransition]: 256,
  [FeatureId.hostMemoryBuffer]: 4096,
  [FeatureId.timestamp]: 8,
  [FeatureId.hostBehaviorSupport]: 512,
  [FeatureId.hostIdentifier]: 16,
};

/** Units of fields. */
export const fieldNotes: Readonly<Record<string, string>> = {
  tmpth: "kelvin",
  tler: "in 100 ms",
  nsqa: "zero-based",
  ncqa: "zero-based",
  thr: "zero-based",
  time: "in 100 µs",
  kato: "ms",
  tmt1: "kelvin",
  tmt2: "kelvin",
};
