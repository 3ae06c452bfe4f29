/** Encoding of the specification's structures, against their decoding. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ArgumentError } from "../../../../src/core/errors.js";
import {
  identifyController,
  identifyIndependentNamespace,
  identifyNamespace,
  identifyNvmController,
  identifyNvmNamespace,
} from "../../../../src/nvme/spec/identify.js";
import {
  commandEffectsLog,
  errorLogEntry,
  firmwareSlotLog,
  smartLog,
} from "../../../../src/nvme/spec/log-pages.js";
import { decodeCapabilities, encodeCapabilities } from "../../../../src/nvme/spec/registers.js";
import { NvmeStatus, statusName } from "../../../../src/nvme/spec/status.js";
import {
  identifyZonedController,
  identifyZonedNamespace,
  zoneDescriptor,
  zoneReportHeader,
} from "../../../../src/nvme/spec/zoned.js";

describe("structures of the specification", () => {
  test.each([
    ["Identify Controller", identifyController],
    ["Identify Namespace", identifyNamespace],
    ["Identify Namespace, independent", identifyIndependentNamespace],
    ["Identify Namespace, NVM", identifyNvmNamespace],
    ["Identify Controller, NVM", identifyNvmController],
    ["Identify Namespace, zoned", identifyZonedNamespace],
    ["Identify Controller, zoned", identifyZonedController],
    ["Zone Descriptor", zoneDescriptor],
    ["Report Zones", zoneReportHeader],
    ["Error Information", errorLogEntry],
    ["SMART", smartLog],
    ["Firmware Slot", firmwareSlotLog],
    ["Commands Supported", commandEffectsLog],
  ])("have fields that don't overlap, and encode what they decode: %s", (_, layout) => {
    const spans = Object.values(layout.fields)
      .map(({ offset, type }) => [offset, offset + type.sizeBytes] as const)
      .sort(([a], [b]) => a - b);
    for (const [i, [start]] of spans.entries()) {
      if (i > 0) expect(start).toBeGreaterThanOrEqual(spans[i - 1]?.[1] ?? 0);
    }
    const bytes = fc.uint8Array({ minLength: layout.sizeBytes, maxLength: layout.sizeBytes });
    fc.assert(
      fc.property(bytes, (page) => {
        // Text fields hold text, and LBA formats powers of two.
        for (let i = 0; i < page.length; i++) page[i] = 0x20 + ((page[i] ?? 0) & 0x1f);
        const decoded = layout.decode(page);
        const encoded = (layout.encode as (values: unknown) => Uint8Array)(decoded);
        expect(layout.decode(encoded)).toEqual(decoded);
      }),
      { numRuns: 20 },
    );
  });

  test("reject a value that doesn't fit its field", () => {
    expect(() => identifyController.encode({ vid: 0x1_0000 })).toThrow(ArgumentError);
    expect(() => zoneDescriptor.encode({ wp: -1n })).toThrow(ArgumentError);
    expect(() => identifyController.encode({ sn: "x".repeat(21) })).toThrow(ArgumentError);
  });
});

test("CAP encodes what it decodes", () => {
  const cap = 0x0240_1821_0f01_07ffn;
  expect(encodeCapabilities(decodeCapabilities(cap))).toBe(cap);
});

test("status codes by key have the numbers of their names", () => {
  expect(NvmeStatus).toMatchObject({
    success: 0x000,
    invalidField: 0x002,
    lbaOutOfRange: 0x080,
    invalidQueueIdentifier: 0x101,
    zoneIsFull: 0x1b9,
    compareFailure: 0x285,
    commandAbortedByHost: 0x371,
  });
  const numbers = Object.values(NvmeStatus);
  expect(new Set(numbers).size).toBe(numbers.length);
  for (const number of numbers) expect(statusName(number >> 8, number & 0xff)).not.toMatch(/^Status Code/);
});
