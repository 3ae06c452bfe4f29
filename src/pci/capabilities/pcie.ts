/** The PCI Express capability: device, link, slot and root port. */
import { lazily } from "../../core/lazy.js";
import { reg16, reg32 } from "../../registers/declaration.js";
import { bit, bits, choice } from "../../registers/field-spec.js";
import { capability, numbered } from "./declare.js";

/** Device/Port Types. */
export const portTypes = {
  endpoint: 0,
  legacyEndpoint: 1,
  rootPort: 4,
  upstreamPort: 5,
  downstreamPort: 6,
  pciBridge: 7,
  reverseBridge: 8,
  integratedEndpoint: 9,
  eventCollector: 10,
};
/** Types of functions that receive what a hierarchy reports. */
export const rootTypes: readonly (number | undefined)[] = [portTypes.rootPort, portTypes.eventCollector];

const payload = numbered("128 B", "256 B", "512 B", "1024 B", "2048 B", "4096 B");
const speeds = {
  "2.5 GT/s": 1,
  "5 GT/s": 2,
  "8 GT/s": 3,
  "16 GT/s": 4,
  "32 GT/s": 5,
  "64 GT/s": 6,
};
const aspm = numbered("none", "L0s", "L1", "L0s L1");
const powerScale = numbered("1", "0.1", "0.01", "0.001");
const indicator = { on: 1, blink: 2, off: 3 };
const timeouts = {
  "50 us to 50 ms": 0,
  "50 us to 100 us": 1,
  "1 ms to 10 ms": 2,
  "16 ms to 55 ms": 5,
  "65 ms to 210 ms": 6,
  "260 ms to 900 ms": 9,
  "1 s to 3.5 s": 10,
  "4 s to 13 s": 13,
  "17 s to 64 s": 14,
};
const obff = numbered("none", "message", "WAKE#", "WAKE# and message");
const emergency = numbered("none", "device-specific", "form factor or device-specific");

const link = lazily(() => ({
  linkCapabilities: reg32(0x0c, {
    access: "ro",
    fields: {
      maxSpeed: choice(3, 0, speeds),
      maxWidth: bits(9, 4),
      aspm: choice(11, 10, aspm),
      l0sExit: choice(
        14,
        12,
        numbered("<64 ns", "<128 ns", "<256 ns", "<512 ns", "<1 us", "<2 us", "<4 us", "unlimited"),
      ),
      l1Exit: choice(
        17,
        15,
        numbered("<1 us", "<2 us", "<4 us", "<8 us", "<16 us", "<32 us", "<64 us", "unlimited"),
      ),
      clockPm: bit(18),
      surpriseDown: bit(19),
      activeReporting: bit(20),
      bandwidthNotification: bit(21),
      aspmOptionality: bit(22),
      portNumber: bits(31, 24),
    },
  }),
  linkControl: reg16(0x10, {
    fields: {
      aspm: choice(1, 0, aspm),
      ptmInterpretation: bit(2),
      completionBoundary: choice(3, 3, numbered("64 B", "128 B")),
      disable: bit(4),
      retrain: bit(5),
      commonClock: bit(6),
      extendedSynch: bit(7),
      clockPm: bit(8),
      autonomousWidthDisable: bit(9),
      bandwidthInterrupt: bit(10),
      autonomousBandwidthInterrupt: bit(11),
      flitModeDisable: bit(13),
      drsSignaling: bits(15, 14),
    },
  }),
  linkStatus: reg16(0x12, {
    fields: {
      speed: choice(3, 0, speeds, { access: "ro" }),
      width: bits(9, 4, { access: "ro" }),
      trainingError: bit(10, { access: "ro" }),
      training: bit(11, { access: "ro" }),
      slotClock: bit(12, { access: "ro" }),
      active: bit(13, { access: "ro" }),
      bandwidthManagement: bit(14, { access: "w1c" }),
      autonomousBandwidth: bit(15, { access: "w1c" }),
    },
  }),
}));

const slot = lazily(() => ({
  slotCapabilities: reg32(0x14, {
    access: "ro",
    fields: {
      attentionButton: bit(0),
      powerController: bit(1),
      mrlSensor: bit(2),
      attentionIndicator: bit(3),
      powerIndicator: bit(4),
      hotPlugSurprise: bit(5),
      hotPlug: bit(6),
      powerLimit: bits(14, 7),
      powerLimitScale: choice(16, 15, powerScale),
      interlock: bit(17),
      noCommandCompleted: bit(18),
      slotNumber: bits(31, 19),
    },
  }),
  slotControl: reg16(0x18, {
    fields: {
      attentionButton: bit(0),
      powerFault: bit(1),
      mrlSensor: bit(2),
      presence: bit(3),
      commandCompleted: bit(4),
      hotPlugInterrupt: bit(5),
      attentionIndicator: choice(7, 6, indicator),
      powerIndicator: choice(9, 8, indicator),
      powerOff: bit(10),
      interlock: bit(11),
      linkState: bit(12),
      autoPowerLimitDisable: bit(13),
      inBandPresenceDisable: bit(14),
    },
  }),
  slotStatus: reg16(0x1a, {
    access: "w1c",
    fields: {
      attentionButton: bit(0),
      powerFault: bit(1),
      mrlSensor: bit(2),
      presenceChanged: bit(3),
      commandCompleted: bit(4),
      mrlOpen: bit(5, { access: "ro" }),
      present: bit(6, { access: "ro" }),
      interlock: bit(7, { access: "ro" }),
      linkState: bit(8),
    },
  }),
}));

const root = lazily(() => ({
  rootControl: reg16(0x1c, {
    fields: {
      correctable: bit(0),
      nonFatal: bit(1),
      fatal: bit(2),
      pmeInterrupt: bit(3),
      retryVisible: bit(4),
    },
  }),
  rootCapabilities: reg16(0x1e, { access: "ro", fields: { retryVisible: bit(0) } }),
  rootStatus: reg32(0x20, {
    fields: {
      pmeRequester: bits(15, 0, { access: "ro" }),
      pme: bit(16, { access: "w1c" }),
      pmePending: bit(17, { access: "ro" }),
    },
  }),
}));

const device2 = lazily(() => ({
  deviceCapabilities2: reg32(0x24, {
    access: "ro",
    fields: {
      timeoutRanges: choice(3, 0, {
        none: 0,
        A: 1,
        B: 2,
        AB: 3,
        BC: 6,
        ABC: 7,
        BCD: 14,
        ABCD: 15,
      }),
      timeoutDisable: bit(4),
      ariForwarding: bit(5),
      atomicRouting: bit(6),
      atomic32: bit(7),
      atomic64: bit(8),
      atomic128: bit(9),
      noRelaxedPeerWrites: bit(10),
      ltr: bit(11),
      tphCompleter: choice(13, 12, { none: 0, TPH: 1, "TPH and extended": 3 }),
      tenBitTagCompleter: bit(16),
      tenBitTagRequester: bit(17),
      obff: choice(19, 18, obff),
      extendedFmt: bit(20),
      tlpPrefix: bit(21),
      maxTlpPrefixes: choice(23, 22, numbered("4", "1", "2", "3")),
      emergencyPower: choice(25, 24, emergency),
      emergencyPowerInit: bit(26),
      dmwrCompleter: bit(28),
      dmwrLengths: bits(30, 29),
      frs: bit(31),
    },
  }),
  deviceControl2: reg16(0x28, {
    fields: {
      timeout: choice(3, 0, timeouts),
      timeoutDisable: bit(4),
      ariForwarding: bit(5),
      atomicRequester: bit(6),
      atomicEgressBlock: bit(7),
      idoRequest: bit(8),
      idoCompletion: bit(9),
      ltr: bit(10),
      emergencyPowerRequest: bit(11),
      tenBitTag: bit(12),
      obff: choice(14, 13, numbered("off", "message A", "message B", "WAKE#")),
      tlpPrefixBlock: bit(15),
    },
  }),
}));

const equalization = lazily(() => ({
  equalizationComplete: bit(1),
  equalizationPhase1: bit(2),
  equalizationPhase2: bit(3),
  equalizationPhase3: bit(4),
}));

const link2 = lazily(() => ({
  linkCapabilities2: reg32(0x2c, {
    access: "ro",
    fields: {
      speeds: bits(7, 1),
      crosslink: bit(8),
      lowerSkpGeneration: bits(15, 9),
      lowerSkpReception: bits(22, 16),
      retimer: bit(23),
      twoRetimers: bit(24),
      drs: bit(31),
    },
  }),
  linkControl2: reg16(0x30, {
    fields: {
      targetSpeed: choice(3, 0, speeds),
      enterCompliance: bit(4),
      autonomousSpeedDisable: bit(5),
      selectableDeemphasis: choice(6, 6, numbered("-6 dB", "-3.5 dB")),
      transmitMargin: bits(9, 7),
      modifiedCompliance: bit(10),
      complianceSos: bit(11),
      compliancePreset: bits(15, 12),
    },
  }),
  linkStatus2: reg16(0x32, {
    access: "ro",
    fields: {
      deemphasis: choice(0, 0, numbered("-6 dB", "-3.5 dB")),
      ...equalization(),
      equalizationRequest: bit(5, { access: "w1c" }),
      retimer: bit(6),
      twoRetimers: bit(7),
      crosslink: choice(9, 8, numbered("unsupported", "upstream", "downstream", "incomplete")),
      flitMode: bit(10),
      downstreamComponent: bits(14, 12),
      drsReceived: bit(15, { access: "w1c" }),
    },
  }),
}));

const slot2 = lazily(() => ({
  slotCapabilities2: reg32(0x34, { access: "ro", fields: { inBandPresenceDisable: bit(0) } }),
  slotControl2: reg16(0x38),
  slotStatus2: reg16(0x3a),
}));

/** The registers if the function has them: every name is always there. */
function where<S extends object>(has: boolean, specs: S): { [K in keyof S]: S[K] | undefined } {
  if (has) return specs;
  // The same names, each undefined.
  return Object.fromEntries(Object.keys(specs).map((name) => [name, undefined])) as {
    [K in keyof S]: undefined;
  };
}

/** PCIe 6.0, 7.5.3. */
export const pcie = capability(
  0x10,
  "PCI Express",
  () => ({
    capabilities: reg16(0x02, {
      access: "ro",
      fields: {
        version: bits(3, 0),
        portType: choice(7, 4, portTypes),
        slot: bit(8),
        interruptMessage: bits(13, 9),
        flitMode: bit(15),
      },
    }),
    deviceCapabilities: reg32(0x04, {
      access: "ro",
      fields: {
        maxPayload: choice(2, 0, payload),
        phantomFunctions: bits(4, 3),
        extendedTag: bit(5),
        l0sLatency: choice(
          8,
          6,
          numbered("64 ns", "128 ns", "256 ns", "512 ns", "1 us", "2 us", "4 us", "unlimited"),
        ),
        l1Latency: choice(
          11,
          9,
          numbered("1 us", "2 us", "4 us", "8 us", "16 us", "32 us", "64 us", "unlimited"),
        ),
        attentionButton: bit(12),
        attentionIndicator: bit(13),
        powerIndicator: bit(14),
        roleBasedErrors: bit(15),
        errCorSubclass: bit(16),
        slotPowerLimit: bits(25, 18),
        slotPowerScale: choice(27, 26, powerScale),
        flr: bit(28),
        mixedPayload: bit(29),
        teeIo: bit(30),
      },
    }),
    deviceControl: reg16(0x08, {
      fields: {
        correctable: bit(0),
        nonFatal: bit(1),
        fatal: bit(2),
        unsupported: bit(3),
        relaxedOrdering: bit(4),
        maxPayload: choice(7, 5, payload),
        extendedTag: bit(8),
        phantomFunctions: bit(9),
        auxPower: bit(10),
        noSnoop: bit(11),
        maxReadRequest: choice(14, 12, payload),
        flrOrBridgeRetry: bit(15),
      },
    }),
    deviceStatus: reg16(0x0a, {
      access: "w1c",
      fields: {
        correctable: bit(0),
        nonFatal: bit(1),
        fatal: bit(2),
        unsupported: bit(3),
        auxPower: bit(4, { access: "ro" }),
        transactionsPending: bit(5, { access: "ro" }),
        emergencyPower: bit(6),
      },
    }),
  }),
  ({ capabilities }) => {
    const { version, portType, slot: hasSlot } = capabilities.decode();
    const hasLink = portType !== "integratedEndpoint" && portType !== "eventCollector";
    const isSecond = version >= 2;
    return {
      ...where(hasLink, link()),
      ...where(hasSlot, slot()),
      ...where(portType === "rootPort" || portType === "eventCollector", root()),
      ...where(isSecond, device2()),
      ...where(isSecond && hasLink, link2()),
      ...where(isSecond && hasSlot, slot2()),
    };
  },
);
