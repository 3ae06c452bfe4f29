/** The registers of template, declared once for the driver and for the model. Replace them by those of the datasheet. */
import { bit, bits, reg32, reg64, registerBlock } from "iova/pci";

export const VENDOR_ID = 0xfff1;
export const DEVICE_ID = 0xfff2;

export const registers = registerBlock("template", {
  version: reg32(0x00, {
    access: "ro",
    reset: 0x0001_0002,
    fields: { major: bits(31, 16), minor: bits(15, 0) },
  }),
  start: reg32(0x04, { access: "wo", doc: "Writing 1 starts adding up" }),
  status: reg32(0x08, {
    access: "w1c",
    fields: {
      done: bit(0, { doc: "Told by interrupt" }),
      failed: bit(1, { doc: "The memory can't be read" }),
    },
  }),
  address: reg64(0x10, { doc: "I/O virtual address of the bytes" }),
  length: reg32(0x18, { doc: "Number of bytes, up to 4096" }),
  sum: reg32(0x1c, { access: "ro", doc: "Sum of the bytes" }),
});
