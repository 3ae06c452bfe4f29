/** Capabilities of conventional PCI: bridges, slots, PCI-X, HyperTransport, AGP and what the vendor chooses. */
import { lazily } from "../../core/lazy.js";
import { nested, type RegisterSpec, reg8, reg16, reg32 } from "../../registers/declaration.js";
import { bit, bits, choice } from "../../registers/field-spec.js";
import { capability, numbered } from "./declare.js";

const agpRates = lazily(() => ({
  rate1: bit(0),
  rate2: bit(1),
  rate4: bit(2),
  fastWrite: bit(4),
  over4G: bit(5),
  sideband: bit(9),
}));
const agpRegisters = lazily(
  () =>
    ({
      version: reg8(2, { access: "ro", fields: { minor: bits(3, 0), major: bits(7, 4) } }),
      status: reg32(4, { access: "ro", fields: { ...agpRates(), requests: bits(31, 24) } }),
      command: reg32(8, { fields: { ...agpRates(), enable: bit(8), requests: bits(31, 24) } }),
    }) as const,
);

/** AGP 2.0, 6.1. */
export const agp = capability(0x02, "AGP", agpRegisters);
/** AGP 3.0, 2.5. */
export const agp3 = capability(0x0e, "AGP3", agpRegisters);

/** PCI Local Bus 3.0, appendix I. */
export const vpd = capability(0x03, "Vital Product Data", () => ({
  address: reg16(2, { fields: { address: bits(14, 0), done: bit(15) } }),
  data: reg32(4),
}));

/** PCI-to-PCI Bridge 1.2, 13. */
export const slotId = capability(0x04, "Slot Identification", () => ({
  slot: reg8(2, { access: "ro", fields: { slots: bits(4, 0), firstInChassis: bit(5) } }),
  chassis: reg8(3),
}));

/** PICMG 2.1, 3; PCI_CHSWP_CSR. */
export const hotSwap = capability(0x06, "CompactPCI Hot Swap", () => ({
  control: reg8(2, {
    fields: {
      hide: bit(0),
      enumMask: bit(1),
      pending: bit(2, { access: "ro" }),
      led: bit(3),
      interface: bits(5, 4, { access: "ro" }),
      extraction: bit(6, { access: "w1c" }),
      insertion: bit(7, { access: "w1c" }),
    },
  }),
}));

const splits = numbered("1", "2", "3", "4", "8", "12", "16", "32");
const readCounts = numbered("512 B", "1024 B", "2048 B", "4096 B");

/** PCI-X 2.0, 7.2 and 8.6. */
export const pciX = capability(
  0x07,
  "PCI-X",
  () => ({}),
  (_, { isBridge }) => ({
    command: isBridge
      ? undefined
      : reg16(2, {
          fields: {
            parityRecovery: bit(0),
            relaxedOrdering: bit(1),
            maxRead: choice(3, 2, readCounts),
            maxSplits: choice(6, 4, splits),
            version: bits(13, 12, { access: "ro" }),
          },
        }),
    status: isBridge
      ? undefined
      : reg32(4, {
          access: "ro",
          fields: {
            functionNumber: bits(2, 0),
            device: bits(7, 3),
            bus: bits(15, 8),
            is64Bit: bit(16),
            mhz133: bit(17),
            splitDiscarded: bit(18, { access: "w1c" }),
            unexpectedSplit: bit(19, { access: "w1c" }),
            bridgeDevice: bit(20),
            maxRead: choice(22, 21, readCounts),
            maxSplits: choice(25, 23, splits),
            maxCumulative: bits(28, 26),
            splitError: bit(29, { access: "w1c" }),
            mhz266: bit(30),
            mhz533: bit(31),
          },
        }),
    secondaryStatus: isBridge
      ? reg16(2, {
          access: "ro",
          fields: {
            is64Bit: bit(0),
            mhz133: bit(1),
            splitDiscarded: bit(2, { access: "w1c" }),
            unexpectedSplit: bit(3, { access: "w1c" }),
            splitOverrun: bit(4, { access: "w1c" }),
            splitDelayed: bit(5, { access: "w1c" }),
            frequency: bits(9, 6),
            version: bits(13, 12),
            mhz266: bit(14),
            mhz533: bit(15),
          },
        })
      : undefined,
    bridgeStatus: isBridge ? reg32(4, { access: "ro" }) : undefined,
  }),
);

/** HyperTransport 3.1, 7.3. The rest depends on the type; bytes. */
export const ht = capability(
  0x08,
  "HyperTransport",
  () => ({ command: reg16(2, { fields: { type: bits(15, 11, { access: "ro" }) } }) }),
  undefined,
  () => ({ from: 4, to: 28 }),
);

/** PCI Local Bus 3.0, appendix H. */
export const vendor = capability(
  0x09,
  "Vendor Specific",
  () => ({ length: reg8(2, { access: "ro" }) }),
  undefined,
  ({ length }) => ({ from: 3, to: length.read() }),
);

/** EHCI 1.0, appendix C. */
export const debugPort = capability(0x0a, "Debug Port", () => ({
  port: reg16(2, { access: "ro", fields: { offset: bits(12, 0), bar: bits(15, 13) } }),
}));

/** PCI_CAP_ID_CCRC of pci_regs.h: no registers are defined. */
export const centralResource = capability(0x0b, "CompactPCI Central Resource Control", () => ({}));

/** Standard Hot-Plug Controller 1.0, 4.2. */
export const hotPlug = capability(0x0c, "Standard Hot-Plug Controller", () => ({
  select: reg8(2),
  pending: reg8(3, { access: "ro", fields: { controllerInterrupt: bit(6), controllerSerr: bit(7) } }),
  data: reg32(4),
}));

/** PCI-to-PCI Bridge 1.2, 3.2.5.13. */
export const ssvid = capability(0x0d, "Bridge Subsystem", () => ({
  vendorId: reg16(4, { access: "ro" }),
  deviceId: reg16(6, { access: "ro" }),
}));

/** PCI_CAP_ID_SECDEV of pci_regs.h: AMD's IOMMU and DEV have it; bytes. */
export const secureDevice = capability(
  0x0f,
  "Secure Device",
  () => ({}),
  undefined,
  () => ({ from: 2, to: 24 }),
);

/** Serial ATA AHCI 1.3, 2.4. */
export const sata = capability(0x12, "SATA", () => ({
  revision: reg8(2, { access: "ro", fields: { minor: bits(3, 0), major: bits(7, 4) } }),
  location: reg32(4, { access: "ro", fields: { bar: bits(3, 0), dwordOffset: bits(23, 4) } }),
}));

/** Advanced Capabilities for Conventional PCI ECN; PCI_AF_* of pci_regs.h. */
export const af = capability(0x13, "Advanced Features", () => ({
  length: reg8(2, { access: "ro" }),
  capabilities: reg8(3, { access: "ro", fields: { transactionsPending: bit(0), flr: bit(1) } }),
  control: reg8(4, { fields: { flr: bit(0) } }),
  status: reg8(5, { access: "ro", fields: { transactionsPending: bit(0) } }),
}));

const properties = {
  memory: 0,
  "prefetchable memory": 1,
  "I/O": 2,
  "VF prefetchable memory": 3,
  "VF memory": 4,
  "bridge memory": 5,
  "bridge prefetchable memory": 6,
  "bridge I/O": 7,
  "reserved memory": 0xfd,
  "reserved I/O": 0xfe,
  unavailable: 0xff,
};
const entry = lazily(() => ({
  format: reg32(0, {
    fields: {
      size: bits(2, 0, { access: "ro" }),
      bar: bits(7, 4, { access: "ro" }),
      primary: choice(15, 8, properties, { access: "ro" }),
      secondary: choice(23, 16, properties, { access: "ro" }),
      writable: bit(30, { access: "ro" }),
      enable: bit(31),
    },
  }),
}));
/** Base and MaxOffset: bit 1 says that a dword with their upper half follows. */
const field64 = 2;

/** PCIe 6.0, 7.8.5. Addresses lack their two lowest bits. */
export const ea = capability(
  0x14,
  "Enhanced Allocation",
  () => ({ count: reg8(2, { access: "ro", fields: { entries: bits(5, 0) } }) }),
  ({ count }, { isBridge, read32, roomBytes }) => {
    const entries: Record<string, ReturnType<typeof entryAt>> = {};
    let at = isBridge ? 8 : 4;
    for (let i = 0; i < count.get("entries") && at < roomBytes; i++) {
      entries[String(i)] = entryAt(at, read32);
      at += 4 + 4 * (read32(at) & 7);
    }
    return {
      buses: isBridge
        ? reg16(4, { access: "ro", fields: { secondary: bits(7, 0), subordinate: bits(15, 8) } })
        : undefined,
      entries: nested(0, entries),
    };
  },
);

/** An entry has as many of these dwords as its size says. */
function entryAt(at: number, read32: (at: number) => number) {
  const size = read32(at) & 7;
  const isWide = (dword: number): boolean => (read32(at + 4 * dword) & field64) !== 0;
  const dwords = ["base", "maxOffset"];
  if (isWide(1)) dwords.push("baseHigh");
  if (isWide(2)) dwords.push("maxOffsetHigh");
  const rest: Record<string, RegisterSpec> = {};
  dwords.slice(0, size).forEach((name, i) => {
    rest[name] = reg32(4 + 4 * i);
  });
  return nested(at, { ...entry(), ...rest });
}

/** PCIe 6.0, 7.8.10. */
export const fpb = capability(0x15, "Flattening Portal Bridge", () => ({
  capabilities: reg32(4, {
    access: "ro",
    fields: { rid: bit(0), memoryLow: bit(1), memoryHigh: bit(2), ridVectorSize: bits(10, 8) },
  }),
  ridControl1: reg32(8),
  ridControl2: reg32(12),
  memoryLowControl: reg32(16),
  memoryHighControl1: reg32(20),
  memoryHighControl2: reg32(24),
  vectorControl: reg32(28),
  vectorData: reg32(32),
}));
