/** What each backend can do with this device, as the kernel and the hardware report it. */

import { IovaError } from "../../core/errors.js";
import type { Iova } from "../../dma/iova/address.js";
import type { HwInfo } from "../../iommufd/hw-info.js";
import type { Ioas } from "../../iommufd/ioas.js";
import { PciExtendedCapabilityId } from "../../pci/capability-ids.js";
import { ConfigSpace } from "../../pci/config-space.js";
import type { VfioDevice } from "../../vfio/device.js";
import type { VfioContainer } from "../../vfio-legacy/container.js";
import { VFIO_DMA_CC_IOMMU, VFIO_UNMAP_ALL, VFIO_UPDATE_VADDR } from "../../vfio-legacy/uapi.js";
import type { AddressSpace } from "./address-space.js";
import { formatBytes, formatCount } from "./units.js";

/** Answers by feature. A feature without an answer is "no". */
export type FeatureAnswers = ReadonlyMap<string, string>;

const NOT_REPORTED = "not reported";

const yesNo = (value: boolean): string => (value ? "yes" : "no");

/** @throws SysError */
export function probeFeatures({ device, space, ioas, container }: AddressSpace): FeatureAnswers {
  const answers = new Map<string, string>();
  answers.set("What the IOMMU is", NOT_REPORTED);
  answers.set("Page sizes of the IOMMU", NOT_REPORTED);
  answers.set("Unit of mappings", formatBytes(space.alignmentBytes()));
  answers.set("I/O virtual addresses", ranges(space.iovaRanges()));
  answers.set("Coherent DMA guaranteed", NOT_REPORTED);
  if (ioas !== undefined) probeIoas(answers, device, ioas);
  if (container !== undefined) probeContainer(answers, container);
  probeDevice(answers, device);
  return answers;
}

function ranges(all: readonly { readonly start: Iova; readonly last: Iova }[]): string {
  return all.map(({ start, last }) => `0x${start.toString(16)}-0x${last.toString(16)}`).join(", ");
}

function probeIoas(answers: Map<string, string>, device: VfioDevice, ioas: Ioas): void {
  const { iommufd } = ioas;
  const has = iommufd.capabilities();
  const info = hwInfoOf(device, ioas);
  /** Whether a page table can be made, in an address space of its own. */
  const table = (options: Parameters<Ioas["allocHwpt"]>[1]): string =>
    works(() => {
      using other = iommufd.allocIoas();
      using _table = other.allocHwpt(device, options);
    });
  answers.set("The kernel chooses addresses", "yes");
  answers.set("Limit on mappings", "none");
  answers.set("Unmap all in one call", "yes");
  answers.set("Copy mappings to another address space", "yes");
  answers.set("Several address spaces, devices moved between them", "yes");
  answers.set("Map a file (memfd, dma-buf)", yesNo(has.mapFile));
  answers.set("Hand mappings over to another process", yesNo(has.changeProcess));
  answers.set("Page tables of one's own", table({}));
  answers.set("Dirty page tracking", table({ dirtyTracking: true }));
  answers.set("Nested translation", table({ nestParent: true }));
  // The kernel makes page tables for PASIDs and page faults where the hardware has neither.
  answers.set("PASIDs", (info?.maxPasidLog2 ?? 0) > 0 ? table({ pasid: true }) : "no");
  const hasFaults = hasPageRequests(info) && deviceHasPageRequests(device);
  answers.set("I/O page faults", hasFaults ? works(() => attachWithFaults(device, ioas)) : "no");
  answers.set("Virtual IOMMUs (kernel interface)", yesNo(has.viommu));
  const kind = info?.registers.kind ?? "none";
  answers.set("What the IOMMU is", kind === "none" ? NOT_REPORTED : kind);
}

/** Undefined if the kernel tells nothing of this IOMMU. */
function hwInfoOf(device: VfioDevice, { iommufd }: Ioas): HwInfo | undefined {
  try {
    return iommufd.hwInfo(device);
  } catch (error) {
    if (!(error instanceof IovaError)) throw error;
    return undefined;
  }
}

/** Whether the IOMMU takes page requests of PCI devices. An IOMMU of a kind that doesn't say may: attaching shows it. */
function hasPageRequests(info: HwInfo | undefined): boolean {
  if (info === undefined || info.atsNotSupported) return false;
  const { registers } = info;
  switch (registers.kind) {
    case "intel-vtd":
    case "amd":
      return registers.pageRequests;
    case "arm-smmuv3":
      return registers.pri;
    default:
      return true;
  }
}

function deviceHas(device: VfioDevice, capability: number): boolean {
  return new ConfigSpace(device).extendedCapabilities().some(({ id }) => id === capability);
}

/** Whether the device can ask for pages: it translates by itself (ATS), and requests what isn't there (PRI). */
function deviceHasPageRequests(device: VfioDevice): boolean {
  const { addressTranslationServices, pageRequest } = PciExtendedCapabilityId;
  return deviceHas(device, addressTranslationServices) && deviceHas(device, pageRequest);
}

/** Attaches the device to a page table with a fault queue, and then to `ioas` again. @throws IovaError if that is refused */
function attachWithFaults(device: VfioDevice, ioas: Ioas): void {
  using queue = ioas.iommufd.allocFaultQueue();
  using other = ioas.iommufd.allocIoas();
  using table = other.allocHwpt(device, { faultQueue: queue });
  device.attach(table);
  device.attach(ioas);
}

function works(attempt: () => void): string {
  try {
    attempt();
    return "yes";
  } catch (error) {
    if (!(error instanceof IovaError)) throw error;
    return "no";
  }
}

function probeContainer(answers: Map<string, string>, container: VfioContainer): void {
  const info = container.info();
  const { dmaAvailable } = info;
  const unlimited = dmaAvailable === undefined || dmaAvailable === 0xffff_ffff;
  answers.set("Limit on mappings", unlimited ? "none" : formatCount(dmaAvailable));
  answers.set("Unmap all in one call", yesNo(container.checkExtension(VFIO_UNMAP_ALL)));
  answers.set("Hand mappings over to another process", yesNo(container.checkExtension(VFIO_UPDATE_VADDR)));
  answers.set("Dirty page tracking", info.migration === undefined ? "no" : "pinned pages only");
  answers.set("Coherent DMA guaranteed", yesNo(container.checkExtension(VFIO_DMA_CC_IOMMU)));
  answers.set("Page sizes of the IOMMU", pageSizes(info.pageSizes));
}

/** The kernel also reports sizes that it builds of smaller pages. */
function pageSizes(bits: bigint): string {
  const sizes: string[] = [];
  for (let shift = 0; shift < 40; shift++) {
    if (((bits >> BigInt(shift)) & 1n) === 1n) sizes.push(formatBytes(2 ** shift));
  }
  return sizes.length > 4 ? `any multiple of ${sizes[0]}` : sizes.join(", ");
}

function probeDevice(answers: Map<string, string>, device: VfioDevice): void {
  const has = device.capabilities();
  answers.set("Device: reset of its own", yesNo(has.resettable));
  answers.set("Device: reset with its bus or slot", yesNo(has.hotReset));
  const { intx, msi, msix } = has.irqs;
  const kinds = [
    ...(intx.count > 0 ? ["INTx"] : []),
    ...(msi.count > 0 ? [`MSI (${msi.count})`] : []),
    ...(msix.count > 0 ? [`MSI-X (${msix.count})`] : []),
  ];
  answers.set("Device: interrupts", kinds.join(", ") || "none");
  answers.set("Device: BARs as dma-buf", yesNo(has.dmaBuf));
  answers.set("Device: page requests (ATS and PRI)", yesNo(deviceHasPageRequests(device)));
  answers.set("Device: low power", yesNo(has.lowPower));
  answers.set("Device: migration", yesNo(has.migration));
  answers.set("Device: logs its own DMA", yesNo(has.dmaLogging));
}
