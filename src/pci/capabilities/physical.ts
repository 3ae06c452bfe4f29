/** Capabilities of links and lanes. */
import { lazily } from "../../core/lazy.js";
import { nested, reg8, reg16, reg32, repeated } from "../../registers/declaration.js";
import { bit, bits } from "../../registers/field-spec.js";
import { capability } from "./declare.js";

/** PCIe 6.0, 7.7.3. */
export const secondaryPcie = capability(
  0x0019,
  "Secondary PCI Express",
  () => ({
    linkControl3: reg32(4, {
      fields: { performEqualization: bit(0), equalizationInterrupt: bit(1), lowerSkpGeneration: bits(15, 9) },
    }),
    laneErrors: reg32(8, { access: "w1c" }),
  }),
  (_, { lanes }) => ({
    lanes:
      lanes === 0
        ? undefined
        : repeated(
            lanes,
            2,
            reg16(12, {
              fields: {
                downstreamPreset: bits(3, 0),
                downstreamHint: bits(6, 4),
                upstreamPreset: bits(11, 8),
                upstreamHint: bits(14, 12),
              },
            }),
          ),
  }),
);

const equalization = lazily(
  () =>
    ({
      complete: bit(0),
      phase1: bit(1),
      phase2: bit(2),
      phase3: bit(3),
      request: bit(4, { access: "w1c" }),
    }) as const,
);
/** One byte for each lane. */
const presets = (lanes: number) =>
  lanes === 0
    ? undefined
    : repeated(
        lanes,
        1,
        reg8(0x20, { fields: { downstreamPreset: bits(3, 0), upstreamPreset: bits(7, 4) } }),
      );

/** PCIe 6.0, 7.7.5. */
export const physical16 = capability(
  0x0026,
  "Physical Layer 16.0 GT/s",
  () => ({
    capabilities: reg32(4, { access: "ro" }),
    control: reg32(8),
    status: reg32(12, { access: "ro", fields: equalization() }),
    parityMismatch: reg32(16, { access: "w1c" }),
    retimer1Mismatch: reg32(20, { access: "w1c" }),
    retimer2Mismatch: reg32(24, { access: "w1c" }),
  }),
  (_, { lanes }) => ({ lanes: presets(lanes) }),
);

/** PCIe 6.0, 7.7.6. */
export const physical32 = capability(
  0x002a,
  "Physical Layer 32.0 GT/s",
  () => ({
    capabilities: reg32(4, {
      access: "ro",
      fields: {
        equalizationBypass: bit(0),
        noEqualization: bit(1),
        modifiedTs1: bit(8),
        modifiedTs2: bit(9),
      },
    }),
    control: reg32(8, {
      fields: { equalizationBypassDisable: bit(0), noEqualizationDisable: bit(1), usage: bits(10, 8) },
    }),
    status: reg32(12, {
      access: "ro",
      fields: {
        ...equalization(),
        modifiedTsReceived: bit(5),
        receivedControl: bits(7, 6),
        transmitterPrecoding: bit(8),
      },
    }),
    receivedTs: repeated(2, 4, reg32(16, { access: "ro" })),
    transmittedTs: repeated(2, 4, reg32(24, { access: "ro" })),
  }),
  (_, { lanes }) => ({ lanes: presets(lanes) }),
);

/** PCIe 6.0, 7.7.7. */
export const physical64 = capability(
  0x0031,
  "Physical Layer 64.0 GT/s",
  () => ({
    capabilities: reg32(4, { access: "ro" }),
    control: reg32(8),
    status: reg32(12, { access: "ro", fields: equalization() }),
  }),
  (_, { lanes }) => ({ lanes: presets(lanes) }),
);

const margin = { receiver: bits(2, 0), type: bits(5, 3), usageModel: bit(6), payload: bits(15, 8) };

/** PCIe 6.0, 7.7.10. */
export const margining = capability(
  0x0027,
  "Lane Margining at the Receiver",
  () => ({
    capabilities: reg16(4, { access: "ro", fields: { usesSoftware: bit(0) } }),
    status: reg16(6, { access: "ro", fields: { ready: bit(0), softwareReady: bit(1) } }),
  }),
  (_, { lanes }) => ({
    lanes:
      lanes === 0
        ? undefined
        : repeated(
            lanes,
            4,
            nested(8, {
              control: reg16(0, { fields: margin }),
              status: reg16(2, { access: "ro", fields: margin }),
            }),
          ),
  }),
);

/** PCIe 6.0, 7.7.4. */
export const dataLinkFeature = capability(0x0025, "Data Link Feature", () => ({
  capabilities: reg32(4, { fields: { local: bits(22, 0, { access: "ro" }), exchange: bit(31) } }),
  status: reg32(8, { access: "ro", fields: { remote: bits(22, 0), remoteValid: bit(31) } }),
}));

/** Protocol Multiplexing, PCIe 3.1, 7.30. */
export const pmux = capability(0x001a, "Protocol Multiplexing", () => ({
  capabilities: reg32(4, { access: "ro" }),
  control: reg32(8),
  status: reg32(12),
}));

/** PCIe 6.0, 7.7.9. */
export const device3 = capability(0x002f, "Device 3", () => ({
  capabilities: reg32(4, {
    access: "ro",
    fields: {
      dmwrEgressBlock: bit(0),
      fourteenBitTagCompleter: bit(1),
      fourteenBitTagRequester: bit(2),
      l0p: bit(3),
      portL0pExit: bits(6, 4),
      retimerL0pExit: bits(9, 7),
    },
  }),
  control: reg32(8, {
    fields: {
      dmwrRequester: bit(0),
      dmwrEgressBlock: bit(1),
      fourteenBitTag: bit(2),
      l0p: bit(3),
      targetWidth: bits(6, 4),
    },
  }),
  status: reg32(12, {
    access: "ro",
    fields: { initialWidth: bits(2, 0), segmentCaptured: bit(3), remoteL0p: bit(4) },
  }),
}));

/** PCIe 6.0, 7.7.8. */
export const flitLogging = capability(0x0032, "Flit Logging", () => ({
  errorLog1: reg32(4),
  errorLog2: reg32(8, { access: "ro" }),
  counterControl: reg16(12),
  counterStatus: reg16(14),
  measurementControl: reg32(16),
  measurements: repeated(10, 4, reg32(20, { access: "ro" })),
}));

/** PCIe 6.0, 7.8.12. */
export const flitPerformance = capability(0x0033, "Flit Performance Measurement", () => ({
  capabilities: reg32(4, { access: "ro" }),
  control: reg32(8),
  status: reg32(12),
}));

/** PCIe 6.0, 7.8.13. */
export const flitInjection = capability(0x0034, "Flit Error Injection", () => ({
  capabilities: reg32(4, { access: "ro" }),
  control: repeated(2, 4, reg32(8)),
  status: reg32(16, { access: "ro" }),
}));
