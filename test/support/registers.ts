/** Register access to plain memory. */
import type { RegisterAccess } from "../../src/nvme/memory/registers.js";
import { readRegister, readRegister64, writeRegister, writeRegister64 } from "../../src/sys/mmio.js";

/** Registers in mapped memory, without a BAR. */
export function registersIn(words: Uint32Array): RegisterAccess {
  return {
    read32: (offset) => readRegister(words, offset / 4),
    read64: (offset) => readRegister64(words, offset / 4),
    write32: (offset, value) => writeRegister(words, offset / 4, value),
    write64: (offset, value) => writeRegister64(words, offset / 4, value),
  };
}
