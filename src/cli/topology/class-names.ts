/** Names of PCI classes, by base class and subclass (PCI Code and ID Assignment Specification, 1). */

const names: Readonly<Record<number, string>> = {
  256: "SCSI controller",
  257: "IDE controller",
  260: "RAID controller",
  262: "SATA controller",
  263: "SAS controller",
  264: "NVMe controller",
  512: "Ethernet controller",
  519: "InfiniBand controller",
  640: "network controller",
  768: "VGA controller",
  770: "3D controller",
  896: "display controller",
  1027: "audio device",
  1280: "memory controller",
  1282: "CXL memory",
  1536: "host bridge",
  1537: "ISA bridge",
  1540: "PCI bridge",
  1545: "PCI bridge",
  1792: "serial controller",
  2053: "SD host controller",
  2054: "IOMMU",
  3075: "USB controller",
  3077: "SMBus controller",
  4224: "accelerator",
  4608: "accelerator",
};

const baseNames: Readonly<Record<number, string>> = {
  1: "storage controller",
  2: "network controller",
  3: "display controller",
  4: "multimedia device",
  5: "memory controller",
  6: "bridge",
  7: "communication controller",
  8: "system peripheral",
  9: "input device",
  11: "processor",
  12: "serial bus controller",
  13: "wireless controller",
  16: "encryption controller",
  17: "signal processing controller",
  18: "accelerator",
};

/** @param classCode class, subclass and programming interface, 24 bits */
export function className(classCode: number): string {
  return names[classCode >>> 8] ?? baseNames[classCode >>> 16] ?? "device";
}
