import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { ArgumentError, ClosedError, SysError } from "../../../src/core/errors.js";
import { EventFd } from "../../../src/sys/eventfd.js";
import { MappedMemory } from "../../../src/sys/memory.js";
import { close, memfd, PAGE_SIZE, pread, pwrite } from "../../../src/sys/syscalls.js";
import { compileTree } from "../../support/compiled.js";
import { collectGarbage, collectUntil } from "../../support/gc.js";
import { isMapped, mappings, openDescriptors, residentBytes } from "../../support/proc.js";
import { run } from "../../support/run.js";

// Some tests map and unmap a lot, and a busy machine is no failure.
vi.setConfig({ testTimeout: 60_000 });

const KIB = 1024;
const MIB = 1024 * KIB;

function isZero(bytes: Uint8Array): boolean {
  return Buffer.compare(bytes, new Uint8Array(bytes.length)) === 0;
}

/** What the kernel says of a range. */
function smapsOf({ address }: MappedMemory): string {
  const smaps = readFileSync("/proc/self/smaps", "utf8").split(/\n(?=[0-9a-f]+-[0-9a-f]+ )/);
  return smaps.find((entry) => entry.startsWith(`${address.toString(16)}-`)) ?? "";
}

describe("clearing", () => {
  test.each([
    ["a few bytes", 100, 57],
    ["whole pages and what stands around them", 4000, MIB],
    ["everything", 0, 2 * MIB],
  ])("%s, and nothing beside them", (_, offset, length) => {
    using memory = MappedMemory.anonymous(2 * MIB);
    memory.bytes.fill(0xee);
    const expected = memory.bytes.slice().fill(0, offset, offset + length);
    memory.clear(offset, length);
    expect(Buffer.compare(memory.bytes, expected)).toBe(0);
  });

  test("gives whole pages back to the system", () => {
    using memory = MappedMemory.anonymous(128 * MIB);
    memory.bytes.fill(1);
    const before = residentBytes();
    memory.clear(0, 128 * MIB);
    expect(residentBytes()).toBeLessThan(before - 64 * MIB);
  });

  test("of a shared mapping reaches the file", () => {
    const fd = memfd("clear", MIB);
    using memory = MappedMemory.ofFile(fd, 0, MIB, "a memfd");
    memory.bytes.fill(7);
    memory.clear(PAGE_SIZE, MIB - PAGE_SIZE);
    const tail = new Uint8Array(2);
    pread(fd, tail, PAGE_SIZE - 1);
    close(fd);
    expect([...tail]).toEqual([7, 0]);
  });

  test("is refused outside, and after close", () => {
    const memory = MappedMemory.anonymous(PAGE_SIZE);
    expect(() => memory.clear(1, PAGE_SIZE)).toThrow(ArgumentError);
    expect(() => memory.clear(-1, 1)).toThrow(ArgumentError);
    memory.close();
    expect(() => memory.clear(0, 1)).toThrow(ClosedError);
  });
});

describe("anonymous memory", () => {
  test("is zeroed, whole pages, aligned, and outside V8's heap at the address it says", () => {
    using odd = MappedMemory.anonymous(PAGE_SIZE + 1);
    expect(odd.sizeBytes).toBe(2 * PAGE_SIZE);
    expect(odd.bytes.byteLength).toBe(2 * PAGE_SIZE);
    expect(odd.address % PAGE_SIZE).toBe(0);
    expect(isZero(odd.bytes)).toBe(true);
    expect(odd.words.byteOffset).toBe(odd.bytes.byteOffset);
    expect(isMapped(odd.address, odd.address + odd.sizeBytes)).toBe(true);
    odd.words[1] = 0x0102_0304;
    expect([...odd.bytes.subarray(4, 8)]).toEqual([4, 3, 2, 1]);
  });

  test.each([PAGE_SIZE, 64 * KIB, 2 * MIB, 1024 * MIB])("is aligned to %i bytes by address", (alignBytes) => {
    using small = MappedMemory.anonymous(1);
    using aligned = MappedMemory.anonymous(PAGE_SIZE, { alignBytes });
    expect(aligned.address % alignBytes).toBe(0);
    aligned.bytes.fill(1);
    expect(isZero(small.bytes)).toBe(true);
  });

  test("populated pages are resident, and kept from forked children", () => {
    using memory = MappedMemory.anonymous(16 * PAGE_SIZE, { populate: true, transparentHugePages: true });
    const own = smapsOf(memory);
    expect(Number(/^Rss:\s+(\d+) kB$/m.exec(own)?.[1]) * KIB).toBeGreaterThanOrEqual(memory.sizeBytes);
    // `dc`: MADV_DONTFORK.
    expect(/^VmFlags:(.*)$/m.exec(own)?.[1]?.split(" ")).toContain("dc");
  });

  test("locked pages are locked, of whatever kind", () => {
    using anonymous = MappedMemory.anonymous(4 * PAGE_SIZE, { lock: true });
    using shared = MappedMemory.memfd(4 * PAGE_SIZE, { lock: true });
    for (const memory of [anonymous, shared]) {
      const own = smapsOf(memory);
      expect(/^VmFlags:(.*)$/m.exec(own)?.[1]?.split(" ")).toContain("lo");
      expect(Number(/^Locked:\s+(\d+) kB$/m.exec(own)?.[1]) * KIB).toBe(memory.sizeBytes);
    }
  });

  test("can be as large as one reservation, and no larger", () => {
    using large = MappedMemory.anonymous(4096 * MIB);
    large.bytes[large.sizeBytes - 1] = 7;
    expect(large.bytes.at(-1)).toBe(7);
    expect(() => MappedMemory.anonymous(4096 * MIB + 1)).toThrow(ArgumentError);
  });

  test("that can't be locked is refused with the limit named, and its pages are given back", async () => {
    const program = "test/unit/fixtures/memlock.ts";
    using tree = compileTree(program);
    const outcome = await run("sh", [
      "-c",
      'ulimit -l 1024; exec "$@"',
      "sh",
      process.execPath,
      tree.file(program),
    ]);
    expect(outcome).toMatchObject({ status: 0, stderr: "" });
    const { error, leftBytes } = JSON.parse(outcome.stdout);
    expect(error).toBe("mlock: ENOMEM (the memlock limit (ulimit -l) may be too low)");
    expect(leftBytes).toBeLessThan(32 * MIB);
  });

  test("says what is in the way where the address space is limited", async () => {
    const program = "test/unit/fixtures/no-address-space.ts";
    using tree = compileTree(program);
    const limited = ["-c", 'ulimit -v 4000000; exec "$@"', "sh", process.execPath, tree.file(program)];
    const outcome = await run("sh", limited);
    expect(outcome).toMatchObject({ status: 0, stderr: "" });
    expect(outcome.stdout).toMatch(/^UnsupportedError: no address space for DMA memory.*RLIMIT_AS/);
  });

  test.each([
    ["no length", 0, {}],
    ["an alignment that is no power of two", PAGE_SIZE, { alignBytes: 3 * PAGE_SIZE }],
    ["an alignment that is no number", PAGE_SIZE, { alignBytes: Number.NaN }],
    ["huge pages smaller than a page", PAGE_SIZE, { hugePageBytes: 1 }],
    ["huge pages of an odd size", PAGE_SIZE, { hugePageBytes: 3 * MIB }],
  ])("%s is refused, and what follows works", (_what, sizeBytes, options) => {
    expect(() => MappedMemory.anonymous(sizeBytes, options)).toThrow(ArgumentError);
    using next = MappedMemory.anonymous(PAGE_SIZE);
    next.bytes.fill(1);
    expect(next.bytes[0]).toBe(1);
  });
});

describe("a mapped memfd", () => {
  let fd: number;
  beforeEach(() => {
    fd = memfd("iova-memory-test", 4 * PAGE_SIZE);
  });
  afterEach(() => close(fd));

  const readBack = (offset: number): number => {
    const byte = new Uint8Array(1);
    pread(fd, byte, offset);
    return byte[0] ?? -1;
  };

  test("shares its content with the descriptor, both ways, from the offset on", () => {
    pwrite(fd, Uint8Array.of(1, 2, 3), PAGE_SIZE);
    using memory = MappedMemory.ofFile(fd, PAGE_SIZE, 2 * PAGE_SIZE, "a memfd");
    expect([...memory.bytes.subarray(0, 4)]).toEqual([1, 2, 3, 0]);
    memory.bytes[PAGE_SIZE] = 42;
    expect(readBack(2 * PAGE_SIZE)).toBe(42);
  });

  test("at an offset that is no number is refused", () => {
    expect(() => MappedMemory.ofFile(fd, Number.NaN, PAGE_SIZE, "a memfd")).toThrow(ArgumentError);
  });

  test("outlives the descriptor", () => {
    const other = memfd("iova-memory-test", PAGE_SIZE);
    using memory = MappedMemory.ofFile(other, 0, PAGE_SIZE, "a memfd");
    close(other);
    memory.bytes[0] = 1;
    expect(memory.bytes[0]).toBe(1);
  });

  test("after close stale views read zeros and reach nothing", () => {
    const memory = MappedMemory.ofFile(fd, 0, 2 * PAGE_SIZE, "a memfd");
    const { bytes, words, address } = memory;
    bytes.fill(0xaa);
    memory.close();
    expect(isZero(bytes)).toBe(true);
    bytes.fill(0x55);
    words[0] = 0x5555_5555;
    expect(readBack(0)).toBe(0xaa);
    expect(readBack(PAGE_SIZE)).toBe(0xaa);
    // And nobody else's memory comes to lie there.
    using next = MappedMemory.anonymous(2 * PAGE_SIZE);
    expect(next.address).not.toBe(address);
    expect(isZero(next.bytes)).toBe(true);
  });
});

test("after close bytes and words throw, naming the memory; closing twice is fine", () => {
  const memory = MappedMemory.anonymous(PAGE_SIZE);
  memory.close();
  memory.close();
  expect(() => memory.bytes).toThrow(ClosedError);
  expect(() => memory.words).toThrow("4096 bytes of memory is closed");
});

describe("a mapping that fails", () => {
  /** Works between two mappings: whatever range the failure used lies between them in the same reservation. */
  function failBetween(attempt: () => unknown): SysError {
    using before = MappedMemory.anonymous(PAGE_SIZE);
    let failure: unknown;
    try {
      attempt();
    } catch (error) {
      failure = error;
    }
    using after = MappedMemory.anonymous(PAGE_SIZE);
    expect(after.buffer).toBe(before.buffer);
    const from = before.address + before.sizeBytes;
    // Asked of the kernel first: reading a hole would end the process and not the test.
    expect(isMapped(from, after.address + after.sizeBytes)).toBe(true);
    const between = after.address - from;
    expect(isZero(new Uint8Array(before.buffer, before.bytes.byteOffset + before.sizeBytes, between))).toBe(
      true,
    );
    after.bytes.fill(1);
    expect(after.bytes[0]).toBe(1);
    if (!(failure instanceof SysError)) throw failure;
    return failure;
  }

  test("for a descriptor that is none", () => {
    const error = failBetween(() => MappedMemory.ofFile(-1, 0, PAGE_SIZE, "region 0"));
    expect(error.message).toBe("mmap on region 0: EBADF");
  });

  test("for a descriptor that can't be mapped", () => {
    using eventfd = new EventFd();
    const error = failBetween(() => MappedMemory.ofFile(eventfd.fd, 0, PAGE_SIZE, "an eventfd"));
    expect(error.code).toBe("ENODEV");
  });

  test("for a file opened only for reading", () => {
    const folder = mkdtempSync(join(tmpdir(), "iova-memory-"));
    const path = join(folder, "file");
    writeFileSync(path, Buffer.alloc(PAGE_SIZE));
    const fd = openSync(path, "r");
    try {
      expect(failBetween(() => MappedMemory.ofFile(fd, 0, PAGE_SIZE, path)).code).toBe("EACCES");
    } finally {
      closeSync(fd);
      rmSync(folder, { recursive: true });
    }
  });

  test("for an offset between pages", () => {
    const fd = memfd("iova-memory-test", 2 * PAGE_SIZE);
    try {
      expect(failBetween(() => MappedMemory.ofFile(fd, 512, PAGE_SIZE, "a memfd")).code).toBe("EINVAL");
    } finally {
      close(fd);
    }
  });

  test("for huge pages that are not there", () => {
    const hugePageBytes = 2 * MIB;
    const sizeBytes = (hugePagesToHave(hugePageBytes) + 1) * hugePageBytes;
    const error = failBetween(() => MappedMemory.anonymous(sizeBytes, { hugePageBytes }));
    expect(error.syscall).toBe("mmap");
    // EINVAL where the kernel has no huge pages of this size at all.
    expect(error.code).toMatch(/^(ENOMEM|EINVAL)$/);
    expect(error.hint).toMatch(/huge pages of 2097152 bytes/);
  });
});

/** Huge pages of the pool that nobody has, and those that the kernel may add. */
function hugePagesToHave(hugePageBytes: number): number {
  const pool = `/sys/kernel/mm/hugepages/hugepages-${hugePageBytes / KIB}kB`;
  try {
    const of = (name: string): number => Number(readFileSync(join(pool, name), "utf8"));
    return of("free_hugepages") + of("nr_overcommit_hugepages");
  } catch {
    return 0;
  }
}

test("a worker sees the same bytes through the posted buffer, and zeros once they are closed", async () => {
  const memory = MappedMemory.anonymous(PAGE_SIZE);
  const worker = new Worker(
    `const { parentPort, workerData: { buffer, offset } } = require("node:worker_threads");
     const words = new Uint32Array(buffer, offset, 4);
     parentPort.on("message", () => {
       const seen = words[0];
       words[1] = seen + 1;
       parentPort.postMessage(seen);
     });`,
    { eval: true, workerData: { buffer: memory.buffer, offset: memory.bytes.byteOffset } },
  );
  const ask = (): Promise<unknown> =>
    new Promise((resolve, reject) => {
      worker.once("message", resolve);
      worker.once("error", reject);
      worker.postMessage("look");
    });
  try {
    const { words } = memory;
    words[0] = 4711;
    expect(await ask()).toBe(4711);
    expect(words[1]).toBe(4712);
    memory.close();
    expect(await ask()).toBe(0);
  } finally {
    await worker.terminate();
  }
});

describe("over a long life", () => {
  test("20,000 mappings opened, touched and closed leave nothing behind", () => {
    const cycle = (fd: number): void => {
      using memory = MappedMemory.anonymous(64 * KIB);
      for (let at = 0; at < memory.sizeBytes; at += PAGE_SIZE) memory.bytes[at] = 1;
      using file = MappedMemory.ofFile(fd, 0, PAGE_SIZE, "a memfd");
      file.bytes[0] = 1;
    };
    const fd = memfd("iova-memory-test", PAGE_SIZE);
    try {
      for (let i = 0; i < 100; i++) cycle(fd);
      collectGarbage();
      const before = { maps: mappings().length, resident: residentBytes(), descriptors: openDescriptors() };
      for (let i = 0; i < 20_000; i++) cycle(fd);
      // V8's own heap comes and goes too.
      collectGarbage();
      expect(openDescriptors()).toBe(before.descriptors);
      // A mapping or a page lost per cycle would be 20,000 more, or 80 MiB.
      expect(mappings().length - before.maps).toBeLessThan(1000);
      expect(residentBytes() - before.resident).toBeLessThan(64 * MIB);
    } finally {
      close(fd);
    }
  });

  test("used-up reservations are given back when nobody looks at them any more", async () => {
    // Each takes a reservation of its own: 32 would be 320 GiB of address space.
    const reserved = (): number =>
      mappings().reduce((sum, { start, end }) => sum + Math.max(0, end - start - 512 * MIB), 0);
    const before = reserved();
    let last: SharedArrayBuffer | undefined;
    for (let i = 0; i < 32; i++) {
      using memory = MappedMemory.anonymous(1024 * MIB);
      expect(memory.buffer).not.toBe(last);
      last = memory.buffer;
      memory.bytes[0] = 1;
      memory.bytes[memory.sizeBytes - 1] = 1;
    }
    expect(await collectUntil(() => reserved() - before < 32 * 1024 * MIB)).toBe(true);
  });

  test("a view keeps its range for itself even after its reservation is used up", async () => {
    const memory = MappedMemory.anonymous(PAGE_SIZE);
    const { bytes, address } = memory;
    memory.close();
    bytes.fill(0x5a);
    // Fresh reservations take the place of the old one, which nothing but the view holds any more.
    for (let i = 0; i < 4; i++) MappedMemory.anonymous(1024 * MIB).close();
    await collectUntil(() => false);
    expect(isMapped(address, address + PAGE_SIZE)).toBe(true);
    expect(bytes.every((byte) => byte === 0x5a)).toBe(true);
  });
});
