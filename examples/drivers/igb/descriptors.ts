/** Descriptors of the 82576 (82576 datasheet, sections 7.1.5 and 7.2.2): the advanced ones. */
import { bit, bits, descriptorLayout, reg32, reg64 } from "iova/pci";

/** What the driver gives to the device: an empty buffer. */
export const ReceiveRead = descriptorLayout("receive descriptor", 16, {
  address: reg64(0),
  /** For headers apart from data, which this driver doesn't use. Bit 0 is where the device writes `done`. */
  headerAddress: reg64(8),
});

/** What the device writes over it. */
export const ReceiveDone = descriptorLayout("received descriptor", 16, {
  hash: reg32(4, { access: "ro" }),
  status: reg32(8, {
    access: "ro",
    fields: {
      done: bit(0),
      endOfPacket: bit(1),
      vlanStripped: bit(3),
      udpChecked: bit(4),
      transportChecked: bit(5),
      ipChecked: bit(6),
      transportError: bit(29),
      ipError: bit(30),
      receiveError: bit(31),
    },
  }),
  size: reg32(12, { access: "ro", fields: { length: bits(15, 0), vlan: bits(31, 16) } }),
});

/** Of a received descriptor's size, for the hot path. */
export const LENGTH_MASK = 0xffff;
export const VLAN_SHIFT = 16;

/** Bits of a received descriptor's status, for the hot path. */
export const Status = {
  done: 1,
  endOfPacket: 1 << 1,
  vlanStripped: 1 << 3,
  transportChecked: (1 << 4) | (1 << 5),
  ipChecked: 1 << 6,
  transportError: 1 << 29,
  ipError: 1 << 30,
  receiveError: 1 << 31,
} as const;

/** A frame to be sent. The device sets bit 0 of `status` when it has sent it, if the command asks for that. */
export const Send = descriptorLayout("send descriptor", 16, {
  address: reg64(0),
  command: reg32(8, {
    fields: {
      length: bits(15, 0),
      type: bits(23, 20),
      endOfPacket: bit(24),
      insertCrc: bit(25),
      report: bit(27),
      extension: bit(29),
      insertVlan: bit(30),
    },
  }),
  status: reg32(12, {
    fields: {
      done: bit(0),
      context: bits(6, 4),
      ipChecksum: bit(8),
      transportChecksum: bit(9),
      payload: bits(31, 14),
    },
  }),
});

/** What the frames after it have in common: VLAN tag, lengths of headers. It takes a slot of the same ring. */
export const Context = descriptorLayout("context descriptor", 16, {
  lengths: reg32(0, { fields: { ip: bits(8, 0), mac: bits(15, 9), vlan: bits(31, 16) } }),
  security: reg32(4),
  command: reg32(8, {
    fields: { ipv4: bit(10), transport: bits(12, 11), type: bits(23, 20), extension: bit(29) },
  }),
  index: reg32(12),
});

/** Values of `type`. */
export const DescriptorType = { context: 2, data: 3 } as const;
