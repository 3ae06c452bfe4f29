/** The library's error classes, names of errnos, and argument checks. */
import { constants } from "node:os";
import { describe, expect, test } from "vitest";
import {
  checkInteger,
  checkLength,
  checkOffset,
  checkRange,
  checkU32,
  checkU64,
} from "../../../src/core/check.js";
import { Errno, errnoName } from "../../../src/core/errno.js";
import {
  ArgumentError,
  BusyError,
  ClosedError,
  ConfigError,
  DeviceGoneError,
  IovaError,
  StateError,
  SysError,
  TimeoutError,
  UnsupportedError,
} from "../../../src/core/errors.js";

describe("errnoName()", () => {
  test("returns the name of each errno that the library uses", () => {
    for (const [name, number] of Object.entries(Errno)) expect(errnoName(number)).toBe(name);
  });

  test("returns the kernel's name if a number has two names", () => {
    expect(errnoName(constants.errno.EAGAIN)).toBe("EAGAIN");
    expect(errnoName(constants.errno.EOPNOTSUPP)).toBe("EOPNOTSUPP");
  });

  test("returns names that Node lacks, and the number if it has no name", () => {
    expect([76, 77, 121].map(errnoName)).toEqual(["ENOTUNIQ", "EBADFD", "EREMOTEIO"]);
    expect(errnoName(999)).toBe("errno 999");
  });
});

describe("SysError", () => {
  test("has the call, object, errno and hint in its message and fields", () => {
    const error = new SysError("IOMMU_IOAS_MAP", Errno.ENOMEM, { object: "ioas 3", hint: "raise memlock" });
    expect(error.message).toBe("IOMMU_IOAS_MAP on ioas 3: ENOMEM (raise memlock)");
    expect(error).toMatchObject({
      name: "SysError",
      code: "ENOMEM",
      errno: Errno.ENOMEM,
      syscall: "IOMMU_IOAS_MAP",
      object: "ioas 3",
      hint: "raise memlock",
    });
  });

  test("leaves out of its message what is unknown", () => {
    expect(new SysError("epoll_create1", Errno.ENOMEM).message).toBe("epoll_create1: ENOMEM");
  });

  test("gets a hint or an object by with(), which keeps the rest", () => {
    const inner = new SysError("open", Errno.EACCES, { object: "/dev/vfio/7" });
    expect(inner.with({ hint: "who owns it?" }).message).toBe("open on /dev/vfio/7: EACCES (who owns it?)");
    expect(inner.with({ object: "group 7" }).message).toBe("open on group 7: EACCES");
  });
});

test("SysError.with() keeps the stack of the failed call, and the cause", () => {
  const cause = new Error("the reason");
  const failedHere = (): SysError => new SysError("open", Errno.EACCES, { cause });
  const inner = failedHere();
  const outer = inner.with({ hint: "who owns it?" });
  expect(outer.stack).toMatch(/^SysError: open: EACCES \(who owns it\?\)\n +at failedHere/);
  expect(outer.cause).toBe(cause);
  expect(new Error("after").stack).toContain("\n    at ");
});

test("every error class accepts a cause", () => {
  const cause = new Error("the reason");
  const errors = [
    new SysError("open", Errno.EACCES, { cause }),
    new ArgumentError("x", { cause }),
    new ConfigError("x", { cause }),
    new ClosedError("x", { cause }),
    new StateError("x", { cause }),
    new BusyError("x", { cause }),
    new TimeoutError("x", 5, { cause }),
    new DeviceGoneError("x", undefined, { cause }),
    new UnsupportedError("x", { cause }),
  ];
  for (const error of errors) expect(error.cause).toBe(cause);
  expect("cause" in new SysError("open", Errno.EACCES)).toBe(false);
});

test("every error class has a stable code and its own name, and extends IovaError", () => {
  const errors = [
    new ArgumentError("x"),
    new ConfigError("x"),
    new ClosedError("x"),
    new StateError("x"),
    new BusyError("x"),
    new TimeoutError("x", 5),
    new DeviceGoneError("x"),
    new UnsupportedError("x"),
  ];
  expect(errors.map(({ name, code }) => `${name} ${code}`)).toEqual([
    "ArgumentError ERR_IOVA_ARGUMENT",
    "ConfigError ERR_IOVA_CONFIG",
    "ClosedError ERR_IOVA_CLOSED",
    "StateError ERR_IOVA_STATE",
    "BusyError ERR_IOVA_BUSY",
    "TimeoutError ERR_IOVA_TIMEOUT",
    "DeviceGoneError ERR_IOVA_DEVICE_GONE",
    "UnsupportedError ERR_IOVA_UNSUPPORTED",
  ]);
  for (const error of errors) expect(error).toBeInstanceOf(IovaError);
});

describe("argument checks", () => {
  test("return a valid value, including the limits", () => {
    expect(checkInteger("x", -3, -3, 9)).toBe(-3);
    expect(checkLength("x", 1)).toBe(1);
    expect(checkOffset("x", 0)).toBe(0);
    expect(checkU32("x", 0xffff_ffff)).toBe(0xffff_ffff);
    expect(checkU64("x", 2n ** 64n - 1n)).toBe(2n ** 64n - 1n);
    checkRange("the buffer", 4, 4, 8);
  });

  test.each([
    ["a value above the limit", () => checkInteger("depth", 10, 1, 9)],
    ["a fraction", () => checkOffset("offset", 0.5)],
    ["NaN", () => checkOffset("offset", Number.NaN)],
    ["a number that is too large to be exact", () => checkOffset("offset", 2 ** 53)],
    // @ts-expect-error a caller without types can pass this
    ["a string", () => checkLength("sizeBytes", "4096")],
    ["an empty length", () => checkLength("sizeBytes", 0)],
    ["a negative offset", () => checkOffset("offset", -1)],
    ["a value of 33 bits", () => checkU32("value", 2 ** 32)],
    ["a value of 65 bits", () => checkU64("iova", 2n ** 64n)],
    ["a negative bigint", () => checkU64("iova", -1n)],
    ["a range that ends outside", () => checkRange("the buffer", 5, 4, 8)],
  ])("reject %s", (_what, check) => {
    expect(check).toThrow(ArgumentError);
  });

  test("throw an error with the argument's name, its limits and the value", () => {
    expect(() => checkInteger("depth", 10, 1, 9)).toThrow("depth must be a whole number from 1 to 9, got 10");
    // @ts-expect-error as above
    expect(() => checkLength("n", "4096")).toThrow('got "4096"');
    expect(() => checkU64("iova", -1n)).toThrow("got -1n");
  });
});
