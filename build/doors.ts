/** The entry points of the package: what package.json exports, apart from itself. */

export const doorNames = [
  "iova",
  "dma",
  "emulator",
  "host",
  "iommufd",
  "nvme",
  "pci",
  "vfio",
  "vfio-user",
] as const;

export type DoorName = (typeof doorNames)[number];

/** The compiled source of an entry point, below dist/src. */
export function doorSource(name: DoorName): string {
  return name === "iova" ? "index.js" : `doors/${name}.js`;
}
