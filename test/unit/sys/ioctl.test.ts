/** Prepared kernel requests, and 64-bit numbers in 32-bit words. */
import { closeSync, writeSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Errno } from "../../../src/core/errno.js";
import { loadU64, storeU64, struct, u32, u64 } from "../../../src/core/struct.js";
import { ioctlRequest, PreparedIoctl } from "../../../src/sys/ioctl.js";
import { memfd } from "../../../src/sys/syscalls.js";

/** asm-generic/ioctls.h: bytes from the file position to the end, an int. */
const FIONREAD = ioctlRequest("FIONREAD", "T", 0x1b);

describe("PreparedIoctl", () => {
  let fd: number;
  beforeAll(() => {
    fd = memfd("ioctl test", 0);
  });
  afterAll(() => closeSync(fd));

  test("has what the kernel wrote after each call, also after garbage collections that move memory", () => {
    const request = new PreparedIoctl(FIONREAD, new Uint8Array(4));
    writeSync(fd, Buffer.alloc(300), 0, 300, 0);
    for (let i = 0; i < 100; i++) {
      // Small arrays live on V8's heap and are moved when it fills up; the request must not move.
      const garbage = Array.from({ length: 1000 }, () => new Uint8Array(32));
      expect(garbage).toHaveLength(1000);
      request.words[0] = 0xdead;
      expect(request.call(fd)).toBe(0);
      expect(request.words[0]).toBe(300);
    }
  });

  test("returns an errno as a negative number", () => {
    const unknown = new PreparedIoctl(ioctlRequest("NO_SUCH_REQUEST", ";", 0xff), new Uint8Array(8));
    expect(unknown.call(fd)).toBe(-Errno.ENOTTY);
    expect(unknown.call(-1)).toBe(-Errno.EBADF);
  });

  test("starts with the bytes of a struct, whose fields are at word offsets", () => {
    const request = struct("request", { argsz: u32, flags: u32, iova: u64, size: u64 });
    const prepared = new PreparedIoctl(FIONREAD, request.encode({ flags: 3, iova: 0x1_0000_2000n }));
    expect([...prepared.words]).toEqual([24, 3, 0x2000, 1, 0, 0]);
    expect(prepared.quads[request.words.iova / 2]).toBe(0x1_0000_2000n);
    storeU64(prepared.words, request.words.size, 2 ** 40 + 4096);
    expect(prepared.quads[2]).toBe(BigInt(2 ** 40 + 4096));
  });
});

test.each([0, 1, 2 ** 32 - 1, 2 ** 32, 2 ** 32 + 1, 2 ** 47 - 4096, Number.MAX_SAFE_INTEGER])(
  "storeU64() writes %d to two words, and loadU64() reads it again",
  (value) => {
    const words = new Uint32Array(4);
    storeU64(words, 1, value);
    expect(loadU64(words, 1)).toBe(value);
    expect([words[0], words[3]]).toEqual([0, 0]);
    expect((BigInt(words[2] ?? 0) << 32n) | BigInt(words[1] ?? 0)).toBe(BigInt(value));
  },
);
