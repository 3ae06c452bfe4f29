/** Tests of the Host Memory Buffer. */
import { describe, expect, test } from "vitest";
import { hostMemoryAttributes, hostMemoryDescriptor } from "../../../../../src/nvme/spec/features.js";
import { identifyController } from "../../../../../src/nvme/spec/identify.js";
import { AdminOpcode, FeatureId, IoOpcode, LogPageId } from "../../../../../src/nvme/spec/opcodes.js";
import { NvmeStatus } from "../../../../../src/nvme/spec/status.js";
import { NvmeTestHost, SUCCESS, startedHost, type TestQueue } from "../../../../support/nvme-host.js";

const BYTES = 1 << 20;
const [ENABLE, RETURN] = [1, 2];

/** Two pieces of memory with a list of them. */
class Given {
  readonly pieces: [number, number];
  readonly list: number;

  constructor(
    private readonly host: NvmeTestHost,
    readonly sizeBytes = BYTES,
  ) {
    this.pieces = [host.alloc(sizeBytes / 2), host.alloc(sizeBytes / 2)];
    this.list = host.alloc(4096);
    for (const [i, piece] of this.pieces.entries()) {
      const entry = hostMemoryDescriptor.encode({
        badd: BigInt(host.iova(piece)),
        bsize: sizeBytes / 2 / 4096,
      });
      host.bytes(this.list + 16 * i, 16).set(entry);
    }
  }

  set(flags: number, change: { cdw12?: number; cdw13?: number; cdw15?: number } = {}): number {
    const list = this.host.iova(this.list);
    return this.host.admin.run({
      opcode: AdminOpcode.setFeatures,
      cdw10: FeatureId.hostMemoryBuffer,
      cdw11: flags,
      cdw12: this.sizeBytes / 4096,
      cdw13: list % 2 ** 32,
      cdw14: Math.floor(list / 2 ** 32),
      cdw15: 2,
      ...change,
    }).status;
  }

  /** Both pieces as they are now. */
  get contents(): Buffer {
    return Buffer.concat(this.pieces.map((piece) => this.host.bytes(piece, this.sizeBytes / 2)));
  }

  spoil(): void {
    for (const piece of this.pieces) {
      const bytes = this.host.bytes(piece, this.sizeBytes / 2);
      for (let i = 0; i < bytes.length; i += 512) bytes[i] = (bytes[i] ?? 0) ^ 0xff;
    }
  }
}

function transfer(
  host: NvmeTestHost,
  io: TestQueue,
  opcode: number,
  lba: number,
  blocks: number,
  fill = 0,
): Buffer {
  const at = host.alloc(blocks * 512);
  host.bytes(at, blocks * 512).fill(fill);
  const { status } = io.run({
    opcode,
    nsid: 1,
    prp1: host.iova(at),
    prp2: host.iova(at + 4096),
    cdw10: lba,
    cdw12: blocks - 1,
  });
  expect(status).toBe(SUCCESS);
  return Buffer.from(host.bytes(at, blocks * 512));
}

describe("Host Memory Buffer", () => {
  test("caches what was read, and follows writes, trims and formats", () => {
    using started = startedHost({ hostMemoryBytes: BYTES });
    const { host, io } = started;
    const identity = identifyController.decode(host.identify(1).page);
    expect(identity).toMatchObject({ hmpre: 256, hmmin: 16, hmminds: 1, hmmaxd: 1024 });
    const given = new Given(host);
    transfer(host, io, IoOpcode.write, 3, 8, 0xa5);
    expect(given.set(ENABLE)).toBe(SUCCESS);
    const page = host.alloc(4096);
    const { dw0 } = host.admin.run({
      opcode: AdminOpcode.getFeatures,
      cdw10: FeatureId.hostMemoryBuffer,
      prp1: host.iova(page),
    });
    expect(dw0).toBe(1);
    expect(hostMemoryAttributes.decode(host.bytes(page, 4096))).toMatchObject({ hsize: 256, hmdlec: 2 });
    const wanted = Buffer.concat([Buffer.alloc(3 * 512), Buffer.alloc(8 * 512, 0xa5), Buffer.alloc(5 * 512)]);
    expect(given.contents.some((byte) => byte !== 0)).toBe(false);
    expect(transfer(host, io, IoOpcode.read, 0, 16)).toEqual(wanted);
    // The controller has put it there.
    expect(given.contents.includes(wanted.subarray(0, 4096))).toBe(true);
    expect(host.device.hostMemory).toEqual({ sizeBytes: BYTES, hits: 0, misses: 2, damaged: 0 });
    expect(transfer(host, io, IoOpcode.read, 0, 16)).toEqual(wanted);
    expect(host.device.hostMemory).toMatchObject({ hits: 2, misses: 2 });
    transfer(host, io, IoOpcode.write, 0, 1, 0x11);
    expect(transfer(host, io, IoOpcode.read, 0, 1)).toEqual(Buffer.alloc(512, 0x11));
    expect(host.device.hostMemory).toMatchObject({ hits: 2, misses: 3 });
    // Of a line that others share its place with: 256 lines.
    expect(transfer(host, io, IoOpcode.read, 256 * 8, 1)).toEqual(Buffer.alloc(512));
    expect(transfer(host, io, IoOpcode.read, 3, 1)).toEqual(Buffer.alloc(512, 0xa5));
    expect(io.run({ opcode: IoOpcode.writeZeroes, nsid: 1, cdw10: 3, cdw12: 0 }).status).toBe(SUCCESS);
    expect(transfer(host, io, IoOpcode.read, 3, 2)).toEqual(
      Buffer.concat([Buffer.alloc(512), Buffer.alloc(512, 0xa5)]),
    );
    host.admin.run({ opcode: AdminOpcode.formatNvm, nsid: 1 });
    expect(transfer(host, io, IoOpcode.read, 0, 16)).toEqual(Buffer.alloc(8192));
  });

  test("is not used after the host takes it back, nor after a reset or shutdown", () => {
    using host = new NvmeTestHost({ hostMemoryBytes: BYTES });
    const ends = [
      (given: Given) => expect(given.set(0)).toBe(SUCCESS),
      () => host.device.reset(),
      () => host.write32(0x14, 0),
    ];
    for (const end of ends) {
      host.freeAll();
      host.enable();
      const given = new Given(host);
      expect(given.set(ENABLE)).toBe(SUCCESS);
      transfer(host, host.createIo(), IoOpcode.read, 0, 16);
      end(given);
      for (const piece of given.pieces) host.bytes(piece, BYTES / 2).fill(0x77);
      if (end !== ends[0]) host.enable();
      transfer(host, host.createIo(2), IoOpcode.read, 64, 16);
      expect(given.contents.every((byte) => byte === 0x77)).toBe(true);
      expect(host.device.hostMemory?.sizeBytes).toBe(0);
      host.device.reset();
    }
  });

  test("is used with its contents when the host returns it, unless the medium has changed", () => {
    using started = startedHost({ hostMemoryBytes: BYTES });
    const { host, io } = started;
    const given = new Given(host);
    given.set(ENABLE);
    transfer(host, io, IoOpcode.read, 0, 16);
    given.set(0);
    expect(given.set(ENABLE | RETURN)).toBe(SUCCESS);
    transfer(host, io, IoOpcode.read, 0, 16);
    expect(host.device.hostMemory).toMatchObject({ hits: 2, misses: 2 });
    for (const change of [
      () => transfer(host, io, IoOpcode.write, 1, 1, 0x33),
      () => io.run({ opcode: IoOpcode.writeZeroes, nsid: 1, cdw10: 1 }),
    ]) {
      given.set(0);
      change();
      expect(given.set(ENABLE | RETURN)).toBe(SUCCESS);
      const { misses = 0 } = host.device.hostMemory ?? {};
      transfer(host, io, IoOpcode.read, 0, 16);
      expect(host.device.hostMemory?.misses).toBe(misses + 2);
    }
    given.set(0);
    expect(new Given(host).set(ENABLE | RETURN)).toBe(NvmeStatus.invalidField);
  });

  test("loses no data if the host changes or unmaps it, and the damage is reported", () => {
    using started = startedHost({ hostMemoryBytes: BYTES });
    const { host, io } = started;
    const given = new Given(host);
    transfer(host, io, IoOpcode.write, 0, 8, 0xa5);
    given.set(ENABLE);
    transfer(host, io, IoOpcode.read, 0, 8);
    given.spoil();
    host.admin.post({ opcode: AdminOpcode.asyncEventRequest });
    expect(transfer(host, io, IoOpcode.read, 0, 8)).toEqual(Buffer.alloc(4096, 0xa5));
    expect(host.device.hostMemory).toMatchObject({ damaged: 1 });
    host.device.pump();
    expect(host.admin.take()?.dw0).toBe((LogPageId.errorInformation << 16) | (4 << 8));
    expect(transfer(host, io, IoOpcode.read, 0, 8)).toEqual(Buffer.alloc(4096, 0xa5));
    expect(host.device.hostMemory).toMatchObject({ damaged: 1, hits: 1 });
  });

  test("is refused if the list or the size is wrong", () => {
    using started = startedHost({ hostMemoryBytes: BYTES });
    const { host } = started;
    const given = new Given(host);
    for (const wrong of [
      { cdw12: 15 },
      { cdw12: 255 },
      { cdw12: 257 },
      { cdw13: 8 },
      { cdw15: 0 },
      { cdw15: 1 },
      { cdw15: 1025 },
    ]) {
      expect(given.set(ENABLE, wrong)).toBe(NvmeStatus.invalidField);
    }
    const entry = host.bytes(given.list, 16);
    const right = entry.slice();
    for (const [badd, bsize, status] of [
      [BigInt(host.iova(given.pieces[0])) + 512n, 128, NvmeStatus.invalidField],
      [0x7_0000_0000n, 128, NvmeStatus.dataTransferError],
      [2n ** 63n, 128, NvmeStatus.invalidField],
      [BigInt(host.iova(given.pieces[0])), 0, NvmeStatus.invalidField],
    ] as const) {
      entry.set(hostMemoryDescriptor.encode({ badd, bsize }));
      expect(given.set(ENABLE)).toBe(status);
    }
    entry.set(right);
    expect(given.set(ENABLE)).toBe(SUCCESS);
    expect(given.set(ENABLE)).toBe(NvmeStatus.commandSequenceError);
    expect(given.set(0)).toBe(SUCCESS);
    expect(given.set(0)).toBe(SUCCESS);
    using plain = new NvmeTestHost();
    plain.enable();
    expect(new Given(plain).set(ENABLE)).toBe(NvmeStatus.invalidField);
    expect(identifyController.decode(plain.identify(1).page)).toMatchObject({ hmpre: 0, hmmin: 0 });
    expect(plain.device.hostMemory).toBe(undefined);
  });

  test("moves with the controller", () => {
    using source = new NvmeTestHost({ hostMemoryBytes: BYTES });
    source.enable();
    const io = source.createIo();
    const given = new Given(source);
    given.set(ENABLE);
    transfer(source, io, IoOpcode.write, 0, 8, 0x42);
    transfer(source, io, IoOpcode.read, 0, 8);
    using target = new NvmeTestHost({ hostMemoryBytes: BYTES });
    target.takeOver(source);
    expect(target.device.hostMemory).toEqual({ sizeBytes: BYTES, hits: 0, misses: 0, damaged: 0 });
    expect(Buffer.from(target.device.migration.save()).includes('"hostMemory":{"listAddress"')).toBe(true);
  });
});
