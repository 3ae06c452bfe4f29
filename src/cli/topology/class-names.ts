/** Names of PCI classes, by base class and subclass (PCI Code and ID Assignment Specification, 1). */

const names: ReadonlyMap<number, string> = new Map([
  [0x0100, "SCSI controller"],
  [0x0101, "IDE controller"],
  [0x0104, "RAID controller"],
  [0x0106, "SATA controller"],
  [0x0107, "SAS controller"],
  [0x0108, "NVMe controller"],
  [0x0200, "Ethernet controller"],
  [0x0207, "InfiniBand controller"],
  [0x0280, "network controller"],
  [0x0300, "VGA controller"],
  [0x0302, "3D controller"],
  [0x0380, "display controller"],
  [0x0403, "audio device"],
  [0x0500, "memory controller"],
  [0x0502, "CXL memory"],
  [0x0600, "host bridge"],
  [0x0601, "ISA bridge"],
  [0x0604, "PCI bridge"],
  [0x0609, "PCI bridge"],
  [0x0700, "serial controller"],
  [0x0805, "SD host controller"],
  [0x0806, "IOMMU"],
  [0x0c03, "USB controller"],
  [0x0c05, "SMBus controller"],
  [0x1200, "accelerator"],
]);

const baseNames: ReadonlyMap<number, string> = new Map([
  [0x01, "storage controller"],
  [0x02, "network controller"],
  [0x03, "display controller"],
  [0x04, "multimedia device"],
  [0x05, "memory controller"],
  [0x06, "bridge"],
  [0x07, "communication controller"],
  [0x08, "system peripheral"],
  [0x09, "input device"],
  [0x0b, "processor"],
  [0x0c, "serial bus controller"],
  [0x0d, "wireless controller"],
  [0x10, "encryption controller"],
  [0x11, "signal processing controller"],
  [0x12, "accelerator"],
]);

/** @param classCode class, subclass and programming interface, 24 bits */
export function className(classCode: number): string {
  return names.get(classCode >>> 8) ?? baseNames.get(classCode >>> 16) ?? "device";
}
