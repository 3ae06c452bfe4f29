/** Capabilities that report and contain errors. */
import { lazily } from "../../core/lazy.js";
import { reg16, reg32, repeated } from "../../registers/declaration.js";
import { bit, bits, choice } from "../../registers/field-spec.js";
import { capability, numbered } from "./declare.js";
import { rootTypes } from "./pcie.js";

const uncorrectable = lazily(() => ({
  dataLinkProtocol: bit(4),
  surpriseDown: bit(5),
  poisonedTlp: bit(12),
  flowControl: bit(13),
  completionTimeout: bit(14),
  completerAbort: bit(15),
  unexpectedCompletion: bit(16),
  receiverOverflow: bit(17),
  malformedTlp: bit(18),
  ecrc: bit(19),
  unsupportedRequest: bit(20),
  acsViolation: bit(21),
  internal: bit(22),
  multicastBlocked: bit(23),
  atomicEgressBlocked: bit(24),
  tlpPrefixBlocked: bit(25),
  poisonedEgressBlocked: bit(26),
  dmwrEgressBlocked: bit(27),
  ideCheck: bit(28),
  misroutedIde: bit(29),
  pcrcCheck: bit(30),
  translationEgressBlocked: bit(31),
}));
const correctable = lazily(() => ({
  receiver: bit(0),
  badTlp: bit(6),
  badDllp: bit(7),
  replayRollover: bit(8),
  replayTimeout: bit(12),
  advisoryNonFatal: bit(13),
  internal: bit(14),
  headerLogOverflow: bit(15),
}));

/** PCIe 6.0, 7.8.4. */
export const aer = capability(
  0x0001,
  "Advanced Error Reporting",
  () => ({
    uncorrectableStatus: reg32(0x04, { access: "w1c", fields: uncorrectable() }),
    uncorrectableMask: reg32(0x08, { fields: uncorrectable() }),
    uncorrectableSeverity: reg32(0x0c, { fields: uncorrectable() }),
    correctableStatus: reg32(0x10, { access: "w1c", fields: correctable() }),
    correctableMask: reg32(0x14, { fields: correctable() }),
    control: reg32(0x18, {
      fields: {
        firstError: bits(4, 0, { access: "ro" }),
        ecrcGenerationCapable: bit(5, { access: "ro" }),
        ecrcGeneration: bit(6),
        ecrcCheckCapable: bit(7, { access: "ro" }),
        ecrcCheck: bit(8),
        multipleHeadersCapable: bit(9, { access: "ro" }),
        multipleHeaders: bit(10),
        tlpPrefixLog: bit(11, { access: "ro" }),
        timeoutLogCapable: bit(12, { access: "ro" }),
        flitMode: bit(18, { access: "ro" }),
        logSize: bits(23, 19, { access: "ro" }),
      },
    }),
    headerLog: repeated(4, 4, reg32(0x1c, { access: "ro" })),
  }),
  ({ control }, { portType }) => {
    const isRoot = rootTypes.includes(portType);
    return {
      rootCommand: isRoot
        ? reg32(0x2c, { fields: { correctable: bit(0), nonFatal: bit(1), fatal: bit(2) } })
        : undefined,
      rootStatus: isRoot
        ? reg32(0x30, {
            access: "w1c",
            fields: {
              correctable: bit(0),
              multipleCorrectable: bit(1),
              uncorrectable: bit(2),
              multipleUncorrectable: bit(3),
              firstFatal: bit(4),
              nonFatal: bit(5),
              fatal: bit(6),
              interruptMessage: bits(31, 27, { access: "ro" }),
            },
          })
        : undefined,
      errorSource: isRoot
        ? reg32(0x34, { access: "ro", fields: { correctable: bits(15, 0), uncorrectable: bits(31, 16) } })
        : undefined,
      tlpPrefixLog: control.get("tlpPrefixLog") ? repeated(4, 4, reg32(0x38, { access: "ro" })) : undefined,
    };
  },
);

const pioErrors = lazily(() => ({
  configUnsupported: bit(0),
  configAbort: bit(1),
  configTimeout: bit(2),
  ioUnsupported: bit(8),
  ioAbort: bit(9),
  ioTimeout: bit(10),
  memoryUnsupported: bit(16),
  memoryAbort: bit(17),
  memoryTimeout: bit(18),
}));
/** Dwords of the RP PIO log: the header's, then one that is implementation specific, then TLP prefixes. */
const headerDwords = 4;

/** PCIe 6.0, 7.9.14. */
export const dpc = capability(
  0x001d,
  "Downstream Port Containment",
  () => ({
    capabilities: reg16(0x04, {
      access: "ro",
      fields: {
        interruptMessage: bits(4, 0),
        rootPortExtensions: bit(5),
        poisonedEgressBlock: bit(6),
        softwareTrigger: bit(7),
        pioLogSize: bits(11, 8),
        linkActiveSignal: bit(12),
        pioLogSize4: bit(13),
      },
    }),
    control: reg16(0x06, {
      fields: {
        trigger: choice(1, 0, numbered("off", "fatal", "non-fatal or fatal")),
        completion: choice(2, 2, numbered("completer abort", "unsupported request")),
        interrupt: bit(3),
        correctable: bit(4),
        poisonedEgressBlock: bit(5),
        softwareTrigger: bit(6),
        linkActiveSignal: bit(7),
      },
    }),
    status: reg16(0x08, {
      fields: {
        triggered: bit(0, { access: "w1c" }),
        reason: choice(2, 1, numbered("uncorrectable", "non-fatal message", "fatal message", "extended"), {
          access: "ro",
        }),
        interrupt: bit(3, { access: "w1c" }),
        rootPortBusy: bit(4, { access: "ro" }),
        extendedReason: choice(6, 5, numbered("RP PIO", "software"), { access: "ro" }),
        pioFirstError: bits(12, 8, { access: "ro" }),
      },
    }),
    source: reg16(0x0a, { access: "ro" }),
  }),
  ({ capabilities }) => {
    const { rootPortExtensions, pioLogSize, pioLogSize4 } = capabilities.decode();
    const dwords = rootPortExtensions ? pioLogSize + (pioLogSize4 ? 16 : 0) : 0;
    const pio = <const R extends "w1c" | "rw">(at: number, access: R) =>
      rootPortExtensions ? reg32(at, { access, fields: pioErrors() }) : undefined;
    return {
      pioStatus: pio(0x0c, "w1c"),
      pioMask: pio(0x10, "rw"),
      pioSeverity: pio(0x14, "rw"),
      pioSystemError: pio(0x18, "rw"),
      pioException: pio(0x1c, "rw"),
      pioHeaderLog:
        dwords < headerDwords ? undefined : repeated(headerDwords, 4, reg32(0x20, { access: "ro" })),
      pioSpecificLog: dwords <= headerDwords ? undefined : reg32(0x30, { access: "ro" }),
      pioPrefixLog:
        dwords <= headerDwords + 1
          ? undefined
          : repeated(dwords - headerDwords - 1, 4, reg32(0x34, { access: "ro" })),
    };
  },
);
