import { closeSync, fstatSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { ArgumentError, Iommufd } from "../../../src/index.js";
import { IOMMUFD_PATH } from "../../../src/iommufd/iommufd.js";
import { memfd, O_RDWR, open } from "../../../src/sys/syscalls.js";
import { expectNothingLeft } from "../../support/holdings.js";

expectNothingLeft();

describe("an iommufd that somebody else opened", () => {
  it("is used as one opened here, and owned", () => {
    const fd = open(IOMMUFD_PATH, O_RDWR);
    const iommufd = Iommufd.fromFd(fd);
    expect(iommufd.fd).toBe(fd);
    const { ranges } = iommufd.allocIoas().iovaRanges();
    expect(ranges).toEqual([{ start: 0n, last: 0xffff_ffff_ffff_ffffn }]);
    iommufd.close();
    expect(() => fstatSync(fd)).toThrow(expect.objectContaining({ code: "EBADF" }));
  });

  it("is told from any other descriptor, which stays open", () => {
    for (const fd of [memfd("no iommufd", 4096), open("/dev/vfio/vfio", O_RDWR), open("/dev/null", O_RDWR)]) {
      expect(() => Iommufd.fromFd(fd)).toThrow(ArgumentError);
      expect(() => Iommufd.fromFd(fd)).toThrow(/no iommufd/);
      closeSync(fd);
      expect(() => Iommufd.fromFd(fd)).toThrow(/EBADF/);
    }
    for (const fd of [-1, 0.5, Number.NaN, 2 ** 31]) expect(() => Iommufd.fromFd(fd)).toThrow(ArgumentError);
  });
});
