/** Extended capabilities that identify a function or what the vendor adds. */
import { lazily } from "../../core/lazy.js";
import { nested, reg8, reg16, reg32, reg64, repeated } from "../../registers/declaration.js";
import { bit, bits, choice } from "../../registers/field-spec.js";
import { capability, numbered } from "./declare.js";

/** PCIe 6.0, 7.9.3. */
export const dsn = capability(0x0003, "Device Serial Number", () => ({ serial: reg64(4, { access: "ro" }) }));

/** PCIe 6.0, 7.9.5. */
export const vsec = capability(
  0x000b,
  "Vendor-Specific Extended",
  () => ({
    header: reg32(4, {
      access: "ro",
      fields: { id: bits(15, 0), revision: bits(19, 16), length: bits(31, 20) },
    }),
  }),
  undefined,
  ({ header }) => ({ from: 8, to: header.get("length") }),
);

/** PCIe 6.0, 7.9.6. */
export const dvsec = capability(
  0x0023,
  "Designated Vendor-Specific",
  () => ({
    header1: reg32(4, {
      access: "ro",
      fields: { vendorId: bits(15, 0), revision: bits(19, 16), length: bits(31, 20) },
    }),
    header2: reg16(8, { access: "ro", fields: { id: bits(15, 0) } }),
  }),
  undefined,
  ({ header1 }) => ({ from: 10, to: header1.get("length") }),
);

/** PCIe 6.0, 7.9.17. */
export const hierarchyId = capability(0x0028, "Hierarchy ID", () => ({
  status: reg32(4, { access: "ro" }),
  data: repeated(4, 4, reg32(8)),
}));

/** PCIe 6.0, 7.9.8. */
export const rootLinks = capability(
  0x0005,
  "Root Complex Link Declaration",
  () => ({
    self: reg32(4, {
      access: "ro",
      fields: {
        type: choice(3, 0, numbered("configuration", "system egress", "internal link")),
        links: bits(15, 8),
        component: bits(23, 16),
        port: bits(31, 24),
      },
    }),
  }),
  ({ self }) => {
    const links = self.get("links");
    return {
      links:
        links === 0
          ? undefined
          : repeated(
              links,
              16,
              nested(16, {
                description: reg32(0, {
                  access: "ro",
                  fields: {
                    valid: bit(0),
                    isConfiguration: bit(1),
                    associatedRcrb: bit(2),
                    component: bits(23, 16),
                    port: bits(31, 24),
                  },
                }),
                address: reg64(8, { access: "ro" }),
              }),
            ),
    };
  },
);

/** PCIe 6.0, 7.9.9. The registers are those of the PCI Express capability's link. */
export const rootLinkControl = capability(0x0006, "Root Complex Internal Link Control", () => ({
  linkCapabilities: reg32(4, { access: "ro" }),
  linkControl: reg16(8),
  linkStatus: reg16(10, { access: "ro" }),
}));

/** PCIe 6.0, 7.9.10. */
export const rcec = capability(
  0x0007,
  "Root Complex Event Collector Endpoint Association",
  () => ({ endpoints: reg32(4, { access: "ro" }) }),
  (_, { version }) => ({
    buses:
      version >= 2
        ? reg32(8, { access: "ro", fields: { next: bits(15, 8), last: bits(23, 16) } })
        : undefined,
  }),
);

/** PCIe 6.0, 7.9.7. */
export const rcrb = capability(0x000a, "Root Complex Register Block Header", () => ({
  vendorId: reg16(4, { access: "ro" }),
  deviceId: reg16(6, { access: "ro" }),
  capabilities: reg32(8, { access: "ro", fields: { retryVisible: bit(0) } }),
  control: reg32(12, { fields: { retryVisible: bit(0) } }),
}));

const indications = lazily(() => ({
  reset: bit(1),
  ok: bit(2),
  locate: bit(3),
  fail: bit(4),
  rebuild: bit(5),
  predictedFailure: bit(6),
  hotSpare: bit(7),
  criticalArray: bit(8),
  failedArray: bit(9),
  invalidType: bit(10),
  disabled: bit(11),
  enclosureSpecific: bits(31, 24),
}));

/** PCIe 6.0, 7.9.19. */
export const npem = capability(0x0029, "Native PCIe Enclosure Management", () => ({
  capabilities: reg32(4, { access: "ro", fields: { capable: bit(0), ...indications() } }),
  control: reg32(8, { fields: { enable: bit(0), ...indications() } }),
  status: reg32(12, {
    fields: { completed: bit(0, { access: "w1c" }), enclosureSpecific: bits(31, 24, { access: "ro" }) },
  }),
}));

/** PCIe 6.0, 7.9.20. */
export const alternateProtocol = capability(0x002b, "Alternate Protocol", () => ({
  capabilities: reg32(4, { access: "ro", fields: { count: bits(7, 0), selectiveEnable: bit(8) } }),
  control: reg32(8, { fields: { index: bits(7, 0), globalEnable: bit(8) } }),
  data1: reg32(12, {
    access: "ro",
    fields: { usage: bits(2, 0), details: bits(15, 5), vendorId: bits(31, 16) },
  }),
  data2: reg32(16, { access: "ro" }),
}));

/** PCIe 6.0, 7.9.21. */
export const sfi = capability(0x002c, "System Firmware Intermediary", () => ({
  capabilities: reg16(4, { access: "ro" }),
  control: reg16(6),
  status: reg8(8),
  camAddress: reg32(12),
  camData: reg32(16),
}));
