/** Requests to an iommufd as such: lengths of structs, unknown requests, options. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Iommufd } from "../../../src/doors/iommufd.js";
import { UnsupportedError } from "../../../src/index.js";
import { call } from "../../../src/iommufd/call.js";
import {
  IOMMU_DESTROY,
  IOMMU_IOAS_ALLOC,
  IOMMU_IOAS_ALLOW_IOVAS,
  IOMMU_IOAS_CHANGE_PROCESS,
  IOMMU_IOAS_COPY,
  IOMMU_IOAS_IOVA_RANGES,
  IOMMU_IOAS_MAP,
  IOMMU_IOAS_MAP_FILE,
  IOMMU_IOAS_UNMAP,
  IOMMU_OPTION,
  IOMMU_OPTION_HUGE_PAGES,
  IOMMU_OPTION_OP_GET,
  IOMMU_OPTION_OP_SET,
  IOMMU_OPTION_RLIMIT_MODE,
  IOMMU_VFIO_IOAS,
  iommu_destroy,
  iommu_ioas_alloc,
  iommu_ioas_allow_iovas,
  iommu_ioas_change_process,
  iommu_ioas_copy,
  iommu_ioas_iova_ranges,
  iommu_ioas_map,
  iommu_ioas_map_file,
  iommu_ioas_unmap,
  iommu_option,
  iommu_vfio_ioas,
} from "../../../src/iommufd/uapi.js";
import { IOMMU_GET_HW_INFO, iommu_hw_info } from "../../../src/iommufd/uapi-hw-info.js";
import {
  IOMMU_HWPT_ALLOC,
  IOMMU_HWPT_INVALIDATE,
  iommu_hwpt_alloc,
  iommu_hwpt_invalidate,
} from "../../../src/iommufd/uapi-hwpt.js";
import {
  IOMMU_VDEVICE_ALLOC,
  IOMMU_VIOMMU_ALLOC,
  iommu_vdevice_alloc,
  iommu_viommu_alloc,
} from "../../../src/iommufd/uapi-viommu.js";
import { ioctlRequest } from "../../../src/sys/ioctl.js";
import { sysError } from "../../support/errors.js";
import { expectNothingLeft, holdings } from "../../support/holdings.js";
import { destroyAnswer, kernelAnswer } from "../../support/raw-iommufd.js";

/** Requests, the length of their struct, and the shortest part of it that the kernel takes. */
const requests = [
  [IOMMU_DESTROY, iommu_destroy.sizeBytes, iommu_destroy.sizeBytes],
  [IOMMU_GET_HW_INFO, iommu_hw_info.sizeBytes, iommu_hw_info.offsets.out_capabilities],
  [IOMMU_HWPT_ALLOC, iommu_hwpt_alloc.sizeBytes, iommu_hwpt_alloc.offsets.data_type],
  [IOMMU_HWPT_INVALIDATE, iommu_hwpt_invalidate.sizeBytes, iommu_hwpt_invalidate.sizeBytes],
  [IOMMU_IOAS_ALLOC, iommu_ioas_alloc.sizeBytes, iommu_ioas_alloc.sizeBytes],
  [IOMMU_IOAS_IOVA_RANGES, iommu_ioas_iova_ranges.sizeBytes, iommu_ioas_iova_ranges.sizeBytes],
  [IOMMU_IOAS_ALLOW_IOVAS, iommu_ioas_allow_iovas.sizeBytes, iommu_ioas_allow_iovas.sizeBytes],
  [IOMMU_IOAS_MAP, iommu_ioas_map.sizeBytes, iommu_ioas_map.sizeBytes],
  [IOMMU_IOAS_COPY, iommu_ioas_copy.sizeBytes, iommu_ioas_copy.sizeBytes],
  [IOMMU_IOAS_UNMAP, iommu_ioas_unmap.sizeBytes, iommu_ioas_unmap.sizeBytes],
  [IOMMU_OPTION, iommu_option.sizeBytes, iommu_option.sizeBytes],
  [IOMMU_VFIO_IOAS, iommu_vfio_ioas.sizeBytes, iommu_vfio_ioas.sizeBytes],
  [IOMMU_IOAS_MAP_FILE, iommu_ioas_map_file.sizeBytes, iommu_ioas_map_file.sizeBytes],
  [IOMMU_VIOMMU_ALLOC, iommu_viommu_alloc.sizeBytes, iommu_viommu_alloc.offsets.data_len],
  [IOMMU_VDEVICE_ALLOC, iommu_vdevice_alloc.sizeBytes, iommu_vdevice_alloc.sizeBytes],
  [IOMMU_IOAS_CHANGE_PROCESS, iommu_ioas_change_process.sizeBytes, iommu_ioas_change_process.sizeBytes],
] as const;

/** Zeros that call themselves `size` long, with one more byte than `room`. */
function zeros(room: number, size: number, extra: number): Uint8Array {
  const bytes = new Uint8Array(room + 1);
  new DataView(bytes.buffer).setUint32(0, size, true);
  bytes[room] = extra;
  return bytes;
}

expectNothingLeft();

describe("an iommufd", () => {
  let iommufd: Iommufd;
  beforeEach(() => {
    iommufd = Iommufd.open();
  });
  afterEach(() => iommufd.close());

  test("opens and closes [iommufd.simple_close]", () => {
    expect(holdings().kernelObjects).toContain("/dev/iommu");
    iommufd.close();
    expect(holdings().kernelObjects).not.toContain("/dev/iommu");
  });

  test("refuses unknown requests and bad pointers [iommufd.cmd_fail]", () => {
    const unknown = ioctlRequest("IOMMU_NONE", ";", 0x7f);
    expect(destroyAnswer(iommufd.fd, 0)).toBe("ENOENT");
    expect(kernelAnswer(iommufd.fd, IOMMU_DESTROY, null)).toBe("EFAULT");
    expect(kernelAnswer(iommufd.fd, unknown, iommu_destroy.encode({}))).toBe("ENOTTY");
    expect(() => call(iommufd.fd, unknown, iommu_destroy.encode({}))).toThrow(UnsupportedError);
  });

  test.each(requests.map((row) => [row[0].name, ...row] as const))(
    "accepts %s of every length that it knows [iommufd.cmd_length]",
    (_, request, size, shortest) => {
      const ask = (length: number, extra: number): string =>
        kernelAnswer(iommufd.fd, request, zeros(size, length, extra));
      expect(ask(shortest - 1, 0xff)).toBe("EINVAL");
      expect(ask(size + 1, 0xff)).toBe("E2BIG");
      expect(() => call(iommufd.fd, request, zeros(size, size + 1, 0xff))).toThrow(UnsupportedError);
      // What is beyond the struct is zero: the same as if it weren't there.
      const exact = ask(size, 0xff);
      expect(["ok", "ENOENT", "EINVAL", "ENODEV", "EOPNOTSUPP", "EOVERFLOW"]).toContain(exact);
      expect(ask(size + 1, 0)).toBe(exact);
      expect(ask(shortest, 0)).toBe(exact);
    },
  );

  test("accepts a longer struct if the rest is zero [iommufd.cmd_ex_fail]", () => {
    const { sizeBytes } = iommu_destroy;
    const longer = iommu_destroy.encode({}, 8);
    expect(kernelAnswer(iommufd.fd, IOMMU_DESTROY, longer)).toBe("ENOENT");
    longer[sizeBytes] = 1;
    expect(kernelAnswer(iommufd.fd, IOMMU_DESTROY, longer)).toBe("E2BIG");
    // The same bytes, but only the first part counts.
    longer[0] = sizeBytes;
    expect(kernelAnswer(iommufd.fd, IOMMU_DESTROY, longer)).toBe("ENOENT");
    longer[0] = sizeBytes - 1;
    expect(kernelAnswer(iommufd.fd, IOMMU_DESTROY, longer)).toBe("EINVAL");
  });

  test("has options for itself and for its objects [iommufd.global_options]", () => {
    expect(iommufd.rlimitMode).toBe("user");
    iommufd.rlimitMode = "process";
    const unknownMode = (): bigint => iommufd.option(IOMMU_OPTION_OP_SET, IOMMU_OPTION_RLIMIT_MODE, 0, 2n);
    expect(unknownMode).toThrow(sysError("IOMMU_OPTION", "EINVAL"));
    expect(iommufd.rlimitMode).toBe("process");
    iommufd.rlimitMode = "user";
    expect(iommufd.rlimitMode).toBe("user");
    for (const op of [IOMMU_OPTION_OP_GET, IOMMU_OPTION_OP_SET]) {
      const ofNothing = (): bigint => iommufd.option(op, IOMMU_OPTION_HUGE_PAGES, 0, 0n);
      expect(ofNothing).toThrow(sysError("IOMMU_OPTION", "ENOENT"));
    }
  });
});
