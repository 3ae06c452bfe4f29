/** Capabilities of data objects and encryption. */
import { lazily } from "../../core/lazy.js";
import { type NestedSpec, nested, reg32, repeated } from "../../registers/declaration.js";
import { bit, bits, choice } from "../../registers/field-spec.js";
import { capability } from "./declare.js";

/** PCIe 6.0, 7.9.24. */
export const doe = capability(0x002e, "Data Object Exchange", () => ({
  capabilities: reg32(4, { access: "ro", fields: { interrupt: bit(0), interruptMessage: bits(11, 1) } }),
  control: reg32(8, { fields: { abort: bit(0), interrupt: bit(1), go: bit(31) } }),
  status: reg32(12, {
    access: "ro",
    fields: { busy: bit(0), interrupt: bit(1, { access: "w1c" }), error: bit(2), ready: bit(31) },
  }),
  writeMailbox: reg32(16, { access: "wo" }),
  readMailbox: reg32(20),
}));

const stream = lazily(() => ({
  enable: bit(0),
  aggregateNonPosted: bits(3, 2),
  aggregatePosted: bits(5, 4),
  aggregateCompletions: bits(7, 6),
  pcrc: bit(8),
  partialHeader: bits(13, 10),
  algorithm: bits(18, 14),
  trafficClass: bits(21, 19),
  id: bits(31, 24),
}));
const status = lazily(
  () =>
    ({
      state: choice(3, 0, { insecure: 0, secure: 2 }, { access: "ro" }),
      failReceived: bit(31, { access: "w1c" }),
    }) as const,
);

const linkStream = lazily(() =>
  nested(12, {
    control: reg32(0, { fields: stream() }),
    status: reg32(4, { fields: status() }),
  }),
);

/** Capability, control, status and routing ids of a selective stream; blocks of addresses follow. */
const selectiveBytes = 20;
const addressBytes = 12;

function selectiveStream(at: number, addresses: number) {
  const blocks: Record<string, NestedSpec> = {};
  for (let i = 0; i < addresses; i++)
    blocks[`address${i}`] = nested(selectiveBytes + addressBytes * i, {
      range: reg32(0, { fields: { valid: bit(0), baseLow: bits(19, 8), limitLow: bits(31, 20) } }),
      limitHigh: reg32(4),
      baseHigh: reg32(8),
    });
  return nested(at, {
    capabilities: reg32(0, { access: "ro", fields: { addresses: bits(3, 0) } }),
    control: reg32(4, {
      fields: { ...stream(), configuration: bit(9), defaultStream: bit(22), teeLimited: bit(23) },
    }),
    status: reg32(8, { fields: status() }),
    routing1: reg32(12, { fields: { limit: bits(23, 8) } }),
    routing2: reg32(16, { fields: { valid: bit(0), base: bits(23, 8), segment: bits(31, 24) } }),
    ...blocks,
  });
}

/** PCIe 6.0, 7.9.26; PCI_IDE_* of pci_regs.h. */
export const ide = capability(
  0x0030,
  "Integrity and Data Encryption",
  () => ({
    capabilities: reg32(4, {
      access: "ro",
      fields: {
        linkStreams: bit(0),
        selectiveStreams: bit(1),
        flowThrough: bit(2),
        partialHeader: bit(3),
        aggregation: bit(4),
        pcrc: bit(5),
        keyManagement: bit(6),
        configuration: bit(7),
        algorithms: bits(12, 8),
        lastLinkStream: bits(15, 13),
        lastSelectiveStream: bits(23, 16),
        teeLimited: bit(24),
      },
    }),
    control: reg32(8, { fields: { flowThrough: bit(2) } }),
  }),
  ({ capabilities }, { read32, roomBytes }) => {
    const has = capabilities.decode();
    const links = has.linkStreams ? has.lastLinkStream + 1 : 0;
    const selective: Record<string, ReturnType<typeof selectiveStream>> = {};
    let at = 12 + 8 * links;
    for (let i = 0; has.selectiveStreams && i <= has.lastSelectiveStream && at < roomBytes; i++) {
      const addresses = read32(at) & 15;
      selective[String(i)] = selectiveStream(at, addresses);
      at += selectiveBytes + addressBytes * addresses;
    }
    return {
      linkStreams: links === 0 ? undefined : repeated(links, 8, linkStream()),
      selectiveStreams: has.selectiveStreams ? nested(0, selective) : undefined,
    };
  },
);
