/** Capabilities that route requests: isolation, routing ids, multicast. */
import { lazily } from "../../core/lazy.js";
import { reg16, reg32, reg64, repeated } from "../../registers/declaration.js";
import { bit, bits } from "../../registers/field-spec.js";
import { capability } from "./declare.js";
import { portTypes } from "./pcie.js";

const services = lazily(() => ({
  sourceValidation: bit(0),
  translationBlocking: bit(1),
  requestRedirect: bit(2),
  completionRedirect: bit(3),
  upstreamForwarding: bit(4),
  egressControl: bit(5),
  directTranslated: bit(6),
}));
/** What a vector size of 0 stands for. */
const maxVectorBits = 256;

/** PCIe 6.0, 7.7.11. */
export const acs = capability(
  0x000d,
  "Access Control Services",
  () => ({
    capabilities: reg16(4, {
      access: "ro",
      fields: { ...services(), enhanced: bit(7), vectorBits: bits(15, 8) },
    }),
    control: reg16(6, {
      fields: {
        ...services(),
        ioRequestBlocking: bit(7),
        downstreamTargetAccess: bits(9, 8),
        upstreamTargetAccess: bits(11, 10),
        unclaimedRedirect: bit(12),
      },
    }),
  }),
  ({ capabilities }) => {
    const { egressControl, vectorBits } = capabilities.decode();
    return {
      egressVector: egressControl
        ? repeated(Math.ceil((vectorBits || maxVectorBits) / 32), 4, reg32(8))
        : undefined,
    };
  },
);

/** PCIe 6.0, 7.8.8. */
export const ari = capability(0x000e, "Alternative Routing-ID Interpretation", () => ({
  capabilities: reg16(4, {
    access: "ro",
    fields: { mfvcGroups: bit(0), acsGroups: bit(1), nextFunction: bits(15, 8) },
  }),
  control: reg16(6, { fields: { mfvcGroups: bit(0), acsGroups: bit(1), group: bits(6, 4) } }),
}));

const forwarding: readonly (number | undefined)[] = [
  portTypes.rootPort,
  portTypes.upstreamPort,
  portTypes.downstreamPort,
];

/** PCIe 6.0, 7.9.11. */
export const multicast = capability(
  0x0012,
  "Multicast",
  () => ({
    capabilities: reg16(4, {
      access: "ro",
      fields: { maxGroup: bits(5, 0), windowSize: bits(13, 8), ecrcRegeneration: bit(15) },
    }),
    control: reg16(6, { fields: { lastGroup: bits(5, 0), enable: bit(15) } }),
    base: reg64(8, { fields: { indexPosition: bits(5, 0) } }),
    receive: reg64(16),
    blockAll: reg64(24),
    blockUntranslated: reg64(32),
  }),
  (_, { portType }) => ({
    overlay: forwarding.includes(portType) ? reg64(40, { fields: { size: bits(5, 0) } }) : undefined,
  }),
);

const lnrSizes = { lnr64: bit(0), lnr128: bit(1) };

/** PCIe 5.0, 7.9.17: LN requester, deprecated. */
export const lnr = capability(0x001c, "LN Requester", () => ({
  capabilities: reg16(4, { access: "ro", fields: { ...lnrSizes, maxRegistrations: bits(12, 8) } }),
  control: reg16(6, { fields: { enable: bit(0), lnr128: bit(1), registrationLimit: bits(12, 8) } }),
}));

/** PCIe 6.0, 7.8.9. */
export const frs = capability(0x0021, "FRS Queueing", () => ({
  capabilities: reg32(4, { access: "ro", fields: { maxDepth: bits(11, 0), interruptMessage: bits(20, 16) } }),
  status: reg16(8, { access: "w1c", fields: { received: bit(0), overflow: bit(1) } }),
  control: reg16(10, { fields: { interrupt: bit(0) } }),
  queue: reg32(12, { fields: { functionId: bits(15, 0), reason: bits(19, 16), depth: bits(31, 20) } }),
}));

/** PCIe 6.0, 7.9.16. */
export const readiness = capability(0x0022, "Readiness Time Reporting", () => ({
  times1: reg32(4, { access: "ro", fields: { reset: bits(11, 0), linkUp: bits(23, 12), valid: bit(31) } }),
  times2: reg32(8, { access: "ro", fields: { flr: bits(11, 0), d3hotToD0: bits(23, 12) } }),
}));
