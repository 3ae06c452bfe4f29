import { pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ArgumentError, BusyError, ClosedError, SysError } from "../../../src/core/errors.js";
import { iova } from "../../../src/dma/iova/address.js";
import { IovaSpaceError } from "../../../src/dma/iova/error.js";
import { BorrowedBuffer } from "../../../src/dma/shared-buffer.js";
import { DmaSpace } from "../../../src/dma/space.js";
import { MappedMemory } from "../../../src/sys/memory.js";
import { PAGE_SIZE } from "../../../src/sys/syscalls.js";
import { compileTree } from "../../support/compiled.js";
import { IdentityMapper } from "../../support/identity-mapper.js";
import { runNode } from "../../support/run.js";

let mapper: IdentityMapper;
let space: DmaSpace;
/** What unmap() was called with. */
let unmapped: bigint[];
/** Looked at by unmap(), while the buffer's pages have to be there still. */
let bytesAtUnmap: Uint8Array | undefined;
let firstByteAtUnmap: number | undefined;

beforeEach(() => {
  unmapped = [];
  bytesAtUnmap = undefined;
  firstByteAtUnmap = undefined;
  mapper = new IdentityMapper((iova) => {
    unmapped.push(iova);
    firstByteAtUnmap = bytesAtUnmap?.[0];
  });
  space = new DmaSpace(mapper);
});

// Closes the space and all that is in it.
afterEach(() => mapper.lease.close());

describe("alloc", () => {
  test("gives zeroed memory of the length asked for, and maps whole pages", () => {
    using buffer = space.alloc(100, { access: "read" });
    expect(buffer.bytes.byteLength).toBe(100);
    expect(buffer.bytes.every((byte) => byte === 0)).toBe(true);
    expect(buffer.iova).toBe(BigInt(buffer.memory.address));
    expect(mapper.mapped.get(buffer.iova)).toEqual({ sizeBytes: PAGE_SIZE, access: "read" });
  });

  test("splits the address into the halves that the I/O path takes", () => {
    using buffer = space.alloc(100, { iova: 0x1_ffff_f000n });
    expect([buffer.iovaLow, buffer.iovaHigh]).toEqual([0xffff_f000, 1]);
    expect(mapper.mapped.get(0x1_ffff_f000n)?.access).toBe("read-write");
  });

  test("leaves nothing behind where mapping fails", () => {
    mapper.refuseNext = true;
    expect(() => space.alloc(100)).toThrow(SysError);
    expect(mapper.mapped.size).toBe(0);
    expect(() => space.alloc(100, { iova: 0x1800n })).toThrow(ArgumentError);
    expect(() => space.alloc(0)).toThrow(ArgumentError);
    expect(mapper.mapped.size).toBe(0);
    space.alloc(100).close();
  });
});

describe("closing a buffer", () => {
  test("unmaps first and takes the pages away after", () => {
    const buffer = space.alloc(PAGE_SIZE);
    const { bytes } = buffer;
    bytes.fill(0x77);
    bytesAtUnmap = bytes;
    buffer.close();
    buffer.close();
    expect(unmapped).toEqual([buffer.iova]);
    expect(firstByteAtUnmap).toBe(0x77);
    expect(bytes.every((byte) => byte === 0)).toBe(true);
    expect(buffer.memory.closed).toBe(true);
    expect(() => buffer.bytes).toThrow(ClosedError);
    expect(() => buffer.view(0, 1)).toThrow(ClosedError);
  });

  test("is refused while a command is in flight, with nothing done, also from above", () => {
    const buffer = space.alloc(PAGE_SIZE);
    buffer.bytes.fill(1);
    buffer.lease.hold("command 3");
    for (const target of [buffer, space, mapper.lease]) expect(() => target.close()).toThrow(BusyError);
    expect(unmapped).toEqual([]);
    expect(buffer.bytes[0]).toBe(1);
    buffer.lease.drop();
    buffer.close();
    expect(unmapped).toHaveLength(1);
  });

  test("takes the pages away even where unmapping fails, and says so", () => {
    const buffer = space.alloc(PAGE_SIZE);
    const { bytes } = buffer;
    bytes.fill(1);
    mapper.refuseNext = true;
    expect(() => buffer.close()).toThrow("UNMAP on identity mapper: ENOMEM");
    expect(bytes[0]).toBe(0);
    expect(buffer.closed).toBe(true);
  });
});

describe("closing what is above", () => {
  test("closes a space's buffers, newest first, and every door of the space", () => {
    const buffers = [space.alloc(1), space.alloc(1), space.alloc(1)];
    space.close();
    expect(unmapped).toEqual(buffers.map(({ iova }) => iova).reverse());
    expect(buffers.every(({ closed }) => closed)).toBe(true);
    const uses = [() => space.alloc(1), () => space.iovaRanges(), () => space.alignmentBytes()];
    for (const use of uses) expect(use).toThrow(ClosedError);
    expect(mapper.lease.closed).toBe(false);
  });

  test("closes buffers before the kernel object that translates for them", () => {
    const buffer = space.alloc(1);
    mapper.lease.close();
    expect(unmapped).toEqual([buffer.iova]);
    expect(space.closed).toBe(true);
  });
});

describe("mapping memory the caller has", () => {
  test("leaves it alone when the buffer closes", () => {
    using memory = MappedMemory.anonymous(2 * PAGE_SIZE);
    const buffer = space.map(memory);
    memory.bytes[0] = 9;
    expect(buffer.bytes[0]).toBe(9);
    expect(buffer.sizeBytes).toBe(2 * PAGE_SIZE);
    buffer.close();
    expect(unmapped).toEqual([buffer.iova]);
    expect(memory.bytes[0]).toBe(9);
  });

  test("ends before the memory does", () => {
    const memory = MappedMemory.anonymous(PAGE_SIZE);
    memory.bytes[0] = 9;
    bytesAtUnmap = memory.bytes;
    const buffer = space.map(memory);
    memory.close();
    expect(buffer.closed).toBe(true);
    expect(firstByteAtUnmap).toBe(9);
  });

  test("refuses memory that V8 may move, and memory that is closed", () => {
    // @ts-expect-error what a caller without types may hand over
    expect(() => space.map(Buffer.alloc(4096))).toThrow(ArgumentError);
    const closed = MappedMemory.anonymous(PAGE_SIZE);
    closed.close();
    expect(() => space.map(closed)).toThrow(ClosedError);
    expect(mapper.mapped.size).toBe(0);
  });
});

describe("where devices find a view", () => {
  test("is known of any typed array made of a buffer's bytes", () => {
    const buffers = Array.from({ length: 50 }, (_, i) => space.alloc((1 + (i % 5)) * PAGE_SIZE));
    for (const buffer of buffers) {
      expect(space.translate(buffer.bytes)).toBe(buffer.iova);
      expect(space.translate(buffer.view(100, 8))).toBe(buffer.iova + 100n);
      const { buffer: memory, byteOffset } = buffer.bytes;
      expect(space.translate(new Uint32Array(memory, byteOffset + 256, 4))).toBe(buffer.iova + 256n);
      expect(space.translate(new DataView(memory, byteOffset + PAGE_SIZE - 1, 1))).toBe(
        buffer.iova + BigInt(PAGE_SIZE - 1),
      );
    }
    const [first, second] = buffers;
    first?.close();
    expect(space.translate(second?.bytes ?? new Uint8Array())).toBe(second?.iova);
  });

  test("is nowhere for the heap, other spaces, closed buffers and views that reach beyond", () => {
    using other = new DmaSpace(new IdentityMapper());
    using foreign = other.alloc(PAGE_SIZE);
    const closed = space.alloc(PAGE_SIZE);
    const { bytes } = closed;
    closed.close();
    using buffer = space.alloc(PAGE_SIZE);
    const { buffer: memory, byteOffset } = buffer.bytes;
    const beyond = new Uint8Array(memory, byteOffset + PAGE_SIZE - 8, 16);
    for (const view of [new Uint8Array(8), Buffer.alloc(8), foreign.bytes, bytes, beyond]) {
      expect(() => space.translate(view)).toThrow(ArgumentError);
      expect(() => space.segments(view)).toThrow(ArgumentError);
    }
    expect(() => space.segments(foreign)).toThrow("is of another DMA space");
    expect(() => space.segments(closed)).toThrow(ClosedError);
    // @ts-expect-error what a caller without types may hand over
    expect(() => space.translate("text")).toThrow(ArgumentError);
  });

  test("is the newest place of memory that is mapped twice, and the older one after that", () => {
    using memory = MappedMemory.anonymous(PAGE_SIZE);
    const older = space.map(memory, { iova: 0x10000n });
    const newer = space.map(memory, { iova: 0x20000n });
    expect(space.translate(memory.bytes)).toBe(0x20000n);
    newer.close();
    expect(space.translate(memory.bytes)).toBe(0x10000n);
    older.close();
    expect(() => space.translate(memory.bytes)).toThrow(ArgumentError);
  });

  test("as a list: neighbours are one segment, parts keep their order", () => {
    using low = space.alloc(PAGE_SIZE, { iova: 0x10000n });
    using high = space.alloc(PAGE_SIZE, { iova: 0x11000n });
    using far = space.alloc(100, { iova: 0x90000n });
    expect(space.segments(low, high, far)).toEqual([
      { iova: 0x10000n, sizeBytes: 2 * PAGE_SIZE },
      { iova: 0x90000n, sizeBytes: 100 },
    ]);
    expect(space.segments(high.view(0, 10), low, low.view(8, 8), new Uint8Array())).toEqual([
      { iova: 0x11000n, sizeBytes: 10 },
      { iova: 0x10000n, sizeBytes: PAGE_SIZE },
      { iova: 0x10008n, sizeBytes: 8 },
    ]);
    expect(space.segments()).toEqual([]);
  });

  test("is a list of any length for a buffer that lies scattered", () => {
    const pages = 200_000;
    class ScatteringMapper extends IdentityMapper {
      readonly extensions = {
        physicalSegments: (_address: number, at: bigint) =>
          Array.from({ length: pages }, (_, i) => ({
            iova: iova(at + BigInt(2 * i * PAGE_SIZE)),
            sizeBytes: PAGE_SIZE,
          })),
      };
    }
    using scattering = new DmaSpace(new ScatteringMapper());
    using buffer = scattering.alloc(pages * PAGE_SIZE, { scattered: true });
    expect(scattering.segments(buffer)).toHaveLength(pages);
    expect(scattering.segments(buffer.bytes)).toHaveLength(pages);
  });
});

describe("a place that was asked for", () => {
  test.each([0, 12, 65, 28.5, Number.NaN])("%s address bits are none", (addressBits) => {
    expect(() => space.alloc(1, { addressBits })).toThrow(ArgumentError);
  });

  test("a fixed one beyond the device, or unaligned, is refused before anything is mapped", () => {
    expect(() => space.alloc(1, { addressBits: 28, iova: 0x1000_0000n })).toThrow(IovaSpaceError);
    expect(() => space.alloc(2 * PAGE_SIZE, { addressBits: 28, iova: 0xfff_f000n })).toThrow(IovaSpaceError);
    expect(() => space.alloc(1, { iova: 0x1000n, iovaAlignBytes: 0x2000 })).toThrow(ArgumentError);
    expect(() => space.alloc(1, { iovaAlignBytes: 5000 })).toThrow(ArgumentError);
    // @ts-expect-error what a caller without types may hand over
    expect(() => space.alloc(1, { access: "all" })).toThrow(ArgumentError);
    // @ts-expect-error the same
    expect(() => space.alloc(1, { pages: "gigantic" })).toThrow(ArgumentError);
    expect(mapper.mapped.size).toBe(0);
  });
});

describe("another thread", () => {
  /** Holds and drops as it is told, and says what it sees. */
  const program = `
    import { parentPort, workerData } from "node:worker_threads";
    const { BorrowedBuffer } = await import(workerData.module);
    const buffer = BorrowedBuffer.of(workerData.shared);
    parentPort.on("message", (what) => {
      try {
        if (what === "hold") buffer.hold();
        else if (what === "drop") buffer.drop();
        else buffer.bytes[1] = buffer.bytes[0] + 1;
        parentPort.postMessage({ closed: buffer.closed, iova: buffer.iova });
      } catch (error) {
        parentPort.postMessage({ closed: buffer.closed, error: error.name });
      }
    });`;

  test("has the same bytes, keeps the owner from closing while it holds, and learns of the end", async () => {
    using tree = compileTree("src/dma/shared-buffer.ts");
    const module = pathToFileURL(tree.file("src/dma/shared-buffer.ts")).href;
    const buffer = space.alloc(PAGE_SIZE);
    const url = new URL(`data:text/javascript,${encodeURIComponent(program)}`);
    const worker = new Worker(url, { workerData: { module, shared: buffer.share() } });
    const ask = (what: string): Promise<unknown> =>
      new Promise((resolve, reject) => {
        worker.once("message", resolve);
        worker.once("error", reject);
        worker.postMessage(what);
      });
    try {
      buffer.bytes[0] = 41;
      expect(await ask("look")).toEqual({ closed: false, iova: buffer.iova });
      expect(buffer.bytes[1]).toBe(42);
      await ask("hold");
      for (const target of [buffer, space, mapper.lease]) {
        expect(() => target.close()).toThrow(/other threads use it/);
        expect(() => target.close()).toThrow(BusyError);
      }
      expect(mapper.mapped.has(buffer.iova)).toBe(true);
      await ask("drop");
      expect(await ask("drop")).toEqual({ closed: false, error: "BusyError" });
      buffer.close();
      expect(await ask("look")).toEqual({ closed: true, error: "ClosedError" });
      expect(await ask("hold")).toEqual({ closed: true, error: "ClosedError" });
      expect(() => buffer.share()).toThrow(ClosedError);
    } finally {
      await worker.terminate();
    }
  }, 60_000);

  test("a refused close locks nobody out: what was idle can be held again", () => {
    const idle = space.alloc(1);
    const busy = space.alloc(1);
    const [first, second] = [BorrowedBuffer.of(idle.share()), BorrowedBuffer.of(busy.share())];
    second.hold();
    expect(() => space.close()).toThrow(BusyError);
    first.hold();
    expect(() => idle.close()).toThrow(BusyError);
    first.drop();
    second.drop();
    space.close();
    expect([first.closed, second.closed]).toEqual([true, true]);
  });
});

test("view gives a part without copying, and nothing outside", () => {
  using buffer = space.alloc(1000);
  const view = buffer.view(990, 10);
  view[0] = 5;
  expect(buffer.bytes[990]).toBe(5);
  expect(() => buffer.view(990, 11)).toThrow(ArgumentError);
});

test("a buffer lives as long as its bytes or a view, and is then closed with a warning", async () => {
  const program = "test/unit/fixtures/dropped-buffers.ts";
  using tree = compileTree(program);
  const { stdout } = await runNode("--expose-gc", "--no-warnings", tree.file(program));
  expect(JSON.parse(stdout)).toEqual({
    withViews: ["0x1000", "0x2000"],
    dropped: [
      {
        message: "DMA buffer of 4096 bytes at iova 0x3000 was never closed; released at garbage collection",
        detail: expect.stringMatching(/^created at\n +at program .*dropped-buffers\.js:/),
      },
    ],
    withoutViews: [],
    later: 2,
  });
}, 60_000);
