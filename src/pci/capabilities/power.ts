/** Capabilities of power management. */
import { lazily } from "../../core/lazy.js";
import { reg8, reg16, reg32, repeated } from "../../registers/declaration.js";
import { bit, bits, choice } from "../../registers/field-spec.js";
import { capability, numbered } from "./declare.js";

/** PCI Power Management Interface 1.2, 3.2; PCIe 6.0, 7.5.2. */
export const pm = capability(0x01, "Power Management", () => ({
  capabilities: reg16(2, {
    access: "ro",
    fields: {
      version: bits(2, 0),
      pmeClock: bit(3),
      immediateReadiness: bit(4),
      deviceSpecificInit: bit(5),
      auxCurrent: choice(
        8,
        6,
        numbered("0 mA", "55 mA", "100 mA", "160 mA", "220 mA", "270 mA", "320 mA", "375 mA"),
      ),
      d1: bit(9),
      d2: bit(10),
      pmeD0: bit(11),
      pmeD1: bit(12),
      pmeD2: bit(13),
      pmeD3hot: bit(14),
      pmeD3cold: bit(15),
    },
  }),
  control: reg16(4, {
    fields: {
      state: choice(1, 0, numbered("D0", "D1", "D2", "D3hot")),
      noSoftReset: bit(3, { access: "ro" }),
      pmeEnable: bit(8),
      dataSelect: bits(12, 9),
      dataScale: bits(14, 13, { access: "ro" }),
      pmeStatus: bit(15, { access: "w1c" }),
    },
  }),
  bridge: reg8(6, { access: "ro", fields: { b2b3: bit(6), busPowerClock: bit(7) } }),
  data: reg8(7, { access: "ro" }),
}));

/** PCIe 6.0, 7.8.1. */
export const powerBudget = capability(0x0004, "Power Budgeting", () => ({
  select: reg8(4),
  data: reg32(8, {
    access: "ro",
    fields: {
      base: bits(7, 0),
      scale: choice(9, 8, numbered("1", "0.1", "0.01", "0.001")),
      subState: bits(12, 10),
      state: bits(14, 13),
      type: bits(17, 15),
      rail: bits(20, 18),
    },
  }),
  capabilities: reg8(12, { access: "ro", fields: { systemAllocated: bit(0) } }),
}));

/** PCIe 6.0, 7.9.12. */
export const dpa = capability(
  0x0016,
  "Dynamic Power Allocation",
  () => ({
    capabilities: reg32(4, {
      access: "ro",
      fields: {
        maxSubstate: bits(4, 0),
        latencyUnit: choice(9, 8, numbered("1 ms", "10 ms", "100 ms")),
        powerScale: choice(13, 12, numbered("10", "1", "0.1", "0.01")),
        latency0: bits(23, 16),
        latency1: bits(31, 24),
      },
    }),
    latencyIndicator: reg32(8, { access: "ro" }),
    status: reg16(12, {
      fields: { substate: bits(4, 0, { access: "ro" }), controlEnabled: bit(8, { access: "w1c" }) },
    }),
    control: reg16(14, { fields: { substate: bits(4, 0) } }),
  }),
  ({ capabilities }) => ({
    power: repeated(capabilities.get("maxSubstate") + 1, 1, reg8(16, { access: "ro" })),
  }),
);

const latency = lazily(() => ({
  value: bits(9, 0),
  scale: choice(12, 10, numbered("1 ns", "32 ns", "1024 ns", "32768 ns", "1048576 ns", "33554432 ns")),
}));

/** PCIe 6.0, 7.8.2. */
export const ltr = capability(0x0018, "Latency Tolerance Reporting", () => ({
  maxSnoop: reg16(4, { fields: latency() }),
  maxNoSnoop: reg16(6, { fields: latency() }),
}));

const powerOnScale = numbered("2 us", "10 us", "100 us");

/** PCIe 6.0, 7.8.3. */
export const l1ss = capability(0x001e, "L1 PM Substates", () => ({
  capabilities: reg32(4, {
    access: "ro",
    fields: {
      pciPmL12: bit(0),
      pciPmL11: bit(1),
      aspmL12: bit(2),
      aspmL11: bit(3),
      l1Substates: bit(4),
      restoreTimeUs: bits(15, 8),
      powerOnScale: choice(17, 16, powerOnScale),
      powerOnValue: bits(23, 19),
    },
  }),
  control1: reg32(8, {
    fields: {
      pciPmL12: bit(0),
      pciPmL11: bit(1),
      aspmL12: bit(2),
      aspmL11: bit(3),
      restoreTimeUs: bits(15, 8),
      ltrThreshold: bits(25, 16),
      ltrThresholdScale: bits(31, 29),
    },
  }),
  control2: reg32(12, { fields: { powerOnScale: choice(1, 0, powerOnScale), powerOnValue: bits(7, 3) } }),
}));
