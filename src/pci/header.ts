/** The header of configuration space: the first 64 bytes, in one of three forms. */
import { lazily } from "../core/lazy.js";
import type { RegisterAccess } from "../registers/access.js";
import { registerBlock } from "../registers/block.js";
import { reg8, reg16, reg32, repeated } from "../registers/declaration.js";
import { bit, bits, choice } from "../registers/field-spec.js";
import type { RegistersOf } from "../registers/types.js";

const errors = lazily(
  () =>
    ({
      dataParity: bit(8),
      devsel: choice(10, 9, { fast: 0, medium: 1, slow: 2 }, { access: "ro" }),
      signaledTargetAbort: bit(11),
      receivedTargetAbort: bit(12),
      receivedMasterAbort: bit(13),
      systemError: bit(14),
      parityError: bit(15),
    }) as const,
);
const timing = lazily(
  () =>
    ({
      mhz66: bit(5, { access: "ro" }),
      userDefinable: bit(6, { access: "ro" }),
      fastBackToBack: bit(7, { access: "ro" }),
    }) as const,
);

const common = lazily(
  () =>
    ({
      vendorId: reg16(0x00, { access: "ro" }),
      deviceId: reg16(0x02, { access: "ro" }),
      command: reg16(0x04, {
        fields: {
          ioSpace: bit(0),
          memorySpace: bit(1),
          busMaster: bit(2),
          specialCycles: bit(3),
          memoryWriteInvalidate: bit(4),
          vgaSnoop: bit(5),
          parityResponse: bit(6),
          stepping: bit(7),
          serr: bit(8),
          fastBackToBack: bit(9),
          interruptDisable: bit(10),
        },
      }),
      status: reg16(0x06, {
        access: "w1c",
        fields: {
          immediateReadiness: bit(0, { access: "ro" }),
          interrupt: bit(3, { access: "ro" }),
          capabilities: bit(4, { access: "ro" }),
          ...timing(),
          ...errors(),
        },
      }),
      revision: reg8(0x08, { access: "ro" }),
      interface: reg8(0x09, { access: "ro" }),
      subclass: reg8(0x0a, { access: "ro" }),
      baseClass: reg8(0x0b, { access: "ro" }),
      cacheLine: reg8(0x0c),
      latencyTimer: reg8(0x0d),
      type: reg8(0x0e, { access: "ro", fields: { layout: bits(6, 0), multifunction: bit(7) } }),
      bist: reg8(0x0f, {
        fields: {
          completion: bits(3, 0, { access: "ro" }),
          start: bit(6),
          capable: bit(7, { access: "ro" }),
        },
      }),
      interruptLine: reg8(0x3c),
      interruptPin: reg8(0x3d, {
        access: "ro",
        fields: { pin: choice(7, 0, { none: 0, A: 1, B: 2, C: 3, D: 4 }) },
      }),
    }) as const,
);

/** `type` and `prefetchable` are bits of the address if `io` is set. */
const bar = lazily(() =>
  reg32(0x10, {
    fields: {
      io: bit(0, { access: "ro" }),
      type: choice(2, 1, { "32-bit": 0, "below 1 MiB": 1, "64-bit": 2 }, { access: "ro" }),
      prefetchable: bit(3, { access: "ro" }),
    },
  }),
);
const rom = lazily(() => ({ fields: { enable: bit(0) } }));
const ioWindow = lazily(
  () =>
    ({
      fields: { type: choice(3, 0, { "16-bit": 0, "32-bit": 1 }, { access: "ro" }), address: bits(7, 4) },
    }) as const,
);
const memoryWindow = lazily(() => ({ fields: { address: bits(15, 4) } }));
const prefetchableWindow = lazily(() => ({
  fields: { type: choice(3, 0, { "32-bit": 0, "64-bit": 1 }, { access: "ro" }), address: bits(15, 4) },
}));
const bridgeControl = lazily(() => ({
  parity: bit(0),
  serr: bit(1),
  isa: bit(2),
  vga: bit(3),
  masterAbort: bit(5),
  reset: bit(6),
}));
const secondaryStatus = { access: "w1c", fields: { ...timing(), ...errors() } } as const;

/** PCIe 6.0, 7.5.1.2. */
const deviceHeader = lazily(() =>
  registerBlock("header", {
    ...common(),
    bars: repeated(6, 4, bar()),
    cardbusCis: reg32(0x28, { access: "ro" }),
    subsystemVendorId: reg16(0x2c, { access: "ro" }),
    subsystemId: reg16(0x2e, { access: "ro" }),
    rom: reg32(0x30, rom()),
    capabilityPointer: reg8(0x34, { access: "ro" }),
    minGrant: reg8(0x3e, { access: "ro" }),
    maxLatency: reg8(0x3f, { access: "ro" }),
  }),
);

/** PCIe 6.0, 7.5.1.3. Windows: `address` is in units of 4 KiB (I/O) or 1 MiB. */
const bridgeHeader = lazily(() =>
  registerBlock("header", {
    ...common(),
    bars: repeated(2, 4, bar()),
    primaryBus: reg8(0x18),
    secondaryBus: reg8(0x19),
    subordinateBus: reg8(0x1a),
    secondaryLatency: reg8(0x1b),
    ioBase: reg8(0x1c, ioWindow()),
    ioLimit: reg8(0x1d, ioWindow()),
    secondaryStatus: reg16(0x1e, secondaryStatus),
    memoryBase: reg16(0x20, memoryWindow()),
    memoryLimit: reg16(0x22, memoryWindow()),
    prefetchableBase: reg16(0x24, prefetchableWindow()),
    prefetchableLimit: reg16(0x26, prefetchableWindow()),
    prefetchableBaseHigh: reg32(0x28),
    prefetchableLimitHigh: reg32(0x2c),
    ioBaseHigh: reg16(0x30),
    ioLimitHigh: reg16(0x32),
    capabilityPointer: reg8(0x34, { access: "ro" }),
    rom: reg32(0x38, rom()),
    bridgeControl: reg16(0x3e, {
      fields: {
        ...bridgeControl(),
        vga16: bit(4),
        fastBackToBack: bit(7),
        primaryDiscardTimer: bit(8),
        secondaryDiscardTimer: bit(9),
        discardTimerStatus: bit(10, { access: "w1c" }),
        discardTimerSerr: bit(11),
      },
    }),
  }),
);

/** PC Card Standard 8.0, PCI_CB_* of pci_regs.h. */
const cardbusHeader = lazily(() =>
  registerBlock("header", {
    ...common(),
    base: reg32(0x10),
    capabilityPointer: reg8(0x14, { access: "ro" }),
    secondaryStatus: reg16(0x16, secondaryStatus),
    primaryBus: reg8(0x18),
    cardBus: reg8(0x19),
    subordinateBus: reg8(0x1a),
    cardLatency: reg8(0x1b),
    memory: repeated(4, 4, reg32(0x1c)),
    io: repeated(4, 4, reg32(0x2c)),
    bridgeControl: reg16(0x3e, {
      fields: {
        ...bridgeControl(),
        interrupt16: bit(7),
        prefetch0: bit(8),
        prefetch1: bit(9),
        postWrites: bit(10),
      },
    }),
  }),
);

const unknownHeader = lazily(() => registerBlock("header", common()));

const headers = {
  device: deviceHeader,
  bridge: bridgeHeader,
  cardbus: cardbusHeader,
  unknown: unknownHeader,
};
const kinds = ["device", "bridge", "cardbus"] as const;

/** Which registers a header has: types 0, 1 and 2, or another one. */
export type PciHeaderKind = keyof typeof headers;
/** The header's registers by name. `kind` tells which it has besides those of every function. */
export type PciHeader = {
  [K in PciHeaderKind]: {
    /** Which form the header has. */
    readonly kind: K;
  } & RegistersOf<ReturnType<(typeof headers)[K]>["registers"]>;
}[PciHeaderKind];

/** The form of a function's header. */
export function headerKind(access: RegisterAccess): PciHeaderKind {
  return kinds[access.read8(common().type.offset) & 0x7f] ?? "unknown";
}

/** The header's declaration. */
export function headerBlock(kind: PciHeaderKind): ReturnType<(typeof headers)[PciHeaderKind]> {
  return headers[kind]();
}

/** The header's registers, to be read and written. */
export function headerOf(access: RegisterAccess): PciHeader {
  const kind = headerKind(access);
  switch (kind) {
    case "device":
      return { kind, ...deviceHeader().on(access) };
    case "bridge":
      return { kind, ...bridgeHeader().on(access) };
    case "cardbus":
      return { kind, ...cardbusHeader().on(access) };
    case "unknown":
      return { kind, ...unknownHeader().on(access) };
  }
}
