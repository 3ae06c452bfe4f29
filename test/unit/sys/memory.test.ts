/** MappedMemory: anonymous and file mappings, clearing, failures, and a long life. */
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ArgumentError, ClosedError, SysError } from "../../../src/core/errors.js";
import { EventFd } from "../../../src/sys/eventfd.js";
import { MappedMemory } from "../../../src/sys/memory.js";
import { close, memfd, PAGE_SIZE, pread, pwrite } from "../../../src/sys/syscalls.js";
import { compileTree } from "../../support/compiled.js";
import { collectGarbage, collectUntil } from "../../support/gc.js";
import { isMapped, mappings, openDescriptors, residentBytes } from "../../support/proc.js";
import { run } from "../../support/run.js";

const KIB = 1024;
const MIB = 1024 * KIB;

function isZero(bytes: Uint8Array): boolean {
  return Buffer.compare(bytes, new Uint8Array(bytes.length)) === 0;
}

/** The kernel's description of a range. */
function smapsOf({ address }: MappedMemory): string {
  const smaps = readFileSync("/proc/self/smaps", "utf8").split(/\n(?=[0-9a-f]+-[0-9a-f]+ )/);
  return smaps.find((entry) => entry.startsWith(`${address.toString(16)}-`)) ?? "";
}

describe("MappedMemory.clear()", () => {
  test.each([
    ["a few bytes", 100, 57],
    ["whole pages and parts of pages around them", 4000, MIB],
    ["everything", 0, 2 * MIB],
  ])("clears %s, and no other byte", (_, offset, length) => {
    using memory = MappedMemory.anonymous(2 * MIB);
    memory.bytes.fill(0xee);
    const expected = memory.bytes.slice().fill(0, offset, offset + length);
    memory.clear(offset, length);
    expect(Buffer.compare(memory.bytes, expected)).toBe(0);
  });

  test("returns whole pages to the system", () => {
    using memory = MappedMemory.anonymous(128 * MIB);
    memory.bytes.fill(1);
    const before = residentBytes();
    memory.clear(0, 128 * MIB);
    expect(residentBytes()).toBeLessThan(before - 64 * MIB);
  });

  test("changes the file of a shared mapping", () => {
    const fd = memfd("clear", MIB);
    using memory = MappedMemory.ofFile(fd, 0, MIB, "a memfd");
    memory.bytes.fill(7);
    memory.clear(PAGE_SIZE, MIB - PAGE_SIZE);
    const tail = new Uint8Array(2);
    pread(fd, tail, PAGE_SIZE - 1);
    close(fd);
    expect([...tail]).toEqual([7, 0]);
  });

  test("rejects a range outside the memory, and closed memory", () => {
    const memory = MappedMemory.anonymous(PAGE_SIZE);
    expect(() => memory.clear(1, PAGE_SIZE)).toThrow(ArgumentError);
    expect(() => memory.clear(-1, 1)).toThrow(ArgumentError);
    memory.close();
    expect(() => memory.clear(0, 1)).toThrow(ClosedError);
  });
});

describe("MappedMemory.anonymous()", () => {
  test("returns whole, aligned, zeroed pages at the address in its address field", () => {
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

  test.each([PAGE_SIZE, 64 * KIB, 2 * MIB, 1024 * MIB])("aligns the address to %i bytes", (alignBytes) => {
    using small = MappedMemory.anonymous(1);
    using aligned = MappedMemory.anonymous(PAGE_SIZE, { alignBytes });
    expect(aligned.address % alignBytes).toBe(0);
    aligned.bytes.fill(1);
    expect(isZero(small.bytes)).toBe(true);
  });

  test("makes populated pages resident, and hides them from forked children", () => {
    using memory = MappedMemory.anonymous(16 * PAGE_SIZE, { populate: true, transparentHugePages: true });
    const own = smapsOf(memory);
    expect(Number(/^Rss:\s+(\d+) kB$/m.exec(own)?.[1]) * KIB).toBeGreaterThanOrEqual(memory.sizeBytes);
    // `dc`: MADV_DONTFORK.
    expect(/^VmFlags:(.*)$/m.exec(own)?.[1]?.split(" ")).toContain("dc");
  });

  test("locks pages, as memfd() does", () => {
    using anonymous = MappedMemory.anonymous(4 * PAGE_SIZE, { lock: true });
    using shared = MappedMemory.memfd(4 * PAGE_SIZE, { lock: true });
    for (const memory of [anonymous, shared]) {
      const own = smapsOf(memory);
      expect(/^VmFlags:(.*)$/m.exec(own)?.[1]?.split(" ")).toContain("lo");
      expect(Number(/^Locked:\s+(\d+) kB$/m.exec(own)?.[1]) * KIB).toBe(memory.sizeBytes);
    }
  });

  test("maps up to the size of one reservation, and no more", () => {
    using large = MappedMemory.anonymous(4096 * MIB);
    large.bytes[large.sizeBytes - 1] = 7;
    expect(large.bytes.at(-1)).toBe(7);
    expect(() => MappedMemory.anonymous(4096 * MIB + 1)).toThrow(ArgumentError);
  });

  test("names the limit in its error if pages can't be locked, and releases the pages", async () => {
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

  test("names RLIMIT_AS in its error if the address space is limited", async () => {
    const program = "test/unit/fixtures/no-address-space.ts";
    using tree = compileTree(program);
    const limited = ["-c", 'ulimit -v 4000000; exec "$@"', "sh", process.execPath, tree.file(program)];
    const outcome = await run("sh", limited);
    expect(outcome).toMatchObject({ status: 0, stderr: "" });
    expect(outcome.stdout).toMatch(/^UnsupportedError: no address space for DMA memory.*RLIMIT_AS/);
  });

  test.each([
    ["no length", 0, {}],
    ["an alignment that isn't a power of two", PAGE_SIZE, { alignBytes: 3 * PAGE_SIZE }],
    ["an alignment that isn't a number", PAGE_SIZE, { alignBytes: Number.NaN }],
    ["huge pages smaller than a page", PAGE_SIZE, { hugePageBytes: 1 }],
    ["huge pages of an odd size", PAGE_SIZE, { hugePageBytes: 3 * MIB }],
  ])("rejects %s, and the next mapping works", (_what, sizeBytes, options) => {
    expect(() => MappedMemory.anonymous(sizeBytes, options)).toThrow(ArgumentError);
    using next = MappedMemory.anonymous(PAGE_SIZE);
    next.bytes.fill(1);
    expect(next.bytes[0]).toBe(1);
  });
});

describe("MappedMemory.ofFile()", () => {
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

  test("shares its content with the file in both directions, from the offset on", () => {
    pwrite(fd, Uint8Array.of(1, 2, 3), PAGE_SIZE);
    using memory = MappedMemory.ofFile(fd, PAGE_SIZE, 2 * PAGE_SIZE, "a memfd");
    expect([...memory.bytes.subarray(0, 4)]).toEqual([1, 2, 3, 0]);
    memory.bytes[PAGE_SIZE] = 42;
    expect(readBack(2 * PAGE_SIZE)).toBe(42);
  });

  test("rejects an offset that isn't a number", () => {
    expect(() => MappedMemory.ofFile(fd, Number.NaN, PAGE_SIZE, "a memfd")).toThrow(ArgumentError);
  });

  test("returns memory that stays valid after the descriptor is closed", () => {
    const other = memfd("iova-memory-test", PAGE_SIZE);
    using memory = MappedMemory.ofFile(other, 0, PAGE_SIZE, "a memfd");
    close(other);
    memory.bytes[0] = 1;
    expect(memory.bytes[0]).toBe(1);
  });

  test("returns memory whose views read zeros and don't reach the file after it is closed", () => {
    const memory = MappedMemory.ofFile(fd, 0, 2 * PAGE_SIZE, "a memfd");
    const { bytes, words, address } = memory;
    bytes.fill(0xaa);
    memory.close();
    expect(isZero(bytes)).toBe(true);
    bytes.fill(0x55);
    words[0] = 0x5555_5555;
    expect(readBack(0)).toBe(0xaa);
    expect(readBack(PAGE_SIZE)).toBe(0xaa);
    // No other memory is mapped there.
    using next = MappedMemory.anonymous(2 * PAGE_SIZE);
    expect(next.address).not.toBe(address);
    expect(isZero(next.bytes)).toBe(true);
  });
});

test("closed memory throws an error with its name from bytes and words, and can be closed again", () => {
  const memory = MappedMemory.anonymous(PAGE_SIZE);
  memory.close();
  memory.close();
  expect(() => memory.bytes).toThrow(ClosedError);
  expect(() => memory.words).toThrow("4096 bytes of memory is closed");
});

describe("a mapping that fails", () => {
  /** Attempts a mapping between two others, so that the range of the failed one lies between them in the same reservation. */
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
    // Ask the kernel first: reading a hole would end the process instead of the test.
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

  test("leaves its range usable if the descriptor is invalid", () => {
    const error = failBetween(() => MappedMemory.ofFile(-1, 0, PAGE_SIZE, "region 0"));
    expect(error.message).toBe("mmap on region 0: EBADF");
  });

  test("leaves its range usable if the descriptor can't be mapped", () => {
    using eventfd = new EventFd();
    const error = failBetween(() => MappedMemory.ofFile(eventfd.fd, 0, PAGE_SIZE, "an eventfd"));
    expect(error.code).toBe("ENODEV");
  });

  test("leaves its range usable if the file is open only for reading", () => {
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

  test("leaves its range usable if the offset is between pages", () => {
    const fd = memfd("iova-memory-test", 2 * PAGE_SIZE);
    try {
      expect(failBetween(() => MappedMemory.ofFile(fd, 512, PAGE_SIZE, "a memfd")).code).toBe("EINVAL");
    } finally {
      close(fd);
    }
  });

  test("leaves its range usable if there are not enough huge pages", () => {
    const hugePageBytes = 2 * MIB;
    const sizeBytes = (hugePagesToHave(hugePageBytes) + 1) * hugePageBytes;
    const error = failBetween(() => MappedMemory.anonymous(sizeBytes, { hugePageBytes }));
    expect(error.syscall).toBe("mmap");
    // EINVAL if the kernel has no huge pages of this size.
    expect(error.code).toMatch(/^(ENOMEM|EINVAL)$/);
    expect(error.hint).toMatch(/huge pages of 2097152 bytes/);
  });
});

/** The free huge pages of the pool, and those that the kernel may add. */
function hugePagesToHave(hugePageBytes: number): number {
  const pool = `/sys/kernel/mm/hugepages/hugepages-${hugePageBytes / KIB}kB`;
  try {
    const of = (name: string): number => Number(readFileSync(join(pool, name), "utf8"));
    return of("free_hugepages") + of("nr_overcommit_hugepages");
  } catch {
    return 0;
  }
}

test("a worker sees the same bytes in a buffer that it was sent, and zeros after the memory is closed", async () => {
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

describe("a process that maps memory for a long time", () => {
  test("keeps nothing of 20,000 mappings that it opened, used and closed", () => {
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
      // V8's heap grows and shrinks, too.
      collectGarbage();
      expect(openDescriptors()).toBe(before.descriptors);
      // A mapping or a page lost per cycle would be 20,000 more, or 80 MiB.
      expect(mappings().length - before.maps).toBeLessThan(1000);
      expect(residentBytes() - before.resident).toBeLessThan(64 * MIB);
    } finally {
      close(fd);
    }
  });

  test("releases used-up reservations when no view of them is left", async () => {
    // Each takes its own reservation: 32 would be 320 GiB of address space.
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

  test("keeps the range of a view reserved after the reservation is used up", async () => {
    const memory = MappedMemory.anonymous(PAGE_SIZE);
    const { bytes, address } = memory;
    memory.close();
    bytes.fill(0x5a);
    // New reservations replace the old one, which only the view keeps now.
    for (let i = 0; i < 4; i++) MappedMemory.anonymous(1024 * MIB).close();
    await collectUntil(() => false);
    expect(isMapped(address, address + PAGE_SIZE)).toBe(true);
    expect(bytes.every((byte) => byte === 0x5a)).toBe(true);
  });
});
