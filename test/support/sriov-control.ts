/** Switches virtual functions off and on behind the kernel's back, as a reset of their physical function does on hardware. */
import { closeSync, openSync, readSync, writeSync } from "node:fs";

const FIRST_EXTENDED = 0x100;
const SRIOV_CAPABILITY = 0x0010;
const SRIOV_CONTROL = 0x08;
const VF_ENABLE = 1 << 0;

/** Clears VF Enable in the configuration space until the result is disposed of. */
export function disableVirtualFunctions(bdf: string): Disposable {
  const path = `/sys/bus/pci/devices/${bdf}/config`;
  const change = (value: (control: number) => number): number => {
    const fd = openSync(path, "r+");
    try {
      const word = Buffer.alloc(4);
      const header = (at: number): number => {
        readSync(fd, word, 0, 4, at);
        return word.readUInt32LE();
      };
      let at = FIRST_EXTENDED;
      while ((header(at) & 0xffff) !== SRIOV_CAPABILITY) {
        const next = header(at) >>> 20;
        if (next <= at) throw new Error(`${bdf} has no SR-IOV capability`);
        at = next;
      }
      const control = header(at + SRIOV_CONTROL) & 0xffff;
      word.writeUInt16LE(value(control));
      writeSync(fd, word, 0, 2, at + SRIOV_CONTROL);
      return control;
    } finally {
      closeSync(fd);
    }
  };
  const before = change((control) => control & ~VF_ENABLE);
  return { [Symbol.dispose]: () => void change(() => before) };
}
