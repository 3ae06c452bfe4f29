/** Registers of Intel's 82576 (82576 datasheet, section 8). */
import { bit, bits, nested, type RegistersOf, reg32, reg64, registerBlock, repeated } from "iova/pci";

/** Rings of each direction. */
export const MOST_QUEUES = 16;

const receiveRing = nested(0xc000, {
  base: reg64(0x00),
  sizeBytes: reg32(0x08),
  split: reg32(0x0c, {
    fields: { bufferKib: bits(6, 0), descriptorType: bits(27, 25), dropIfFull: bit(31) },
  }),
  head: reg32(0x10),
  tail: reg32(0x18),
  control: reg32(0x28, {
    fields: { prefetch: bits(4, 0), host: bits(12, 8), writeBack: bits(20, 16), enable: bit(25) },
  }),
});

const sendRing = nested(0xe000, {
  base: reg64(0x00),
  sizeBytes: reg32(0x08),
  head: reg32(0x10),
  tail: reg32(0x18),
  control: reg32(0x28, {
    fields: { prefetch: bits(4, 0), host: bits(12, 8), writeBack: bits(20, 16), enable: bit(25) },
  }),
});

export const igbRegisters = registerBlock("82576", {
  control: reg32(0x0000, {
    fields: {
      fullDuplex: bit(0),
      masterDisable: bit(2),
      setLinkUp: bit(6),
      forceSpeed: bit(11),
      forceDuplex: bit(12),
      reset: bit(26),
      receivePause: bit(27),
      sendPause: bit(28),
      stripVlan: bit(30),
      phyReset: bit(31),
    },
  }),
  status: reg32(0x0008, {
    access: "ro",
    fields: {
      fullDuplex: bit(0),
      linkUp: bit(1),
      lan: bits(3, 2),
      speed: bits(7, 6),
      masterEnabled: bit(19),
    },
  }),
  extendedControl: reg32(0x0018, { fields: { resetDone: bit(14), driverLoaded: bit(28) } }),
  mdi: reg32(0x0020, {
    fields: {
      data: bits(15, 0),
      register: bits(20, 16),
      phy: bits(25, 21),
      operation: bits(27, 26),
      ready: bit(28),
      error: bit(30),
    },
  }),
  interruptCause: reg32(0x00c0, { access: "rc", fields: { linkChange: bit(2) } }),
  interruptMaskSet: reg32(0x00d0, { fields: { linkChange: bit(2) } }),
  interruptMaskClear: reg32(0x00d8, { access: "wo" }),
  receiveControl: reg32(0x0100, {
    fields: {
      enable: bit(1),
      unicastPromiscuous: bit(3),
      multicastPromiscuous: bit(4),
      longFrames: bit(5),
      broadcast: bit(15),
      vlanFilter: bit(18),
      stripCrc: bit(26),
    },
  }),
  sendControl: reg32(0x0400, {
    fields: { enable: bit(1), padShort: bit(3), collisionThreshold: bits(11, 4), backOff: bits(21, 12) },
  }),
  interruptMode: reg32(0x1514, {
    fields: { singleRead: bit(0), multipleVectors: bit(4), autoMask: bit(30), pendingBits: bit(31) },
  }),
  vectorMaskSet: reg32(0x1524),
  vectorMaskClear: reg32(0x1528, { access: "wo" }),
  vectorAutoClear: reg32(0x152c),
  vectorCause: reg32(0x1580, { access: "rc" }),
  vectorInterval: repeated(25, 4, reg32(0x1680, { fields: { microseconds: bits(14, 2) } })),
  /** Register n has the vectors of queues n and n + 8. */
  queueVectors: repeated(
    8,
    4,
    reg32(0x1700, {
      fields: {
        receive: bits(4, 0),
        receiveValid: bit(7),
        send: bits(12, 8),
        sendValid: bit(15),
      },
    }),
  ),
  otherVector: reg32(0x1740, { fields: { other: bits(12, 8), otherValid: bit(15) } }),
  receiveChecksum: reg32(0x5000, {
    fields: { ip: bit(8), transport: bit(9), hashInsteadOfChecksum: bit(13) },
  }),
  longestFrame: reg32(0x5004),
  multicastTable: repeated(128, 4, reg32(0x5200)),
  address: repeated(
    16,
    8,
    nested(0x5400, { low: reg32(0), high: reg32(4, { fields: { bytes: bits(15, 0), valid: bit(31) } }) }),
  ),
  vlanTable: repeated(128, 4, reg32(0x5600)),
  hashControl: reg32(0x5818, {
    fields: {
      mode: bits(2, 0),
      tcpIpv4: bit(16),
      ipv4: bit(17),
      ipv6: bit(20),
      tcpIpv6: bit(21),
      udpIpv4: bit(22),
      udpIpv6: bit(23),
    },
  }),
  /** Four queues in each. */
  redirection: repeated(32, 4, reg32(0x5c00)),
  hashKey: repeated(10, 4, reg32(0x5c80)),
  /** Reading takes the semaphore: it was free if the bit reads 0. */
  semaphore: reg32(0x5b50, { fields: { taken: bit(0), byDriver: bit(1) } }),
  /** What the driver uses at the moment, and in the upper half, what the firmware uses. */
  shared: reg32(0x5b5c),
  receiveRings: repeated(MOST_QUEUES, 0x40, receiveRing),
  sendRings: repeated(MOST_QUEUES, 0x40, sendRing),
});

/** The registers of an 82576, by name. */
export type IgbRegisters = RegistersOf<typeof igbRegisters.registers>;

/** Counters, cleared by reading. */
export const igbCounters = registerBlock("82576 statistics", {
  crcErrors: reg32(0x4000, { access: "rc" }),
  receiveErrors: reg32(0x400c, { access: "rc" }),
  missed: reg32(0x4010, { access: "rc" }),
  receivedBroadcasts: reg32(0x4078, { access: "rc" }),
  receivedMulticasts: reg32(0x407c, { access: "rc" }),
  receivedGood: reg32(0x4074, { access: "rc" }),
  sentGood: reg32(0x4080, { access: "rc" }),
  receivedGoodBytes: reg64(0x4088, { access: "rc" }),
  sentGoodBytes: reg64(0x4090, { access: "rc" }),
  noBuffer: reg32(0x40a0, { access: "rc" }),
  tooShort: reg32(0x40a4, { access: "rc" }),
  tooLong: reg32(0x40ac, { access: "rc" }),
  receivedBytes: reg64(0x40c0, { access: "rc" }),
  sentBytes: reg64(0x40c8, { access: "rc" }),
  received: reg32(0x40d0, { access: "rc" }),
  sent: reg32(0x40d4, { access: "rc" }),
  sentMulticasts: reg32(0x40f0, { access: "rc" }),
  sentBroadcasts: reg32(0x40f4, { access: "rc" }),
});
