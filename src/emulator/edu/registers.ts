/** The registers of edu (QEMU, docs/specs/edu), declared once for the device and its drivers. */
import { registerBlock } from "../../registers/block.js";
import { reg32, reg64 } from "../../registers/declaration.js";
import { bit, bits } from "../../registers/field-spec.js";

/** The registers of the educational device, in BAR 0. */
export const eduRegisters = registerBlock("edu", {
  identification: reg32(0x00, {
    access: "ro",
    reset: 0x0100_00ed,
    fields: { major: bits(31, 24), minor: bits(23, 16) },
  }),
  liveness: reg32(0x04, { doc: "Reads the complement of what was written" }),
  factorial: reg32(0x08, { doc: "Computes the factorial of what is written" }),
  status: reg32(0x20, {
    fields: {
      computing: bit(0, { access: "ro" }),
      interrupt: bit(7, { doc: "Interrupts after a factorial" }),
    },
  }),
  interruptStatus: reg32(0x24, { access: "ro", fields: { factorial: bit(0), dma: bit(8) } }),
  interruptRaise: reg32(0x60, { access: "wo", doc: "Raises an interrupt with these bits" }),
  interruptAcknowledge: reg32(0x64, { access: "wo", doc: "Clears bits of the interrupt status" }),
  dmaSource: reg64(0x80, { order: "whole" }),
  dmaDestination: reg64(0x88, { order: "whole" }),
  dmaCount: reg64(0x90, { order: "whole", doc: "Bytes" }),
  dmaCommand: reg64(0x98, {
    order: "whole",
    fields: { start: bit(0), toRam: bit(1), interrupt: bit(2) },
  }),
});
