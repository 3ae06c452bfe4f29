/** System calls: files, memfds, polling and ioctl. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { SysError } from "../../../src/core/errors.js";
import { EventFd } from "../../../src/sys/eventfd.js";
import { ioctl, ioctlRequest, ioctlWithNumber, tryIoctl } from "../../../src/sys/ioctl.js";
import {
  close,
  memfd,
  O_RDWR,
  open,
  PAGE_SIZE,
  pollReadable,
  pread,
  pwrite,
  read,
  write,
} from "../../../src/sys/syscalls.js";
import { openDescriptors } from "../../support/proc.js";

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

/** Closes `fd` when the test is over. */
function opened(fd: number): number {
  cleanups.push(() => close(fd));
  return fd;
}

function eventfd(): EventFd {
  const created = new EventFd();
  cleanups.push(() => created.close());
  return created;
}

function errorOf(action: () => unknown): SysError {
  try {
    action();
  } catch (error) {
    if (error instanceof SysError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

/** The kernel's flags of a descriptor, such as O_CLOEXEC, which it prints in octal. */
function flagsOf(fd: number): number {
  const [, flags = ""] = /^flags:\s+([0-7]+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, "utf8")) ?? [];
  return Number.parseInt(flags, 8);
}
const O_CLOEXEC = 0o2000000;

describe("the file functions", () => {
  test("open a file close-on-exec, write it, read it at offsets, and close it", () => {
    const folder = mkdtempSync(join(tmpdir(), "iova-syscalls-"));
    cleanups.push(() => rmSync(folder, { recursive: true }));
    const path = join(folder, "file");
    writeFileSync(path, "0123456789");
    const fd = open(path, O_RDWR);
    expect(flagsOf(fd) & O_CLOEXEC).toBe(O_CLOEXEC);
    expect(pwrite(fd, Buffer.from("AB"), 4)).toBe(2);
    expect(write(fd, Buffer.from("x"))).toBe(1);
    const buffer = Buffer.alloc(4);
    expect(read(fd, buffer)).toBe(4);
    expect(buffer.toString()).toBe("123A");
    // Fewer bytes at the end of the file, as in the kernel.
    expect(pread(fd, buffer, 8)).toBe(2);
    close(fd);
    expect(readFileSync(path, "utf8")).toBe("x123AB6789");
    expect(errorOf(() => pread(fd, buffer, 0, { object: path }))).toMatchObject({
      syscall: "pread",
      code: "EBADF",
      object: path,
    });
  });

  test("include the path and the caller's hint in the error of open()", () => {
    const error = errorOf(() => open("/nowhere/iommu", O_RDWR, { hint: "is the module loaded?" }));
    expect(error.message).toBe("open on /nowhere/iommu: ENOENT (is the module loaded?)");
  });

  test("throw an error if close() gets a descriptor that isn't open", () => {
    expect(errorOf(() => close(-1))).toMatchObject({ syscall: "close", code: "EBADF" });
  });
});

test("a memfd has the requested size, zeros as content, and is close-on-exec", () => {
  const fd = opened(memfd("iova-test", 3 * PAGE_SIZE));
  expect(flagsOf(fd) & O_CLOEXEC).toBe(O_CLOEXEC);
  const content = new Uint8Array(4 * PAGE_SIZE).fill(1);
  expect(pread(fd, content, 0)).toBe(3 * PAGE_SIZE);
  expect(content.subarray(0, 3 * PAGE_SIZE).every((byte) => byte === 0)).toBe(true);
});

test("memfd() leaves no descriptor behind if the kernel rejects the size", () => {
  const before = openDescriptors();
  expect(errorOf(() => memfd("iova-test", -1))).toMatchObject({ syscall: "ftruncate", code: "EINVAL" });
  expect(openDescriptors()).toBe(before);
});

test("read() returns null and pollReadable() false if a non-blocking descriptor has nothing to read", () => {
  const event = eventfd();
  expect(read(event.fd, new BigUint64Array(1))).toBeNull();
  expect(pollReadable(event.fd, 0)).toBe(false);
  event.signal();
  expect(pollReadable(event.fd, -1)).toBe(true);
});

describe("an ioctl request", () => {
  const request = ioctlRequest("IOMMU_IOAS_ALLOC", ";", 0x81);

  test("encodes type and number, without size and direction", () => {
    expect(request).toEqual({ name: "IOMMU_IOAS_ALLOC", number: 0x3b81 });
  });

  test("fails with the request's name, the errno, the object and the hint", () => {
    const { fd } = eventfd();
    const context = { object: "an eventfd", hint: "that is no IOMMU" };
    const fields = { syscall: "IOMMU_IOAS_ALLOC", code: "ENOTTY", errno: 25, ...context };
    const error = errorOf(() => ioctl(fd, request, new Uint8Array(12), context));
    expect(error).toMatchObject(fields);
    expect(error.message).toBe("IOMMU_IOAS_ALLOC on an eventfd: ENOTTY (that is no IOMMU)");
    expect(errorOf(() => ioctlWithNumber(fd, request, 7, context))).toMatchObject(fields);
    expect(tryIoctl(fd, request, null)).toBe(-25);
  });

  test("returns what the kernel writes in its argument, at the view's offset", () => {
    const FIONREAD = { name: "FIONREAD", number: 0x541b };
    const folder = mkdtempSync(join(tmpdir(), "iova-ioctl-"));
    cleanups.push(() => rmSync(folder, { recursive: true }));
    writeFileSync(join(folder, "file"), "seven b");
    const fd = opened(open(join(folder, "file"), O_RDWR));
    const words = new Int32Array([-1, -1, -1]);
    expect(ioctl(fd, FIONREAD, words.subarray(1, 2))).toBe(0);
    expect([...words]).toEqual([-1, 7, -1]);
  });
});
