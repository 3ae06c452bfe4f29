/** MemlockError: the error for memory beyond the memlock limit. */
import { describe, expect, test } from "vitest";
import { MemlockError } from "../../../src/doors/dma.js";

describe("MemlockError", () => {
  test("has the size, the limit and the use as numbers, and a message about how to raise the limit", () => {
    const error = new MemlockError(1 << 20, 65_536, 4096, "process");
    expect([error.sizeBytes, error.limitBytes, error.usedBytes]).toEqual([1 << 20, 65_536, 4096]);
    expect(error.message).toContain("1048576 bytes can't be pinned: the memlock limit is 65536 bytes");
    expect(error.message).toContain("this process uses 4096");
    expect(error.message).toContain("ulimit -l");
    expect(error.message).not.toContain("all processes of this user");
  });

  test("has a message that all processes of the user share the limit if iommufd counts by user", () => {
    expect(new MemlockError(1, 2, 3, "user").message).toContain("all processes of this user share the limit");
  });
});
