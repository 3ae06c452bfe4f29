import { beforeEach, describe, expect, test } from "vitest";
import { DmaSpace } from "../../../src/dma/space.js";
import { ArgumentError, BusyError, ClosedError, SysError } from "../../../src/sys/errors.js";
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
