/** DmaSpace and DmaBuffer: allocation, mapping, translation, closing, and use by other threads. */
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
/** The addresses that unmap() was called with. */
let unmapped: bigint[];
/** unmap() reads these bytes: the buffer's pages must still be there. */
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

// Closes the space and everything in it.
afterEach(() => mapper.lease.close());

describe("DmaSpace.alloc()", () => {
  test("returns zeroed memory of the requested length, and maps whole pages", () => {
    using buffer = space.alloc(100, { access: "read" });
    expect(buffer.bytes.byteLength).toBe(100);
    expect(buffer.bytes.every((byte) => byte === 0)).toBe(true);
    expect(buffer.iova).toBe(BigInt(buffer.memory.address));
    expect(mapper.mapped.get(buffer.iova)).toEqual({ sizeBytes: PAGE_SIZE, access: "read" });
  });

  test("splits the address into the two halves that the I/O path uses", () => {
    using buffer = space.alloc(100, { iova: 0x1_ffff_f000n });
    expect([buffer.iovaLow, buffer.iovaHigh]).toEqual([0xffff_f000, 1]);
    expect(mapper.mapped.get(0x1_ffff_f000n)?.access).toBe("read-write");
  });

  test("leaves nothing behind if mapping fails", () => {
    mapper.refuseNext = true;
    expect(() => space.alloc(100)).toThrow(SysError);
    expect(mapper.mapped.size).toBe(0);
    expect(() => space.alloc(100, { iova: 0x1800n })).toThrow(ArgumentError);
    expect(() => space.alloc(0)).toThrow(ArgumentError);
    expect(mapper.mapped.size).toBe(0);
    space.alloc(100).close();
  });
});

describe("closing a DmaBuffer", () => {
  test("unmaps the pages first and releases them afterwards", () => {
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

  test("fails without an effect while a command is in flight, also if its space is closed", () => {
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

  test("releases the pages even if unmapping fails, and throws the error", () => {
    const buffer = space.alloc(PAGE_SIZE);
    const { bytes } = buffer;
    bytes.fill(1);
    mapper.refuseNext = true;
    expect(() => buffer.close()).toThrow("UNMAP on identity mapper: ENOMEM");
    expect(bytes[0]).toBe(0);
    expect(buffer.closed).toBe(true);
  });
});

describe("closing a DmaSpace or its mapper", () => {
  test("closes the buffers of the space, newest first, and makes its methods throw", () => {
    const buffers = [space.alloc(1), space.alloc(1), space.alloc(1)];
    space.close();
    expect(unmapped).toEqual(buffers.map(({ iova }) => iova).reverse());
    expect(buffers.every(({ closed }) => closed)).toBe(true);
    const uses = [() => space.alloc(1), () => space.iovaRanges(), () => space.alignmentBytes()];
    for (const use of uses) expect(use).toThrow(ClosedError);
    expect(mapper.lease.closed).toBe(false);
  });

  test("closes buffers before the kernel object that translates their addresses", () => {
    const buffer = space.alloc(1);
    mapper.lease.close();
    expect(unmapped).toEqual([buffer.iova]);
    expect(space.closed).toBe(true);
  });
});

describe("a DmaBuffer of mapped memory", () => {
  test("leaves the memory open when it is closed", () => {
    using memory = MappedMemory.anonymous(2 * PAGE_SIZE);
    const buffer = space.map(memory);
    memory.bytes[0] = 9;
    expect(buffer.bytes[0]).toBe(9);
    expect(buffer.sizeBytes).toBe(2 * PAGE_SIZE);
    buffer.close();
    expect(unmapped).toEqual([buffer.iova]);
    expect(memory.bytes[0]).toBe(9);
  });

  test("is closed before its memory", () => {
    const memory = MappedMemory.anonymous(PAGE_SIZE);
    memory.bytes[0] = 9;
    bytesAtUnmap = memory.bytes;
    const buffer = space.map(memory);
    memory.close();
    expect(buffer.closed).toBe(true);
    expect(firstByteAtUnmap).toBe(9);
  });

  test("can't be made of memory that V8 may move, or of closed memory", () => {
    // @ts-expect-error a caller without types can pass this
    expect(() => space.map(Buffer.alloc(4096))).toThrow(ArgumentError);
    const closed = MappedMemory.anonymous(PAGE_SIZE);
    closed.close();
    expect(() => space.map(closed)).toThrow(ClosedError);
    expect(mapper.mapped.size).toBe(0);
  });
});

describe("the device address of a view", () => {
  test("is known for any typed array on a buffer's bytes", () => {
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

  test("doesn't exist for the heap, other spaces, closed buffers and views beyond a buffer", () => {
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
    expect(() => space.segments(foreign)).toThrow("belongs to another DMA space");
    expect(() => space.segments(closed)).toThrow(ClosedError);
    // @ts-expect-error a caller without types can pass this
    expect(() => space.translate("text")).toThrow(ArgumentError);
  });

  test("is the newer one of memory that is mapped twice, and the older one once the newer is closed", () => {
    using memory = MappedMemory.anonymous(PAGE_SIZE);
    const older = space.map(memory, { iova: 0x10000n });
    const newer = space.map(memory, { iova: 0x20000n });
    expect(space.translate(memory.bytes)).toBe(0x20000n);
    newer.close();
    expect(space.translate(memory.bytes)).toBe(0x10000n);
    older.close();
    expect(() => space.translate(memory.bytes)).toThrow(ArgumentError);
  });

  test("is a list of segments in order, with adjacent ones merged, for several views", () => {
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

  test("is a list of any length for a scattered buffer", () => {
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

describe("the placement of a DmaBuffer", () => {
  test.each([0, 12, 65, 28.5, Number.NaN])("can't have %s address bits", (addressBits) => {
    expect(() => space.alloc(1, { addressBits })).toThrow(ArgumentError);
  });

  test("is rejected before anything is mapped if it is invalid or beyond the device's address bits", () => {
    expect(() => space.alloc(1, { addressBits: 28, iova: 0x1000_0000n })).toThrow(IovaSpaceError);
    expect(() => space.alloc(2 * PAGE_SIZE, { addressBits: 28, iova: 0xfff_f000n })).toThrow(IovaSpaceError);
    expect(() => space.alloc(1, { iova: 0x1000n, iovaAlignBytes: 0x2000 })).toThrow(ArgumentError);
    expect(() => space.alloc(1, { iovaAlignBytes: 5000 })).toThrow(ArgumentError);
    // @ts-expect-error a caller without types can pass this
    expect(() => space.alloc(1, { access: "all" })).toThrow(ArgumentError);
    // @ts-expect-error the same
    expect(() => space.alloc(1, { pages: "gigantic" })).toThrow(ArgumentError);
    expect(mapper.mapped.size).toBe(0);
  });
});

describe("a buffer shared with another thread", () => {
  /** Holds and drops the buffer on request, and answers with what it sees. */
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

  test("has the same bytes there, can't be closed while the thread holds it, and is closed there, too, in the end", async () => {
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
      expect(await ask("drop")).toEqual({ closed: false, error: "StateError" });
      buffer.close();
      expect(await ask("look")).toEqual({ closed: true, error: "ClosedError" });
      expect(await ask("hold")).toEqual({ closed: true, error: "ClosedError" });
      expect(() => buffer.share()).toThrow(ClosedError);
    } finally {
      await worker.terminate();
    }
  });

  test("can be held again after a failed close of its space", () => {
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

test("DmaBuffer.view() returns a part of the buffer without copying, and nothing outside", () => {
  using buffer = space.alloc(1000);
  const view = buffer.view(990, 10);
  view[0] = 5;
  expect(buffer.bytes[990]).toBe(5);
  expect(() => buffer.view(990, 11)).toThrow(ArgumentError);
});

test("a forgotten DmaBuffer lives as long as its bytes or a view, and is then closed with a warning", async () => {
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
});
