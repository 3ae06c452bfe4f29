/** Numbers of PCI capabilities, to compare with {@link PciCapability.id}. */

/** Capabilities in the first 256 bytes (PCI Code and ID Assignment Specification 1.11, 2). */
export const PciCapabilityId = {
  /** PCI Power Management Interface: power states D0 to D3. */
  powerManagement: 0x01,
  /** Accelerated Graphics Port. */
  agp: 0x02,
  /** Vital Product Data. */
  vpd: 0x03,
  /** Slot identification of a bridge. */
  slotIdentification: 0x04,
  /** Message Signalled Interrupts. */
  msi: 0x05,
  /** PCI-X. */
  pciX: 0x07,
  /** HyperTransport. */
  hyperTransport: 0x08,
  /** Vendor-specific: its third byte is its length. */
  vendorSpecific: 0x09,
  /** Debug port. */
  debugPort: 0x0a,
  /** Subsystem vendor and device id of a bridge. */
  bridgeSubsystem: 0x0d,
  /** PCI Express. */
  pciExpress: 0x10,
  /** Message Signalled Interrupts with a table. */
  msix: 0x11,
  /** Serial ATA. */
  sata: 0x12,
  /** Advanced Features: function-level reset of conventional PCI functions. */
  advancedFeatures: 0x13,
  /** Enhanced Allocation: fixed BARs. */
  enhancedAllocation: 0x14,
} as const;

/** Capabilities from byte 256 on (PCI Code and ID Assignment Specification 1.11, 3). */
export const PciExtendedCapabilityId = {
  /** Advanced Error Reporting. */
  advancedErrorReporting: 0x0001,
  /** Virtual Channel. */
  virtualChannel: 0x0002,
  /** Device Serial Number. */
  deviceSerialNumber: 0x0003,
  /** Power Budgeting. */
  powerBudgeting: 0x0004,
  /** Vendor-Specific Extended Capability. */
  vendorSpecific: 0x000b,
  /** Access Control Services. */
  accessControlServices: 0x000d,
  /** Alternative Routing-ID Interpretation. */
  alternativeRoutingId: 0x000e,
  /** Address Translation Services. */
  addressTranslationServices: 0x000f,
  /** Single Root I/O Virtualization. */
  singleRootIoVirtualization: 0x0010,
  /** Multicast. */
  multicast: 0x0012,
  /** Page Request Interface. */
  pageRequest: 0x0013,
  /** Resizable BAR. */
  resizableBar: 0x0015,
  /** Dynamic Power Allocation. */
  dynamicPowerAllocation: 0x0016,
  /** TLP Processing Hints Requester. */
  tphRequester: 0x0017,
  /** Latency Tolerance Reporting. */
  latencyToleranceReporting: 0x0018,
  /** Secondary PCI Express. */
  secondaryPciExpress: 0x0019,
  /** Process Address Space ID. */
  processAddressSpaceId: 0x001b,
  /** Downstream Port Containment. */
  downstreamPortContainment: 0x001d,
  /** L1 PM Substates. */
  l1PmSubstates: 0x001e,
  /** Precision Time Measurement. */
  precisionTimeMeasurement: 0x001f,
  /** Designated Vendor-Specific Extended Capability. */
  designatedVendorSpecific: 0x0023,
  /** VF Resizable BAR. */
  vfResizableBar: 0x0024,
  /** Data Link Feature. */
  dataLinkFeature: 0x0025,
  /** Physical Layer 16.0 GT/s. */
  physicalLayer16: 0x0026,
  /** Lane Margining at the Receiver. */
  laneMargining: 0x0027,
} as const;
