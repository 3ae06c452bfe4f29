/** Capabilities of address translation and virtualization. */
import { nested, reg8, reg16, reg32, repeated } from "../../registers/declaration.js";
import { bit, bits, choice } from "../../registers/field-spec.js";
import { capability } from "./declare.js";

/** PCIe 6.0, 10.5.1. The unit of translation is 4096 bytes shifted by `stu`. */
export const ats = capability(0x000f, "Address Translation Services", () => ({
  capabilities: reg16(4, {
    access: "ro",
    fields: {
      queueDepth: bits(4, 0),
      pageAligned: bit(5),
      globalInvalidate: bit(6),
      relaxedOrdering: bit(7),
    },
  }),
  control: reg16(6, { fields: { stu: bits(4, 0), enable: bit(15) } }),
}));

/** PCIe 6.0, 10.5.2. */
export const pri = capability(0x0013, "Page Request Interface", () => ({
  control: reg16(4, { fields: { enable: bit(0), reset: bit(1) } }),
  status: reg16(6, {
    fields: {
      responseFailure: bit(0, { access: "w1c" }),
      unexpectedIndex: bit(1, { access: "w1c" }),
      stopped: bit(8, { access: "ro" }),
      pasidRequired: bit(15, { access: "ro" }),
    },
  }),
  capacity: reg32(8, { access: "ro" }),
  allocation: reg32(12),
}));

/** PCIe 6.0, 7.8.9. */
export const pasid = capability(0x001b, "Process Address Space ID", () => ({
  capabilities: reg16(4, {
    access: "ro",
    fields: { execute: bit(1), privileged: bit(2), width: bits(12, 8) },
  }),
  control: reg16(6, { fields: { enable: bit(0), execute: bit(1), privileged: bit(2) } }),
}));

/** PCIe 6.0, 9.3.3. Page sizes are bits: bit n stands for 4096 << n bytes. */
export const sriov = capability(0x0010, "Single Root I/O Virtualization", () => ({
  capabilities: reg32(0x04, {
    access: "ro",
    fields: {
      migration: bit(0),
      ariPreserved: bit(1),
      tenBitTagRequester: bit(2),
      interruptMessage: bits(31, 21),
    },
  }),
  control: reg16(0x08, {
    fields: {
      enable: bit(0),
      migration: bit(1),
      migrationInterrupt: bit(2),
      memorySpace: bit(3),
      ari: bit(4),
      tenBitTagRequester: bit(5),
    },
  }),
  status: reg16(0x0a, { fields: { migration: bit(0) } }),
  initialVfs: reg16(0x0c, { access: "ro" }),
  totalVfs: reg16(0x0e, { access: "ro" }),
  vfs: reg16(0x10),
  dependencyLink: reg8(0x12, { access: "ro" }),
  firstVfOffset: reg16(0x14, { access: "ro" }),
  vfStride: reg16(0x16, { access: "ro" }),
  vfDeviceId: reg16(0x1a, { access: "ro" }),
  supportedPageSizes: reg32(0x1c, { access: "ro" }),
  pageSize: reg32(0x20),
  bars: repeated(6, 4, reg32(0x24)),
  migrationState: reg32(0x3c, { access: "ro", fields: { bar: bits(2, 0), qwordOffset: bits(31, 3) } }),
}));

/** BAR sizes are 1 MiB << `size`; bit n of `sizes` and `largeSizes` stands for 1 MiB << n and 128 TiB << n. */
const resizable = (id: number, title: string) =>
  capability(
    id,
    title,
    () => ({}),
    (_, { read32 }) => ({
      bars: repeated(
        // Bits 7:5 of the first control register.
        Math.max(1, (read32(8) >>> 5) & 7),
        8,
        nested(4, {
          capabilities: reg32(0, { access: "ro", fields: { sizes: bits(31, 4) } }),
          control: reg32(4, {
            fields: {
              bar: bits(2, 0, { access: "ro" }),
              count: bits(7, 5, { access: "ro" }),
              size: bits(13, 8),
              largeSizes: bits(31, 16, { access: "ro" }),
            },
          }),
        }),
      ),
    }),
  );

/** PCIe 6.0, 7.8.6. */
export const rebar = resizable(0x0015, "Resizable BAR");
/** PCIe 6.0, 7.8.7. */
export const vfRebar = resizable(0x0024, "VF Resizable BAR");

/** PCIe 6.0, 7.9.13. */
export const tph = capability(
  0x0017,
  "TPH Requester",
  () => ({
    capabilities: reg32(4, {
      access: "ro",
      fields: {
        noTableMode: bit(0),
        interruptVectorMode: bit(1),
        deviceSpecificMode: bit(2),
        extended: bit(8),
        tableLocation: choice(10, 9, { none: 0, capability: 1, "MSI-X": 2 }),
        lastEntry: bits(26, 16),
      },
    }),
    control: reg32(8, {
      fields: {
        mode: choice(2, 0, { "no table": 0, "interrupt vector": 1, "device specific": 2 }),
        enable: choice(9, 8, { off: 0, TPH: 1, "TPH and extended": 3 }),
      },
    }),
  }),
  ({ capabilities }) => {
    const { tableLocation, lastEntry } = capabilities.decode();
    return { table: tableLocation === "capability" ? repeated(lastEntry + 1, 2, reg16(12)) : undefined };
  },
);

/** PCIe 6.0, 7.9.15. */
export const ptm = capability(0x001f, "Precision Time Measurement", () => ({
  capabilities: reg32(4, {
    access: "ro",
    fields: {
      requester: bit(0),
      responder: bit(1),
      root: bit(2),
      enhanced: bit(3),
      granularityNs: bits(15, 8),
    },
  }),
  control: reg32(8, { fields: { enable: bit(0), rootSelect: bit(1), granularityNs: bits(15, 8) } }),
}));
