/** Capabilities of message signalled interrupts. */
import { reg16, reg32 } from "../../registers/declaration.js";
import { bit, bits, choice } from "../../registers/field-spec.js";
import { capability, numbered } from "./declare.js";

const vectors = numbered("1", "2", "4", "8", "16", "32");

/** PCI Local Bus 3.0, 6.8.1; PCIe 6.0, 7.7.1. */
export const msi = capability(
  0x05,
  "MSI",
  () => ({
    control: reg16(2, {
      fields: {
        enable: bit(0),
        capable: choice(3, 1, vectors, { access: "ro" }),
        enabled: choice(6, 4, vectors),
        is64Bit: bit(7, { access: "ro" }),
        maskable: bit(8, { access: "ro" }),
        extendedDataCapable: bit(9, { access: "ro" }),
        extendedData: bit(10),
      },
    }),
    address: reg32(4),
  }),
  ({ control }) => {
    const { is64Bit, maskable, extendedDataCapable } = control.decode();
    const data = is64Bit ? 12 : 8;
    return {
      addressHigh: is64Bit ? reg32(8) : undefined,
      data: reg16(data),
      extendedData: extendedDataCapable ? reg16(data + 2) : undefined,
      mask: maskable ? reg32(data + 4) : undefined,
      pending: maskable ? reg32(data + 8, { access: "ro" }) : undefined,
    };
  },
);

/** A place in a BAR; its offset counts qwords. */
const place = { bar: bits(2, 0), qwordOffset: bits(31, 3) };

/** PCI Local Bus 3.0, 6.8.2; PCIe 6.0, 7.7.2. */
export const msix = capability(0x11, "MSI-X", () => ({
  control: reg16(2, {
    fields: { lastVector: bits(10, 0, { access: "ro" }), functionMask: bit(14), enable: bit(15) },
  }),
  table: reg32(4, { access: "ro", fields: place }),
  pending: reg32(8, { access: "ro", fields: place }),
}));
