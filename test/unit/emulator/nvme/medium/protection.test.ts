/** Tests of metadata and protection information. */
import { describe, expect, test } from "vitest";
import {
  crc16,
  crc64End,
  crc64Start,
  crc64Update,
} from "../../../../../src/emulator/nvme/medium/protection.js";
import type { NvmeEmulatorOptions } from "../../../../../src/emulator/nvme/options.js";
import { IoOpcode } from "../../../../../src/nvme/spec/opcodes.js";
import { NvmeStatus } from "../../../../../src/nvme/spec/status.js";
import { SUCCESS, startedHost } from "../../../../support/nvme-host.js";

const PRACT = 1 << 29;
const GUARD = 1 << 28;
const APP = 1 << 27;
const REF = 1 << 26;

test("the CRCs have their published check values", () => {
  const digits = Buffer.from("123456789");
  // CRC-16/T10-DIF, and CRC-64/NVME (NVM Command Set 1.x, "64b CRC"; rocksoft).
  expect(crc16(digits, 0, 9)).toBe(0xd0db);
  const crc = { low: 0, high: 0 };
  crc64Start(crc);
  crc64Update(crc, digits, 0, 4);
  crc64Update(crc, digits, 4, 9);
  crc64End(crc);
  expect([crc.high, crc.low]).toEqual([0xae8b_1486, 0x0a79_9888]);
  const zeros = { low: 0, high: 0 };
  crc64Start(zeros);
  crc64Update(zeros, new Uint8Array(4096), 0, 4096);
  crc64End(zeros);
  // The specification's own test case: 4 KiB of zeros.
  expect([zeros.high, zeros.low]).toEqual([0x6482_d367, 0xeb22_b64e]);
});

describe("metadata without protection", () => {
  test.each([
    [512, 8],
    [512, 64],
    [4096, 16],
  ] as const)("%i + %i bytes: by its own pointer, and behind the data", (blockSizeBytes, metadataBytes) => {
    using started = startedHost({ blockSizeBytes, metadataBytes });
    const { host, io } = started;
    const blocks = 5;
    const data = host.alloc(8 * 4096);
    const meta = host.alloc(4096);
    const fill = (at: number, length: number, seed: number): Uint8Array => {
      const bytes = host.bytes(at, length);
      for (let i = 0; i < length; i++) bytes[i] = (i * 7 + seed) & 0xff;
      return bytes.slice();
    };
    const dataBytes = fill(data, blocks * blockSizeBytes, 1);
    const metaBytes = fill(meta, blocks * metadataBytes, 2);
    // One list page, so that any length is named.
    const list = host.alloc(4096);
    for (let i = 0; i < 8; i++)
      host.ram.words.set([host.iova(data + (i + 1) * 4096) % 2 ** 32, 1], list / 4 + 2 * i);
    const prp2 = blocks * (blockSizeBytes + metadataBytes) > 8192 ? host.iova(list) : host.iova(data + 4096);
    const command = {
      nsid: 1,
      prp1: host.iova(data),
      prp2,
      mptr: host.iova(meta),
      cdw10: 3,
      cdw12: blocks - 1,
    };
    expect(io.run({ opcode: IoOpcode.write, ...command }).status).toBe(SUCCESS);
    host.bytes(data, 8 * 4096).fill(0);
    host.bytes(meta, 4096).fill(0);
    expect(io.run({ opcode: IoOpcode.read, ...command }).status).toBe(SUCCESS);
    expect(host.bytes(data, dataBytes.length)).toEqual(dataBytes);
    expect(host.bytes(meta, metaBytes.length)).toEqual(metaBytes);
    expect(io.run({ opcode: IoOpcode.compare, ...command }).status).toBe(SUCCESS);
    host.bytes(meta, 1).fill(0x77);
    expect(io.run({ opcode: IoOpcode.compare, ...command }).status).toBe(NvmeStatus.compareFailure);
    expect(io.run({ opcode: IoOpcode.read, ...command, mptr: 0x7_0000_0000 }).status).toBe(
      NvmeStatus.dataTransferError,
    );
    expect(io.run({ opcode: IoOpcode.read, ...command, mptr: host.iova(meta) + 2 }).status).toBe(
      NvmeStatus.invalidField,
    );
  });

  test("alternates with blocks if it is transferred behind the data", () => {
    using started = startedHost({ metadataBytes: 8, extendedMetadata: true });
    const { host, io } = started;
    const at = host.alloc(4096);
    const bytes = host.bytes(at, 3 * 520);
    for (let i = 0; i < bytes.length; i++) bytes[i] = i % 520 < 512 ? 0x11 : 0xee;
    const expected = bytes.slice();
    const command = { nsid: 1, prp1: host.iova(at), cdw12: 2 };
    expect(io.run({ opcode: IoOpcode.write, ...command }).status).toBe(SUCCESS);
    host.bytes(at, 4096).fill(0);
    expect(io.run({ opcode: IoOpcode.read, ...command }).status).toBe(SUCCESS);
    expect(host.bytes(at, 3 * 520)).toEqual(expected);
    expect(host.bytes(at + 3 * 520, 1)[0]).toBe(0);
    // The second block alone.
    expect(io.run({ opcode: IoOpcode.read, nsid: 1, prp1: host.iova(at), cdw10: 1 }).status).toBe(SUCCESS);
    expect(host.bytes(at, 520)).toEqual(expected.subarray(520, 1040));
  });
});

const formats: readonly (readonly [string, NvmeEmulatorOptions])[] = [
  ["512 + 8, 16-bit guard", { blockSizeBytes: 512, metadataBytes: 8 }],
  ["4096 + 64, 16-bit guard in the last bytes", { blockSizeBytes: 4096, metadataBytes: 64 }],
  [
    "512 + 64, 16-bit guard in the first bytes",
    { blockSizeBytes: 512, metadataBytes: 64, protectionFirst: true },
  ],
  ["4096 + 16, 64-bit guard", { blockSizeBytes: 4096, metadataBytes: 16, guardBits: 64 }],
];
const cases = formats.flatMap(([name, options]) =>
  [1, 2, 3].map((protection) => [name, protection, { ...options, protection }] as const),
);

describe.each(cases)("protection: %s, type %i", (_, protection, options) => {
  const { metadataBytes = 8, guardBits = 16, protectionFirst = false, blockSizeBytes = 512 } = options;
  const tuple = guardBits === 16 ? 8 : 16;
  const tupleAt = protectionFirst ? 0 : metadataBytes - tuple;
  const checks = GUARD | APP | (protection === 3 ? 0 : REF);
  const LBA = 40;
  const reference = protection === 1 ? LBA : 0x1234;

  function prepare() {
    const started = startedHost(options);
    const { host } = started;
    const data = host.alloc(8192);
    const meta = host.alloc(4096);
    const bytes = host.bytes(data, 2 * blockSizeBytes);
    for (let i = 0; i < bytes.length; i++) bytes[i] = (i * 11 + 5) & 0xff;
    const command = {
      nsid: 1,
      prp1: host.iova(data),
      prp2: host.iova(data + 4096),
      mptr: host.iova(meta),
      cdw10: LBA,
      cdw14: reference,
      cdw15: 0xffff_beef,
    };
    return { started, host, io: started.io, data, meta, command };
  }

  test("the controller inserts and checks it, and shows it to a host that asks", () => {
    const { started, host, io, meta, command } = prepare();
    using _end = started;
    expect(io.run({ opcode: IoOpcode.write, ...command, cdw12: 1 | PRACT }).status).toBe(SUCCESS);
    expect(io.run({ opcode: IoOpcode.read, ...command, cdw12: 1 | checks }).status).toBe(SUCCESS);
    const view = new DataView(
      host.ram.buffer,
      host.ram.bytes.byteOffset + meta + metadataBytes + tupleAt,
      tuple,
    );
    const second = protection === 3 ? reference : reference + 1;
    expect(view.getUint16(tuple === 8 ? 2 : 8)).toBe(0xbeef);
    expect(view.getUint32(tuple === 8 ? 4 : 12)).toBe(second);
    expect(io.run({ opcode: IoOpcode.verify, ...command, cdw12: 1 | checks }).status).toBe(SUCCESS);
    expect(io.run({ opcode: IoOpcode.read, ...command, cdw12: 1 | checks | PRACT }).status).toBe(SUCCESS);
  });

  test("the host can write what it read, and one wrong bit fails the check", () => {
    const { started, host, io, data, meta, command } = prepare();
    using _end = started;
    io.run({ opcode: IoOpcode.write, ...command, cdw12: 1 | PRACT });
    io.run({ opcode: IoOpcode.read, ...command, cdw12: 1 });
    const rewrite = (flags: number): number =>
      io.run({ opcode: IoOpcode.write, ...command, cdw12: 1 | flags }).status;
    expect(rewrite(checks)).toBe(SUCCESS);
    const flip = (at: number): void => {
      const byte = host.bytes(at, 1);
      byte.set([(byte[0] ?? 0) ^ 1]);
    };
    flip(data + blockSizeBytes + 100);
    expect(rewrite(checks)).toBe(NvmeStatus.endToEndGuardCheckError);
    expect(rewrite(APP)).toBe(SUCCESS);
    flip(data + blockSizeBytes + 100);
    const appAt = meta + metadataBytes + tupleAt + (tuple === 8 ? 2 : 8);
    flip(appAt);
    expect(rewrite(checks & ~GUARD)).toBe(NvmeStatus.endToEndApplicationTagCheckError);
    // Bits that the mask leaves out don't count.
    expect(io.run({ opcode: IoOpcode.write, ...command, cdw12: 1 | APP, cdw15: 0xfeff_beef }).status).toBe(
      SUCCESS,
    );
    flip(appAt);
    if (protection === 3) {
      expect(rewrite(REF)).toBe(NvmeStatus.invalidProtectionInformation);
      return;
    }
    flip(meta + metadataBytes + tupleAt + tuple - 1);
    expect(rewrite(checks)).toBe(NvmeStatus.endToEndReferenceTagCheckError);
  });

  test("a read checks the information on the medium", () => {
    const { started, io, command } = prepare();
    using _end = started;
    io.run({ opcode: IoOpcode.write, ...command, cdw12: 1 | PRACT });
    const read = { opcode: IoOpcode.read, ...command };
    expect(io.run({ ...read, cdw12: 1 | APP, cdw15: 0xffff_dead }).status).toBe(
      NvmeStatus.endToEndApplicationTagCheckError,
    );
    if (protection === 1) {
      expect(io.run({ ...read, cdw12: 1 | REF, cdw14: LBA + 1 }).status).toBe(
        NvmeStatus.invalidProtectionInformation,
      );
    }
    if (protection === 2) {
      expect(io.run({ ...read, cdw12: 1 | REF, cdw14: reference + 1 }).status).toBe(
        NvmeStatus.endToEndReferenceTagCheckError,
      );
    }
    // Blocks never written have an application tag that switches all checks off.
    const fresh = { ...read, cdw10: 1000, cdw14: protection === 1 ? 1000 : 0 };
    expect(io.run({ ...fresh, cdw12: 1 | checks }).status).toBe(SUCCESS);
  });

  test("written zeros are protected, and deallocated blocks are not checked", () => {
    const { started, io, command } = prepare();
    using _end = started;
    expect(io.run({ opcode: IoOpcode.writeZeroes, ...command, cdw12: 1 | PRACT }).status).toBe(SUCCESS);
    expect(io.run({ opcode: IoOpcode.verify, ...command, cdw12: 1 | checks }).status).toBe(SUCCESS);
    expect(io.run({ opcode: IoOpcode.verify, ...command, cdw12: 1 | APP, cdw15: 0xffff_0001 }).status).toBe(
      NvmeStatus.endToEndApplicationTagCheckError,
    );
    expect(io.run({ opcode: IoOpcode.writeZeroes, ...command, cdw12: 1 | (1 << 25) }).status).toBe(SUCCESS);
    expect(io.run({ opcode: IoOpcode.verify, ...command, cdw12: 1 | APP, cdw15: 0xffff_0001 }).status).toBe(
      SUCCESS,
    );
  });
});
