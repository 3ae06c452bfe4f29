/** Iommufd around a descriptor that another process opened. */
import { closeSync, fstatSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { Iommufd } from "../../../src/doors/iommufd.js";
import { ArgumentError, ClosedError, MappedMemory } from "../../../src/index.js";
import { IOMMUFD_PATH } from "../../../src/iommufd/iommufd.js";
import { memfd, O_RDWR, open } from "../../../src/sys/syscalls.js";
import { expectNothingLeft } from "../../support/holdings.js";

expectNothingLeft();

describe("an iommufd that another process opened", () => {
  test("works as one that this process opened, and is owned", () => {
    const fd = open(IOMMUFD_PATH, O_RDWR);
    const iommufd = Iommufd.fromFd(fd);
    expect(iommufd.fd).toBe(fd);
    const { ranges } = iommufd.allocIoas().iovaRanges();
    expect(ranges).toEqual([{ start: 0n, last: 0xffff_ffff_ffff_ffffn }]);
    iommufd.close();
    expect(() => fstatSync(fd)).toThrow(expect.objectContaining({ code: "EBADF" }));
  });

  test("may have address spaces, which can be used and stay as they are", () => {
    using iommufd = Iommufd.open();
    const made = iommufd.allocIoas();
    const borrowed = iommufd.ioas(made.id);
    using memory = MappedMemory.anonymous(4096);
    const at = borrowed.map(memory);
    borrowed.close();
    expect(() => borrowed.iovaRanges()).toThrow(ClosedError);
    expect(made.unmap(at, 4096)).toBe(4096);
    for (const id of [0, made.id + 1]) expect(() => iommufd.ioas(id)).toThrow(/has no IOAS/);
    const queue = iommufd.allocFaultQueue();
    expect(() => iommufd.ioas(queue.id)).toThrow(ArgumentError);
    for (const id of [-1, 0.5, 2 ** 32]) expect(() => iommufd.ioas(id)).toThrow(ArgumentError);
  });

  test("can be told from any other descriptor, which stays open", () => {
    for (const fd of [memfd("no iommufd", 4096), open("/dev/vfio/vfio", O_RDWR), open("/dev/null", O_RDWR)]) {
      expect(() => Iommufd.fromFd(fd)).toThrow(ArgumentError);
      expect(() => Iommufd.fromFd(fd)).toThrow(/is not an iommufd/);
      closeSync(fd);
      expect(() => Iommufd.fromFd(fd)).toThrow(/EBADF/);
    }
    for (const fd of [-1, 0.5, Number.NaN, 2 ** 31]) expect(() => Iommufd.fromFd(fd)).toThrow(ArgumentError);
  });
});
