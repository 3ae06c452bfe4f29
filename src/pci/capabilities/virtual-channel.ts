/** Capabilities of virtual channels. */
import { lazily } from "../../core/lazy.js";
import { nested, reg16, reg32, repeated } from "../../registers/declaration.js";
import { bit, bits, choice } from "../../registers/field-spec.js";
import { capability, numbered } from "./declare.js";

const arbitrations = lazily(() => ({
  fixedArbitration: bit(0),
  wrr32: bit(1),
  wrr64: bit(2),
  wrr128: bit(3),
}));

const port = lazily(
  () =>
    ({
      capabilities1: reg32(0x04, {
        access: "ro",
        fields: {
          extendedChannels: bits(2, 0),
          lowPriorityChannels: bits(6, 4),
          referenceClock: choice(9, 8, numbered("100 ns")),
          arbitrationEntryBits: choice(11, 10, numbered("1", "2", "4", "8")),
        },
      }),
      capabilities2: reg32(0x08, {
        access: "ro",
        fields: {
          ...arbitrations(),
          /** In units of 16 bytes. */
          tableOffset: bits(31, 24),
        },
      }),
      control: reg16(0x0c, { fields: { loadTable: bit(0), arbitration: bits(3, 1) } }),
      status: reg16(0x0e, { access: "ro", fields: { tablePending: bit(0) } }),
    }) as const,
);

const resource = lazily(() =>
  nested(0x10, {
    capabilities: reg32(0, {
      access: "ro",
      fields: {
        ...arbitrations(),
        timeBased128: bit(4),
        wrr256: bit(5),
        rejectSnoop: bit(15),
        maxTimeSlots: bits(22, 16),
        tableOffset: bits(31, 24),
      },
    }),
    control: reg32(4, {
      fields: {
        trafficClasses: bits(7, 0),
        loadTable: bit(16),
        arbitration: bits(19, 17),
        id: bits(26, 24),
        enable: bit(31),
      },
    }),
    status: reg16(10, { access: "ro", fields: { tablePending: bit(0), negotiationPending: bit(1) } }),
  }),
);

const channels = (id: number, title: string) =>
  capability(id, title, port, ({ capabilities1 }) => ({
    resources: repeated(capabilities1.get("extendedChannels") + 1, 12, resource()),
  }));

/** PCIe 6.0, 7.9.1. */
export const vc = channels(0x0002, "Virtual Channel");
/** PCIe 6.0, 7.9.2. */
export const mfvc = channels(0x0008, "Multi-Function Virtual Channel");
/** PCIe 6.0, 7.9.1: the id beside MFVC. */
export const vc9 = channels(0x0009, "Virtual Channel (with MFVC)");

/** PCIe 6.0, 7.9.29. */
export const svc = capability(
  0x0035,
  "Streamlined Virtual Channel",
  () => ({
    capabilities1: reg32(0x04, { access: "ro", fields: { extendedChannels: bits(2, 0) } }),
    capabilities2: reg32(0x08, { access: "ro" }),
    control: reg32(0x0c),
    status: reg32(0x10, { access: "ro" }),
  }),
  ({ capabilities1 }) => ({
    resources: repeated(
      capabilities1.get("extendedChannels") + 1,
      12,
      nested(0x14, {
        capabilities: reg32(0, { access: "ro" }),
        control: reg32(4),
        status: reg32(8, { access: "ro" }),
      }),
    ),
  }),
);
