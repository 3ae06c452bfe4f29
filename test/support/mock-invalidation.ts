/** Checks that all kinds of invalidation on the mock IOMMU have in common. */
import { expect } from "vitest";
import { errnoName } from "../../src/core/errno.js";
import { type InvalidationData, InvalidationError } from "../../src/doors/iommufd.js";
import { IOMMU_HWPT_INVALIDATE, iommu_hwpt_invalidate } from "../../src/iommufd/uapi-hwpt.js";
import { tryIoctl } from "../../src/sys/ioctl.js";
import { mock } from "./mock.js";

/** Invalidation flags that no IOMMU has. */
export const UNKNOWN_FLAGS = 0xffff_ffff;
/** The mock's caches have entries 0 to 3. */
export const ENTRIES = [0, 1, 2, 3] as const;

/** Expects an invalidation to fail with this errno after so many completed requests. */
export function expectRefused(
  target: { invalidate(data: InvalidationData): void },
  data: InvalidationData,
  code: string,
  handled: number,
): void {
  let thrown: unknown;
  try {
    target.invalidate(data);
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toBeInstanceOf(InvalidationError);
  expect(thrown).toMatchObject({ syscall: "IOMMU_HWPT_INVALIDATE", code, handled });
}

/** Expects the errors of malformed requests that all targets of an invalidation have in common. */
export function expectFormChecked(
  target: { invalidate(data: InvalidationData): void },
  entryBytes: number,
): void {
  const entries = (length: number, count = 1): InvalidationData => ({
    type: mock.invalidateType,
    entryBytes: length,
    bytes: new Uint8Array(length * count),
  });
  // An empty array asks whether the type is known.
  expect(() => target.invalidate(entries(entryBytes, 0))).not.toThrow();
  expectRefused(target, { ...entries(entryBytes), type: mock.invalidateTypeInvalid }, "EINVAL", 0);
  expectRefused(target, entries(entryBytes + 1), "EINVAL", 0);
  expectRefused(target, entries(1), "EINVAL", 0);
  // Longer than a page, and more requests than the kernel takes at once.
  expectRefused(target, entries(4097), "EINVAL", 0);
  expectRefused(target, entries(entryBytes, 2 ** 19 + 1), "EINVAL", 0);
  expectRefused(target, { ...entries(entryBytes), entryBytes: 0 }, "EINVAL", 0);
  const argument = expect.objectContaining({ code: "ERR_IOVA_ARGUMENT" });
  expect(() => target.invalidate({ ...entries(entryBytes), entryBytes: -1 })).toThrow(argument);
  expect(() => target.invalidate({ ...entries(entryBytes), bytes: new Uint8Array(entryBytes + 1) })).toThrow(
    argument,
  );
}

/** A request without an array of entries, which the API can't express. @returns the errno's name, entries handled */
export function invalidateNothing(fd: number, id: number, entryBytes: number, count = 1): [string, number] {
  const request = iommu_hwpt_invalidate.encode({
    hwpt_id: id,
    data_type: mock.invalidateType,
    entry_len: entryBytes,
    entry_num: count,
  });
  const result = tryIoctl(fd, IOMMU_HWPT_INVALIDATE, request);
  return [result < 0 ? errnoName(-result) : "ok", iommu_hwpt_invalidate.get(request, "entry_num")];
}
