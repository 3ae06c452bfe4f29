/** Queues, lists, data and doorbells in memory that the server copies, and in many mappings. */
import { describe, expect, test } from "vitest";
import type { NvmeEmulatorOptions } from "../../../../../src/emulator/nvme/options.js";
import { hostMemoryDescriptor } from "../../../../../src/nvme/spec/features.js";
import { AdminOpcode, FeatureId, IoOpcode } from "../../../../../src/nvme/spec/opcodes.js";
import { ControllerStatus } from "../../../../../src/nvme/spec/registers.js";
import { NvmeStatus } from "../../../../../src/nvme/spec/status.js";
import { NvmeTestHost, SUCCESS, type TestQueue } from "../../../../support/nvme-host.js";
import { type ServedLayout, ServedMemory } from "../../../../support/served-memory.js";

const PAGE = 4096;
const BLOCK = 512;
const ENTRIES = 1024;
const PSDT_SGL = 1 << 14;

/** A host with such memory, an enabled controller, and I/O queues of 1024 entries: 16 pages and 4 pages. */
class Started {
  readonly served: ServedMemory;
  readonly host: NvmeTestHost;
  /** Where the I/O submission queue is in the host's memory. */
  readonly sq: number;
  readonly cq: number;
  readonly io: TestQueue;

  constructor(layout: ServedLayout, options: NvmeEmulatorOptions = {}) {
    this.served = new ServedMemory(layout);
    this.host = new NvmeTestHost(options, false, this.served);
    this.host.enable();
    this.sq = this.host.alloc(ENTRIES * 64);
    this.cq = this.host.alloc(ENTRIES * 16);
    this.io = this.host.createIoAt(1, ENTRIES, this.sq, this.cq);
  }

  /** A PRP list of these pages; returns its first page's offset. Each list page but the last ends with a link. */
  list(pages: readonly number[]): number {
    const { host } = this;
    const entriesPerPage = PAGE / 8;
    const lists = host.alloc(Math.ceil(pages.length / (entriesPerPage - 1)) * PAGE);
    let at = lists;
    for (const [i, page] of pages.entries()) {
      if ((at + 8) % PAGE === 0 && i < pages.length - 1) {
        host.ram.words.set([host.iova(at + 8) % 2 ** 32, 1], at / 4);
        at += 8;
      }
      host.ram.words.set([host.iova(page) % 2 ** 32, 1], at / 4);
      at += 8;
    }
    return lists;
  }

  [Symbol.dispose](): void {
    this.host.close();
    this.served[Symbol.dispose]();
  }
}

function fill(bytes: Uint8Array, seed: number): Uint8Array {
  for (let i = 0; i < bytes.length; i++) bytes[i] = (i * 31 + (i >> 8) + seed) & 0xff;
  return bytes.slice();
}

const isSame = (bytes: Uint8Array, expected: Uint8Array): boolean => Buffer.compare(bytes, expected) === 0;

describe.each<[string, ServedLayout]>([
  ["in one mapping", { copied: false, paged: false }],
  ["in one mapping for each page", { copied: false, paged: true }],
  ["copied, in one mapping", { copied: true, paged: false }],
  ["copied, in one mapping for each page", { copied: true, paged: true }],
])("memory %s", (_, layout) => {
  test("can hold queues of 1024 entries, which go round", () => {
    using started = new Started(layout);
    const { host, io } = started;
    const at = host.alloc(PAGE);
    for (let i = 1; i <= ENTRIES + 200; i++) {
      const cid = i & 0xffff;
      const completion = io.run({ opcode: IoOpcode.flush, cid, nsid: 1 });
      expect(completion).toMatchObject({ status: SUCCESS, cid, sqid: 1, sqhd: i % ENTRIES });
    }
    const written = fill(host.bytes(at, BLOCK), 1);
    expect(io.run({ opcode: IoOpcode.write, nsid: 1, prp1: host.iova(at) }).status).toBe(SUCCESS);
    host.bytes(at, BLOCK).fill(0);
    expect(io.run({ opcode: IoOpcode.read, nsid: 1, prp1: host.iova(at) }).status).toBe(SUCCESS);
    expect(host.bytes(at, BLOCK)).toEqual(written);
  });

  test("can hold data with a chain of PRP lists", () => {
    const pages = 600;
    using started = new Started(layout, { maxTransferBytes: 4 << 20 });
    const { host, io } = started;
    const data = host.alloc(pages * PAGE);
    const written = fill(host.bytes(data, pages * PAGE), 2);
    // Backwards, so that no two pages are adjacent in the transfer.
    const order = Array.from({ length: pages }, (_, i) => data + (pages - 1 - i) * PAGE);
    const prp2 = host.iova(started.list(order.slice(1)));
    const command = { nsid: 1, prp1: host.iova(order[0] ?? 0), prp2, cdw12: (pages * PAGE) / BLOCK - 1 };
    expect(io.run({ opcode: IoOpcode.write, ...command }).status).toBe(SUCCESS);
    host.bytes(data, pages * PAGE).fill(0);
    expect(io.run({ opcode: IoOpcode.read, ...command }).status).toBe(SUCCESS);
    expect(isSame(host.bytes(data, pages * PAGE), written)).toBe(true);
    expect(io.run({ opcode: IoOpcode.compare, ...command }).status).toBe(SUCCESS);
    host.bytes(data, 1)[0] = 0xff;
    expect(io.run({ opcode: IoOpcode.compare, ...command }).status).toBe(NvmeStatus.compareFailure);
  });

  test("can hold an SGL segment of several pages, and data blocks that cross pages", () => {
    const blocks = 600;
    using started = new Started(layout);
    const { host, io } = started;
    const data = host.alloc(blocks * BLOCK + PAGE) + PAGE / 2 - 4;
    const segment = host.alloc(blocks * 16);
    for (let i = 0; i < blocks; i++) {
      host.ram.words.set([host.iova(data + i * BLOCK) % 2 ** 32, 1, BLOCK, 0], segment / 4 + 4 * i);
    }
    const dptr = [host.iova(segment) % 2 ** 32, 1, blocks * 16, (3 << 28) >>> 0];
    const written = fill(host.bytes(data, blocks * BLOCK), 3);
    const command = { nsid: 1, flags: PSDT_SGL, dptr, cdw12: blocks - 1 };
    expect(io.run({ opcode: IoOpcode.write, ...command }).status).toBe(SUCCESS);
    host.bytes(data, blocks * BLOCK).fill(0);
    expect(io.run({ opcode: IoOpcode.read, ...command }).status).toBe(SUCCESS);
    expect(isSame(host.bytes(data, blocks * BLOCK), written)).toBe(true);
  });

  test("can hold one data block that is as long as the longest transfer, and crosses a page at both ends", () => {
    const length = 4 << 20;
    using started = new Started(layout, { maxTransferBytes: length });
    const { host, io } = started;
    const data = host.alloc(length + PAGE) + 12;
    const dptr = [host.iova(data) % 2 ** 32, 1, length, 0];
    const written = fill(host.bytes(data, length), 4);
    const command = { nsid: 1, flags: PSDT_SGL, dptr, cdw12: length / BLOCK - 1 };
    expect(io.run({ opcode: IoOpcode.write, ...command }).status).toBe(SUCCESS);
    host.bytes(data, length).fill(0);
    expect(io.run({ opcode: IoOpcode.read, ...command }).status).toBe(SUCCESS);
    expect(isSame(host.bytes(data, length), written)).toBe(true);
  });

  test("can hold metadata that crosses pages, by address and by SGL", () => {
    const blocks = 600;
    const metadataBytes = 16;
    using started = new Started(layout, { metadataBytes });
    const { host, io } = started;
    const data = host.alloc(blocks * BLOCK);
    const metadata = host.alloc(blocks * metadataBytes + PAGE) + PAGE / 2;
    // The descriptor itself crosses a page, too.
    const descriptor = host.alloc(2 * PAGE) + PAGE - 8;
    host.ram.words.set([host.iova(metadata) % 2 ** 32, 1, blocks * metadataBytes, 0], descriptor / 4);
    const prp2 = host.iova(
      started.list(Array.from({ length: (blocks * BLOCK) / PAGE - 1 }, (_, i) => data + (i + 1) * PAGE)),
    );
    const byPrp = { nsid: 1, prp1: host.iova(data), prp2, mptr: host.iova(metadata), cdw12: blocks - 1 };
    const dptr = [host.iova(data) % 2 ** 32, 1, blocks * BLOCK, 0];
    const bySgl = { nsid: 1, flags: 2 << 14, dptr, mptr: host.iova(descriptor), cdw12: blocks - 1 };
    for (const [seed, command] of [byPrp, bySgl].entries()) {
      const written = fill(host.bytes(data, blocks * BLOCK), 5 + seed);
      const beside = fill(host.bytes(metadata, blocks * metadataBytes), 7 + seed);
      expect(io.run({ opcode: IoOpcode.write, ...command }).status).toBe(SUCCESS);
      host.bytes(data, blocks * BLOCK).fill(0);
      host.bytes(metadata, blocks * metadataBytes).fill(0);
      expect(io.run({ opcode: IoOpcode.read, ...command }).status).toBe(SUCCESS);
      expect(isSame(host.bytes(data, blocks * BLOCK), written)).toBe(true);
      expect(isSame(host.bytes(metadata, blocks * metadataBytes), beside)).toBe(true);
    }
  });

  test("can hold shadow doorbells and event indexes", () => {
    using started = new Started(layout);
    const { host } = started;
    const shadow = host.alloc(PAGE);
    const indexes = host.alloc(PAGE);
    const words = host.ram.words.subarray(shadow / 4, shadow / 4 + PAGE / 4);
    const configured = host.admin.run({
      opcode: AdminOpcode.doorbellBufferConfig,
      prp1: host.iova(shadow),
      prp2: host.iova(indexes),
    });
    expect(configured.status).toBe(SUCCESS);
    const io = host.createIo(3, 8, { doorbells: words });
    for (let i = 0; i < 30; i++) expect(io.run({ opcode: IoOpcode.flush, nsid: 1 }).status).toBe(SUCCESS);
    expect(host.readDoorbell(6)).toBe(0);
    expect(words[6]).toBe(30 % 8);
  });

  test("can be lent to the controller (Host Memory Buffer)", () => {
    const sizeBytes = 1 << 20;
    using started = new Started(layout, { hostMemoryBytes: sizeBytes });
    const { host, io } = started;
    const lent = host.alloc(sizeBytes);
    const list = host.alloc(PAGE);
    const entry = hostMemoryDescriptor.encode({ badd: BigInt(host.iova(lent)), bsize: sizeBytes / PAGE });
    host.bytes(list, entry.length).set(entry);
    const { status } = host.admin.run({
      opcode: AdminOpcode.setFeatures,
      cdw10: FeatureId.hostMemoryBuffer,
      cdw11: 1,
      cdw12: sizeBytes / PAGE,
      cdw13: host.iova(list) % 2 ** 32,
      cdw14: 1,
      cdw15: 1,
    });
    expect(status).toBe(SUCCESS);
    const at = host.alloc(PAGE);
    const written = fill(host.bytes(at, PAGE), 9);
    const command = { nsid: 1, prp1: host.iova(at), cdw12: PAGE / BLOCK - 1 };
    expect(io.run({ opcode: IoOpcode.write, ...command }).status).toBe(SUCCESS);
    for (let i = 0; i < 3; i++) {
      host.bytes(at, PAGE).fill(0);
      expect(io.run({ opcode: IoOpcode.read, ...command }).status).toBe(SUCCESS);
      expect(host.bytes(at, PAGE)).toEqual(written);
    }
    expect(host.device.hostMemory).toMatchObject({ hits: 2, misses: 1, damaged: 0 });
  });
});

describe.each<[string, ServedLayout]>([
  ["mapped", { copied: false, paged: true }],
  ["copied", { copied: true, paged: true }],
])("pages of their own, %s, that the host unmaps", (_, layout) => {
  test("fail the commands whose data, lists or metadata lie there, and no others", () => {
    using started = new Started(layout, { metadataBytes: 16 });
    const { host, io, served } = started;
    const data = host.alloc(8 * PAGE);
    const metadata = host.alloc(2 * PAGE) + PAGE - 512;
    const list = started.list([1, 2, 3, 4, 5, 6, 7].map((i) => data + i * PAGE));
    const segment = host.alloc(2 * PAGE);
    for (let i = 0; i < 64; i++) {
      host.ram.words.set(
        [host.iova(data + i * BLOCK) % 2 ** 32, 1, BLOCK, 0],
        (segment + PAGE - 512) / 4 + 4 * i,
      );
    }
    const prp = {
      ...{ opcode: IoOpcode.read, nsid: 1, prp1: host.iova(data), prp2: host.iova(list) },
      ...{ mptr: host.iova(metadata), cdw12: 63 },
    };
    const dptr = [host.iova(segment + PAGE - 512) % 2 ** 32, 1, 64 * 16, (3 << 28) >>> 0];
    const sgl = {
      opcode: IoOpcode.read,
      nsid: 1,
      flags: PSDT_SGL,
      dptr,
      mptr: host.iova(metadata),
      cdw12: 63,
    };
    const short = { ...prp, cdw12: 7 };
    const results = (): number[] => [prp, sgl, short].map((command) => io.run(command).status);
    const lost = NvmeStatus.dataTransferError;
    expect(results()).toEqual([SUCCESS, SUCCESS, SUCCESS]);
    served.unmapPage(segment + PAGE);
    expect(results()).toEqual([SUCCESS, lost, SUCCESS]);
    served.unmapPage(list);
    expect(results()).toEqual([lost, lost, SUCCESS]);
    served.unmapPage(data + 4 * PAGE);
    expect(results()).toEqual([lost, lost, SUCCESS]);
    served.unmapPage(metadata + 512);
    expect(results()).toEqual([lost, lost, SUCCESS]);
    served.unmapPage(metadata + 512 - PAGE);
    expect(results()).toEqual([lost, lost, lost]);
    expect(host.status & ControllerStatus.CFS).toBe(0);
  });

  test.each(["sq", "cq"] as const)("stop the controller if they are in the middle of its %s", (queue) => {
    using started = new Started(layout);
    const { host, io, served } = started;
    expect(io.run({ opcode: IoOpcode.flush, nsid: 1 }).status).toBe(SUCCESS);
    served.unmapPage(started[queue] + PAGE);
    io.post({ opcode: IoOpcode.flush, nsid: 1 });
    host.device.pump();
    expect(host.status & ControllerStatus.CFS).toBe(ControllerStatus.CFS);
    // Queues with holes can't be created either.
    const other = new NvmeTestHost({}, false, served);
    other.enableAt(0, PAGE);
    expect(() => other.createIoAt(1, ENTRIES, started.sq, started.cq)).toThrow(
      new RegExp(`status.*\\b${NvmeStatus.dataTransferError}\\b`),
    );
    other.close();
  });
});

describe("a client that truncates memory that the server copies", () => {
  test("gets an error for the commands whose data or lists are lost, and the controller goes on", () => {
    using started = new Started({ copied: true, paged: false });
    const { host, io, served } = started;
    const kept = host.alloc(PAGE);
    const data = host.alloc(4 * PAGE);
    const list = started.list([1, 2, 3].map((i) => data + i * PAGE));
    const view = host.bytes(kept, PAGE);
    const written = fill(view, 1);
    const whole = { nsid: 1, prp1: host.iova(data), prp2: host.iova(list), cdw12: 31 };
    const page = { nsid: 1, prp1: host.iova(kept), cdw12: 7 };
    const pair = { nsid: 1, prp1: host.iova(data), prp2: host.iova(data + PAGE), cdw12: 15 };
    expect(io.run({ opcode: IoOpcode.write, ...page }).status).toBe(SUCCESS);
    expect(io.run({ opcode: IoOpcode.read, ...whole }).status).toBe(SUCCESS);
    served.truncate(data + PAGE);
    for (const opcode of [IoOpcode.read, IoOpcode.write, IoOpcode.compare]) {
      // The list, then only data.
      expect(io.run({ opcode, ...whole }).status).toBe(NvmeStatus.dataTransferError);
      expect(io.run({ opcode, ...pair }).status).toBe(NvmeStatus.dataTransferError);
    }
    const identify = { opcode: AdminOpcode.identify, cdw10: 1, prp1: host.iova(data + PAGE) };
    expect(host.admin.run(identify).status).toBe(NvmeStatus.dataTransferError);
    expect(io.run({ opcode: IoOpcode.read, ...page }).status).toBe(SUCCESS);
    expect(io.run({ opcode: IoOpcode.compare, ...page }).status).toBe(SUCCESS);
    expect(view).toEqual(written);
    expect(host.status & ControllerStatus.CFS).toBe(0);
  });

  test.each(["queue", "doorbells"] as const)("stops its controller if it is the %s that is lost", (what) => {
    using started = new Started({ copied: true, paged: false });
    const { host, served } = started;
    const shadow = host.alloc(PAGE);
    const indexes = host.alloc(PAGE);
    if (what === "doorbells") {
      const { status } = host.admin.run({
        opcode: AdminOpcode.doorbellBufferConfig,
        prp1: host.iova(shadow),
        prp2: host.iova(indexes),
      });
      expect(status).toBe(SUCCESS);
    }
    served.truncate(what === "queue" ? started.sq : shadow);
    host.writeDoorbell(2, 1);
    host.device.pump();
    expect(host.status & ControllerStatus.CFS).toBe(ControllerStatus.CFS);
    // Its reset is possible, and so is a new start from memory that is there.
    host.write32(0x14, 0);
    expect(host.status).toBe(0);
  });
});
