/** Protection information: guards, tags, their place in the metadata and their checks. */
import { randomFillSync } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ArgumentError } from "../../../../src/core/errors.js";
import { NvmeError } from "../../../../src/nvme/command/error.js";
import { crc16, crc32c, crc64 } from "../../../../src/nvme/protection/crc.js";
import { type ProtectionFormat, ProtectionInformation } from "../../../../src/nvme/protection/information.js";

const ascii = new TextEncoder().encode("123456789");
const zeros = new Uint8Array(4096);
const ones = new Uint8Array(4096).fill(0xff);
const upwards = Uint8Array.from({ length: 4096 }, (_, i) => i);
const downwards = Uint8Array.from({ length: 4096 }, (_, i) => 255 - i);

function whole64(bytes: Uint8Array, cut = 0): bigint {
  const crc = { low: 0, high: 0 };
  crc64(crc, bytes, 0, cut);
  crc64(crc, bytes, cut, bytes.length);
  return (BigInt(crc.high) << 32n) | BigInt(crc.low);
}

/** Computes a checksum bit by bit, from its definition. */
function slowCrc(bytes: Uint8Array, bits: 16 | 32 | 64): bigint {
  if (bits === 16) {
    let crc = 0;
    for (const byte of bytes) {
      crc ^= byte << 8;
      for (let i = 0; i < 8; i++) crc = (crc & 0x8000) === 0 ? crc << 1 : ((crc << 1) ^ 0x18bb7) & 0xffff;
    }
    return BigInt(crc);
  }
  const polynomial = bits === 32 ? 0x82f63b78n : 0x9a6c9329ac4bc9b5n;
  const all = (1n << BigInt(bits)) - 1n;
  let crc = all;
  for (const byte of bytes) {
    crc ^= BigInt(byte);
    for (let i = 0; i < 8; i++) crc = (crc & 1n) === 0n ? crc >> 1n : (crc >> 1n) ^ polynomial;
  }
  return crc ^ all;
}

describe("guard checksums", () => {
  test("have the check values of their definitions", () => {
    expect(crc16(ascii, 0, 9)).toBe(0xd0db);
    expect(crc32c(ascii, 0, 9)).toBe(0xe306_9283);
    expect(whole64(ascii)).toBe(0xae8b_1486_0a79_9888n);
  });

  // NVM Command Set 1.x, "64b CRC Test Cases" and "32b CRC Test Cases".
  test.each([
    [zeros, 0x98f9_4189, 0x6482_d367_eb22_b64en],
    [ones, 0x25c1_fe13, 0xc0dd_ba73_02ec_a3acn],
    [upwards, 0x9c71_fe32, 0x3e72_9f5f_6750_449cn],
    [downwards, 0x2149_41a8, 0x9a2d_f64b_8e9e_517en],
  ])("have the specification's values for its test blocks", (bytes, crc32, crc) => {
    expect(crc32c(bytes, 0, 4096)).toBe(crc32);
    expect(whole64(bytes)).toBe(crc);
  });

  test("equal the bitwise checksum at any length, cut anywhere", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 70 }), fc.nat(), (bytes, at) => {
        const cut = bytes.length === 0 ? 0 : at % (bytes.length + 1);
        expect(BigInt(crc16(bytes, cut, bytes.length, crc16(bytes, 0, cut)))).toBe(slowCrc(bytes, 16));
        expect(BigInt(crc32c(bytes, cut, bytes.length, crc32c(bytes, 0, cut)))).toBe(slowCrc(bytes, 32));
        expect(whole64(bytes, cut)).toBe(slowCrc(bytes, 64));
      }),
      { numRuns: 300 },
    );
  });
});

/** The name of the status, or that nothing was found. */
function outcome(run: () => void): string {
  try {
    run();
    return "passed";
  } catch (error) {
    if (error instanceof NvmeError) return error.status;
    throw error;
  }
}

const formats: ProtectionFormat[] = ([1, 2, 3] as const).flatMap((type) =>
  [
    { guardBits: 16, storageTagBits: 0, metadataBytes: 8, blockSizeBytes: 512 } as const,
    { guardBits: 16, storageTagBits: 8, metadataBytes: 64, blockSizeBytes: 512 } as const,
    { guardBits: 32, storageTagBits: 16, metadataBytes: 16, blockSizeBytes: 4096 } as const,
    { guardBits: 32, storageTagBits: 64, metadataBytes: 20, blockSizeBytes: 4096 } as const,
    { guardBits: 64, storageTagBits: 0, metadataBytes: 16, blockSizeBytes: 4096 } as const,
    { guardBits: 64, storageTagBits: 20, metadataBytes: 64, blockSizeBytes: 512 } as const,
    { guardBits: 64, storageTagBits: 48, metadataBytes: 16, blockSizeBytes: 512 } as const,
  ].flatMap((rest) => [true, false].map((first) => ({ type, first, ...rest }))),
);

describe.each(formats)(
  "protection of type $type, guard of $guardBits bits, storage tag of $storageTagBits, $metadataBytes bytes, first: $first",
  (format) => {
    const information = new ProtectionInformation(format);
    const { blockSizeBytes, metadataBytes, type, storageTagBits } = format;
    const blocks = 5;
    const space = { 16: 32, 32: 80, 64: 48 }[format.guardBits];
    const referenceBits = BigInt(space - storageTagBits);
    // The reference tag wraps at its end.
    const referenceTag =
      type === 3 ? (1n << referenceBits) / 3n : ((1n << referenceBits) - 2n) & ((1n << referenceBits) - 1n);
    const tags = {
      applicationTag: 0xbeef,
      referenceTag: referenceBits <= 1n ? 0n : referenceTag,
      storageTag: (1n << BigInt(storageTagBits)) / 5n,
    };
    const fresh = (): { data: Uint8Array; metadata: Uint8Array } => {
      const data = randomFillSync(new Uint8Array(blocks * blockSizeBytes));
      const metadata = randomFillSync(new Uint8Array(blocks * metadataBytes));
      information.generate(data, metadata, tags);
      return { data, metadata };
    };
    const at = format.first ? 0 : metadataBytes - information.sizeBytes;

    test("is in the metadata as in the specification's figure", () => {
      const { data, metadata } = fresh();
      for (let block = 0; block < blocks; block++) {
        const start = block * metadataBytes;
        const guarded = Buffer.concat([
          data.subarray(block * blockSizeBytes, (block + 1) * blockSizeBytes),
          metadata.subarray(start, start + at),
        ]);
        const reference =
          type === 3 ? tags.referenceTag : (tags.referenceTag + BigInt(block)) & ((1n << referenceBits) - 1n);
        const tuple =
          (slowCrc(guarded, format.guardBits) << BigInt(16 + space)) |
          (0xbeefn << BigInt(space)) |
          (tags.storageTag << referenceBits) |
          reference;
        const found = Buffer.from(metadata.subarray(start + at, start + at + information.sizeBytes));
        expect(found.toString("hex")).toBe(tuple.toString(16).padStart(2 * information.sizeBytes, "0"));
      }
    });

    test("passes its own check, also interleaved, and names each kind of damage", () => {
      const { data, metadata } = fresh();
      const both = new Uint8Array(data.length + metadata.length);
      for (let block = 0; block < blocks; block++) {
        const to = block * (blockSizeBytes + metadataBytes);
        both.set(data.subarray(block * blockSizeBytes, (block + 1) * blockSizeBytes), to);
        both.set(metadata.subarray(block * metadataBytes, (block + 1) * metadataBytes), to + blockSizeBytes);
      }
      expect(outcome(() => information.check(data, metadata, tags))).toBe("passed");
      expect(outcome(() => information.check(both, undefined, tags))).toBe("passed");
      information.generate(both, undefined, tags);
      expect(outcome(() => information.check(both, undefined, tags))).toBe("passed");

      const damaged = data.slice();
      damaged[3 * blockSizeBytes + 17] = (damaged[3 * blockSizeBytes + 17] ?? 0) ^ 4;
      expect(outcome(() => information.check(damaged, metadata, tags))).toBe("End-to-end Guard Check Error");
      expect(() => information.check(damaged, metadata, tags)).toThrow("block 3");
      expect(outcome(() => information.check(damaged, metadata, { ...tags, guard: false }))).toBe("passed");
      const check = (more: object) => outcome(() => information.check(data, metadata, { ...tags, ...more }));
      expect(check({ applicationTag: 0xbeee })).toBe("End-to-end Application Tag Check Error");
      expect(check({ applicationTag: 0xbeee, applicationTagMask: 0xff00 })).toBe("passed");
      if (referenceBits > 2n) {
        expect(check({ referenceTag: tags.referenceTag ^ 2n })).toBe("End-to-end Reference Tag Check Error");
        expect(check({ referenceTag: tags.referenceTag ^ 2n, reference: false })).toBe("passed");
      }
      if (storageTagBits > 0) {
        expect(check({ storageTag: tags.storageTag ^ 1n })).toBe("End-to-end Storage Tag Check Error");
      }
    });

    test("isn't checked if the application tag is FFFFh, with type 3 only beside a reference tag of ones", () => {
      const data = randomFillSync(new Uint8Array(blocks * blockSizeBytes));
      const metadata = new Uint8Array(blocks * metadataBytes);
      const ones = (1n << referenceBits) - 1n;
      information.generate(data, metadata, { applicationTag: 0xffff, referenceTag: type === 3 ? ones : 0n });
      data.fill(0);
      expect(outcome(() => information.check(data, metadata))).toBe("passed");
      if (type !== 3 || referenceBits < 2n) return;
      information.generate(data, metadata, { applicationTag: 0xffff, referenceTag: ones - 1n });
      data[0] = 1;
      expect(outcome(() => information.check(data, metadata))).toBe("End-to-end Guard Check Error");
    });
  },
);

test("invalid formats and lengths are rejected", () => {
  const format = {
    type: 1,
    guardBits: 16,
    storageTagBits: 0,
    blockSizeBytes: 512,
    metadataBytes: 8,
    first: false,
  } as const;
  for (const wrong of [
    { metadataBytes: 7 },
    { metadataBytes: 8, guardBits: 64 as const },
    { storageTagBits: 33 },
    { guardBits: 32 as const, metadataBytes: 16, storageTagBits: 15 },
  ]) {
    expect(() => new ProtectionInformation({ ...format, ...wrong })).toThrow(ArgumentError);
  }
  const information = new ProtectionInformation(format);
  const [data, metadata] = [new Uint8Array(1024), new Uint8Array(16)];
  for (const run of [
    () => information.generate(data.subarray(1), metadata),
    () => information.generate(data, metadata.subarray(1)),
    () => information.generate(new Uint8Array(0), new Uint8Array(0)),
    () => information.generate(data, metadata, { applicationTag: 0x1_0000 }),
    () => information.generate(data, metadata, { referenceTag: 2n ** 32n }),
    () => information.check(data, metadata, { storageTag: 1n }),
    () => information.check(data, metadata, { applicationTagMask: -1 }),
  ]) {
    expect(run).toThrow(ArgumentError);
  }
});
