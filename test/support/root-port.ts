/** Takes devices out of root ports. */
import { closeSync, openSync, readFileSync, writeSync } from "node:fs";

/** Takes the power of a root port's slot away, behind the kernel's back: the device is gone at once, as if pulled out. */
export function cutPower(port: string): void {
  const PCI_CAP_POINTER = 0x34;
  const PCI_CAP_ID_EXP = 0x10;
  const PCI_EXP_SLTCTL = 0x18;
  const POWER_INDICATOR_OFF = 3 << 8;
  const POWER_OFF = 1 << 10;
  const path = `/sys/bus/pci/devices/${port}/config`;
  const config = readFileSync(path);
  let at = config[PCI_CAP_POINTER] ?? 0;
  while (config[at] !== PCI_CAP_ID_EXP) at = config[at + 1] ?? 0;
  const control = Buffer.alloc(2);
  control.writeUInt16LE(config.readUInt16LE(at + PCI_EXP_SLTCTL) | POWER_INDICATOR_OFF | POWER_OFF);
  const fd = openSync(path, "r+");
  writeSync(fd, control, 0, control.length, at + PCI_EXP_SLTCTL);
  closeSync(fd);
}
