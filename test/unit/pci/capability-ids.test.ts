/** Identifiers of PCI capabilities, with the values of linux/pci_regs.h and the PCI Code and ID Assignment Specification. */
import { describe, expect, test } from "vitest";
import { PciCapabilityId, PciExtendedCapabilityId } from "../../../src/doors/pci.js";

describe("PciCapabilityId", () => {
  test("has the values of PCI_CAP_ID_*", () => {
    expect(PciCapabilityId).toEqual({
      powerManagement: 0x01, // PM
      agp: 0x02, // AGP
      vpd: 0x03, // VPD
      slotIdentification: 0x04, // SLOTID
      msi: 0x05, // MSI
      pciX: 0x07, // PCIX
      hyperTransport: 0x08, // HT
      vendorSpecific: 0x09, // VNDR
      debugPort: 0x0a, // DBG
      bridgeSubsystem: 0x0d, // SSVID
      pciExpress: 0x10, // EXP
      msix: 0x11, // MSIX
      sata: 0x12, // SATA
      advancedFeatures: 0x13, // AF
      enhancedAllocation: 0x14, // EA
    });
  });
});

describe("PciExtendedCapabilityId", () => {
  test("has the values of PCI_EXT_CAP_ID_*", () => {
    expect(PciExtendedCapabilityId).toEqual({
      advancedErrorReporting: 0x01, // ERR
      virtualChannel: 0x02, // VC
      deviceSerialNumber: 0x03, // DSN
      powerBudgeting: 0x04, // PWR
      vendorSpecific: 0x0b, // VNDR
      accessControlServices: 0x0d, // ACS
      alternativeRoutingId: 0x0e, // ARI
      addressTranslationServices: 0x0f, // ATS
      singleRootIoVirtualization: 0x10, // SRIOV
      multicast: 0x12, // MCAST
      pageRequest: 0x13, // PRI
      resizableBar: 0x15, // REBAR
      dynamicPowerAllocation: 0x16, // DPA
      tphRequester: 0x17, // TPH
      latencyToleranceReporting: 0x18, // LTR
      secondaryPciExpress: 0x19, // SECPCI
      processAddressSpaceId: 0x1b, // PASID
      downstreamPortContainment: 0x1d, // DPC
      l1PmSubstates: 0x1e, // L1SS
      precisionTimeMeasurement: 0x1f, // PTM
      designatedVendorSpecific: 0x23, // DVSEC
      vfResizableBar: 0x24, // VF_REBAR
      dataLinkFeature: 0x25, // DLF
      physicalLayer16: 0x26, // PL_16GT
      laneMargining: 0x27,
    });
  });
});
