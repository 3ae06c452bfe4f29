/** Decoding of Identify Controller and Identify Namespace. */
import { describe, expect, test } from "vitest";
import { ArgumentError } from "../../../../src/core/errors.js";
import { u8, u32 } from "../../../../src/core/struct.js";
import {
  currentLbaFormat,
  IDENTIFY_BYTES,
  identifyController,
  identifyNamespace,
} from "../../../../src/nvme/spec/identify.js";
import { at, record } from "../../../../src/nvme/spec/record.js";

/** A page with these bytes at these offsets. */
function page(...parts: [offset: number, bytes: readonly number[] | string][]): Uint8Array {
  const bytes = new Uint8Array(IDENTIFY_BYTES);
  for (const [offset, part] of parts) {
    bytes.set(typeof part === "string" ? Buffer.from(part, "latin1") : part, offset);
  }
  return bytes;
}

describe("Identify Controller", () => {
  test("decodes fields at the specification's offsets", () => {
    const decoded = identifyController.decode(
      page(
        [0, [0x36, 0x1b]],
        [4, "deadbeef            "],
        [24, "QEMU NVMe Ctrl                          "],
        [64, "1.0     "],
        [73, [0x00, 0x54, 0x52]],
        [77, [7]],
        [78, [0x34, 0x12]],
        [80, [0x00, 0x04, 0x01, 0x00]],
        [88, [0x40, 0x42, 0x0f, 0x00]],
        [111, [1]],
        [256, [0x0a, 0x01]],
        [259, [3]],
        [512, [0x66]],
        [513, [0x44]],
        [516, [0x00, 0x01]],
        [520, [0x5d, 0x01]],
        [525, [7]],
        [536, [1]],
        [768, "nqn.2019-08.org.qemu:deadbeef"],
      ),
    );
    expect(decoded).toMatchObject({
      vid: 0x1b36,
      sn: "deadbeef",
      mn: "QEMU NVMe Ctrl",
      fr: "1.0",
      mdts: 7,
      cntlid: 0x1234,
      ver: 0x0001_0400,
      rtd3e: 1_000_000,
      cntrltype: 1,
      oacs: 0x010a,
      aerl: 3,
      sqes: 0x66,
      cqes: 0x44,
      nn: 256,
      oncs: 0x015d,
      vwc: 7,
      sgls: 1,
      subnqn: "nqn.2019-08.org.qemu:deadbeef",
    });
    expect(decoded.ieee).toBe(0x525400);
  });

  test("decodes capacities of 128 bits", () => {
    const decoded = identifyController.decode(
      page([280, [1, 0, 0, 0, 0, 0, 0, 0, 2]], [296, Array(16).fill(0xff)]),
    );
    expect(decoded.tnvmcap).toBe((2n << 64n) | 1n);
    expect(decoded.unvmcap).toBe(2n ** 128n - 1n);
  });

  test("rejects half a page", () => {
    expect(() => identifyController.decode(new Uint8Array(2048))).toThrow(ArgumentError);
  });

  test("decodes a page in the middle of its buffer", () => {
    const two = new Uint8Array(2 * IDENTIFY_BYTES);
    two.set(page([77, [5]]), IDENTIFY_BYTES);
    expect(identifyController.decode(two.subarray(IDENTIFY_BYTES)).mdts).toBe(5);
  });
});

/** LBAF word n: metadata size, log2 of the data size, relative performance. */
function lbaf(n: number, ms: number, lbads: number, rp = 0): [number, number[]] {
  return [128 + 4 * n, [ms & 0xff, ms >> 8, lbads, rp]];
}

describe("Identify Namespace", () => {
  test("decodes sizes and formats", () => {
    const ns = identifyNamespace.decode(
      page(
        [0, [0, 0, 2]],
        [8, [0, 0, 1]],
        [16, [5]],
        [25, [1]],
        [26, [1]],
        [104, Array.from({ length: 16 }, (_, i) => i)],
        [120, [1, 2, 3, 4, 5, 6, 7, 8]],
        lbaf(0, 0, 9, 2),
        lbaf(1, 8, 12),
      ),
    );
    expect(ns).toMatchObject({ nsze: 0x2_0000n, ncap: 0x1_0000n, nuse: 5n, nlbaf: 1, flbas: 1 });
    expect([...ns.nguid]).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
    expect(ns.lbaf.slice(0, 3)).toEqual([
      { metadataBytes: 0, blockSizeBytes: 512, relativePerformance: 2 },
      { metadataBytes: 8, blockSizeBytes: 4096, relativePerformance: 0 },
      { metadataBytes: 0, blockSizeBytes: 0, relativePerformance: 0 },
    ]);
    expect(currentLbaFormat(ns)).toEqual({ metadataBytes: 8, blockSizeBytes: 4096, relativePerformance: 0 });
  });

  test.each([
    // FLBAS bits 3:0 alone, up to 16 formats; bits 6:5 are reserved then.
    { flbas: 0x0f, nlbaf: 15, index: 15 },
    { flbas: 0x6f, nlbaf: 15, index: 15 },
    // Bit 4 says how metadata is transferred.
    { flbas: 0x12, nlbaf: 15, index: 2 },
    // More than 16: bits 6:5 are the upper part.
    { flbas: 0x20, nlbaf: 16, index: 16 },
    { flbas: 0x6f, nlbaf: 63, index: 63 },
    { flbas: 0x53, nlbaf: 63, index: 35 },
  ])("finds the format in use: FLBAS $flbas of $nlbaf + 1", ({ flbas, nlbaf, index }) => {
    const formats = Array.from({ length: 64 }, (_, n) => lbaf(n, n, 9));
    const ns = identifyNamespace.decode(page([25, [nlbaf]], [26, [flbas]], ...formats));
    expect(currentLbaFormat(ns)).toEqual({
      metadataBytes: index,
      blockSizeBytes: 512,
      relativePerformance: 0,
    });
  });

  test("decodes a namespace that doesn't exist as no size and no usable format", () => {
    const ns = identifyNamespace.decode(page());
    expect(ns.nsze).toBe(0n);
    expect(currentLbaFormat(ns).blockSizeBytes).toBe(0);
  });
});

describe("record()", () => {
  test("rejects a field that ends beyond its structure when it is declared", () => {
    expect(() => record("Short", 8, { a: at(0, u8), b: at(5, u32) })).toThrow("Short.b ends beyond 8 bytes");
  });
});
