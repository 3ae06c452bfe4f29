/** The PCI functions of the test machines (test/machines.ts), found by their ids. */
import { existsSync, readFileSync } from "node:fs";
import { listPciFunctions, type PciFunction } from "../../src/pci/sysfs.js";

function find(what: string, matches: (fn: PciFunction) => boolean): string {
  const found = listPciFunctions().find(matches);
  if (found === undefined) throw new Error(`this machine has no ${what}`);
  return found.bdf;
}

function slot(bdf: string): string {
  return bdf.slice(bdf.indexOf(":", 5) + 1);
}

const NVME = 0x010802;

/** The default NVMe controller: serial deadbeef, 512-byte blocks, 64 MiB in a file, a CMB. */
export const nvmeBdf = (): string => find("nvme", ({ classCode }) => classCode === NVME);
/** 4 KiB blocks, MDTS of two pages. */
export const wideNvmeBdf = (): string =>
  find("wide nvme", (fn) => fn.classCode === NVME && slot(fn.bdf) === "12.0");
/** Shares its IOMMU group with the edu beside it. */
export const pairNvmeBdf = (): string =>
  find("paired nvme", (fn) => fn.classCode === NVME && slot(fn.bdf) === "10.0");
/** Two controllers of one subsystem: namespace 1 is attached to both, namespace 2 to none. */
export const twinNvmeBdfs = (): [string, string] => [twin("16.0"), twin("17.0")];
export const pairNicBdf = (): string => find("e1000e", ({ deviceId }) => deviceId === 0x10d3);
/** The educational device: one BAR, INTx and MSI, a DMA engine with 28 address bits. */
export const eduBdf = (): string =>
  find("edu", ({ vendorId, deviceId }) => vendorId === 0x1234 && deviceId === 0x11e8);
/** pci-testdev whose BAR 2 isn't backed by anything: all its registers read zero. */
export const emptyBarBdf = (): string =>
  find(
    "pci-testdev with a membar",
    (fn) => fn.deviceId === 0x0005 && fn.bars.some(({ index }) => index === 2),
  );
/** An SD host controller, whose BAR is smaller than a page. */
export const smallBarBdf = (): string =>
  find("sdhci-pci", ({ vendorId, deviceId }) => vendorId === 0x1b36 && deviceId === 0x0007);
/** A display adapter with the legacy ranges of VGA. */
export const vgaBdf = (): string => find("VGA", ({ classCode }) => classCode === 0x030000);
/** An nvme that can have two virtual functions, behind a root port. */
export const sriovNvmeBdf = (): string =>
  find(
    "nvme with SR-IOV",
    ({ bdf }) => existsSync(`/sys/bus/pci/devices/${bdf}/sriov_totalvfs`) && totalVfs(bdf) > 0,
  );
/** The first of two edus behind a root port. A bus reset resets both. */
export const portEduBdf = (): string => find("edu behind a root port", (fn) => isPortEdu(fn, 0));
/** The second of them. Both are in one IOMMU group. */
export const otherPortEduBdf = (): string => find("second edu there", (fn) => isPortEdu(fn, 1));
/** Devices of virtio: source of random bytes, disk, disk that can only be read, disk with packed rings and four queues. */
export const virtioRngBdf = (): string => virtio("10.0");
export const virtioBlkBdf = (): string => virtio("11.0");
export const lockedBlkBdf = (): string => virtio("12.0");
export const packedBlkBdf = (): string => virtio("13.0");
/** Network devices of virtio at both ends of a cable. */
export const virtioNetBdfs = (): [string, string] => [virtio("14.0"), virtio("15.0")];

function virtio(at: string): string {
  return find("virtio device", (fn) => fn.vendorId === 0x1af4 && slot(fn.bdf) === at);
}

function twin(at: string): string {
  return find("twin nvme", (fn) => fn.classCode === NVME && slot(fn.bdf) === at);
}

function isPortEdu({ vendorId, deviceId, bdf }: PciFunction, fn: number): boolean {
  return vendorId === 0x1234 && deviceId === 0x11e8 && !onRootBus(bdf) && bdf.endsWith(`.${fn}`);
}

function totalVfs(bdf: string): number {
  return Number(readFileSync(`/sys/bus/pci/devices/${bdf}/sriov_totalvfs`, "utf8"));
}

function onRootBus(bdf: string): boolean {
  return bdf.startsWith("0000:00:");
}
