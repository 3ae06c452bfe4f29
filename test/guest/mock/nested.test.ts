/** Nested page tables. */
import { describe, expect, test } from "vitest";
import { NestedHwpt } from "../../../src/doors/iommufd.js";
import {
  IOMMU_HWPT_ALLOC,
  IOMMU_HWPT_ALLOC_NEST_PARENT,
  IOMMU_HWPT_FAULT_ID_VALID,
  iommu_hwpt_alloc,
} from "../../../src/iommufd/uapi-hwpt.js";
import { addressOf, keepAlive } from "../../../src/sys/libc.js";
import { sysError } from "../../support/errors.js";
import { expectNothingLeft } from "../../support/holdings.js";
import { deviceVariants, IoasScene, ioasVariants } from "../../support/ioas-variants.js";
import {
  checkIotlb,
  MockDevice,
  mock,
  mockHwptData,
  mockInvalidations,
  TestOp,
  testCommand,
} from "../../support/mock.js";
import {
  ENTRIES,
  expectFormChecked,
  expectRefused,
  invalidateNothing,
  UNKNOWN_FLAGS,
} from "../../support/mock-invalidation.js";
import { destroyAnswer, kernelAnswer, sysAnswer } from "../../support/raw-iommufd.js";
import { byVariant } from "../../support/variants.js";

const [noDevice] = ioasVariants;
const data = mockHwptData(mock.iotlbDefault);
const refused = (code: string): unknown => sysError("IOMMU_HWPT_ALLOC", code);
const ALL = 1;

/** IOMMU_HWPT_ALLOC as it is, with the mock's data unless told otherwise. */
function allocAnswer(fd: number, values: Parameters<typeof iommu_hwpt_alloc.encode>[0]): string {
  const request = iommu_hwpt_alloc.encode({
    data_type: data.type,
    data_len: data.bytes.length,
    data_uptr: BigInt(addressOf(data.bytes)),
    ...values,
  });
  const answer = kernelAnswer(fd, IOMMU_HWPT_ALLOC, request);
  keepAlive(data.bytes);
  return answer;
}

const NO_DATA = { data_type: 0, data_len: 0, data_uptr: 0n };

describe("page tables without a device [no_domain]", () => {
  expectNothingLeft();

  test("can't be allocated, nested or attached [iommufd_ioas.alloc_hwpt_nested]", () => {
    if (noDevice === undefined) throw new Error("there is such a variant");
    using scene = new IoasScene(noDevice);
    const { iommufd, ioas } = scene;
    expect(allocAnswer(iommufd.fd, { ...NO_DATA, pt_id: ioas.id })).toBe("ENOENT");
    expect(allocAnswer(iommufd.fd, {})).toBe("ENOENT");
    const replace = (): unknown => testCommand(iommufd.fd, TestOp.mockDomainReplace, 0, []);
    expect(sysAnswer(replace)).toBe("ENOENT");
  });

  test("can't be nested in [iommufd_ioas.hwpt_attach]", () => {
    if (noDevice === undefined) throw new Error("there is such a variant");
    using scene = new IoasScene(noDevice);
    const { iommufd } = scene;
    expect(sysAnswer(() => testCommand(iommufd.fd, TestOp.mockDomain, 0, []))).toBe("ENOENT");
  });
});

describe.each(byVariant(deviceVariants))("nested page tables [%s]", (_, variant) => {
  expectNothingLeft();

  test("need a parent, data and a device that match [iommufd_ioas.alloc_hwpt_nested]", () => {
    using scene = new IoasScene(variant);
    const { iommufd, ioas, device } = scene;
    const { deviceId } = device;
    expect(allocAnswer(iommufd.fd, { ...NO_DATA, dev_id: ioas.id, pt_id: deviceId })).toBe("ENOENT");
    expect(allocAnswer(iommufd.fd, { ...NO_DATA, dev_id: deviceId, pt_id: deviceId })).toBe("EINVAL");
    const parentWithFaults = IOMMU_HWPT_ALLOC_NEST_PARENT | IOMMU_HWPT_FAULT_ID_VALID;
    expect(
      allocAnswer(iommufd.fd, { ...NO_DATA, dev_id: deviceId, pt_id: ioas.id, flags: parentWithFaults }),
    ).toBe("EOPNOTSUPP");
    using faults = iommufd.allocFaultQueue();
    expect(() => ioas.allocHwpt(device, { nestParent: true, faultQueue: faults })).toThrow(
      refused("EOPNOTSUPP"),
    );

    using parent = ioas.allocHwpt(device, { nestParent: true });
    using plain = ioas.allocHwpt(device);
    expect(() => parent.allocNested(device, { ...data, type: 0 })).toThrow(refused("EINVAL"));
    expect(() => parent.allocNested(device, { ...data, type: mock.hwptDataType + 1 })).toThrow(
      refused("EOPNOTSUPP"),
    );
    expect(() => parent.allocNested(device, { ...data, bytes: data.bytes.subarray(0, 3) })).toThrow(
      refused("EINVAL"),
    );
    expect(() => plain.allocNested(device, data)).toThrow(refused("EINVAL"));
    const onParent = { dev_id: deviceId, pt_id: parent.id };
    expect(allocAnswer(iommufd.fd, { ...onParent, data_uptr: 0n })).toBe("EFAULT");
    expect(allocAnswer(iommufd.fd, { ...onParent, flags: IOMMU_HWPT_ALLOC_NEST_PARENT })).toBe("EOPNOTSUPP");
    const unknownQueue = { flags: IOMMU_HWPT_FAULT_ID_VALID, fault_id: 0xffff_ffff };
    expect(allocAnswer(iommufd.fd, { ...onParent, ...unknownQueue })).toBe("ENOENT");

    using nested = parent.allocNested(device, data);
    expect(nested).toBeInstanceOf(NestedHwpt);
    // There is no second floor; our types don't have one either.
    expect(allocAnswer(iommufd.fd, { dev_id: deviceId, pt_id: nested.id })).toBe("EINVAL");
    expect(destroyAnswer(iommufd.fd, parent.id)).toBe("EBUSY");
    parent.close();
    expect(nested.closed).toBe(true);
    expect(() => parent.allocNested(device, data)).toThrow(
      expect.objectContaining({ code: "ERR_IOVA_CLOSED" }),
    );
  });

  test("are invalidated request by request [iommufd_ioas.alloc_hwpt_nested]", () => {
    using scene = new IoasScene(variant);
    const { iommufd, ioas, device } = scene;
    using parent = ioas.allocHwpt(device, { nestParent: true });
    using first = parent.allocNested(device, data);
    using second = parent.allocNested(device, data);
    const expectDropped = (hwpt: NestedHwpt, ...dropped: number[]): void => {
      for (const entry of ENTRIES) checkIotlb(hwpt, entry, dropped.includes(entry) ? 0 : mock.iotlbDefault);
    };
    expectDropped(first);
    expectDropped(second);

    expectFormChecked(first, 8);
    expect(invalidateNothing(iommufd.fd, first.id, 8)).toEqual(["EINVAL", 0]);
    // A parent has no cache of its own to drop; our types don't offer it either.
    expect(invalidateNothing(iommufd.fd, parent.id, 8, 0)[0]).toBe("EINVAL");
    expectRefused(first, mockInvalidations([[UNKNOWN_FLAGS, 0]]), "EOPNOTSUPP", 0);
    expectRefused(first, mockInvalidations([[0, ENTRIES.length]]), "EINVAL", 0);
    expectDropped(first);

    // The first is carried out, whatever stops the second.
    expectRefused(
      first,
      mockInvalidations([
        [0, 0],
        [UNKNOWN_FLAGS, 1],
      ]),
      "EOPNOTSUPP",
      1,
    );
    expectDropped(first, 0);
    expectRefused(
      first,
      mockInvalidations([
        [0, 0],
        [0, ENTRIES.length],
      ]),
      "EINVAL",
      1,
    );
    expectDropped(first, 0);
    first.invalidate(mockInvalidations([[0, 1]]));
    expectDropped(first, 0, 1);
    first.invalidate(
      mockInvalidations([
        [0, 2],
        [0, 3],
      ]),
    );
    expectDropped(first, ...ENTRIES);
    expectDropped(second);
    second.invalidate(mockInvalidations([[ALL, 0]]));
    expectDropped(second, ...ENTRIES);
  });

  test("can replace one another on a device, and report its faults [iommufd_ioas.alloc_hwpt_nested]", () => {
    using scene = new IoasScene(variant);
    const { iommufd, ioas, device } = scene;
    using faults = iommufd.allocFaultQueue();
    using parent = ioas.allocHwpt(device, { nestParent: true });
    using first = parent.allocNested(device, data);
    using second = parent.allocNested(device, data);
    using faulting = parent.allocNested(device, data, { faultQueue: faults });
    const busy = (hwpt: NestedHwpt): void => {
      expect(device.replace(hwpt)).toBe(hwpt.id);
      expect(destroyAnswer(iommufd.fd, hwpt.id)).toBe("EBUSY");
    };
    busy(first);
    busy(second);
    first.close();
    expect(destroyAnswer(iommufd.fd, first.id)).toBe("ENOENT");
    busy(faulting);

    // For a PASID, which the nested page table stands for as a whole, and for the device itself.
    for (const pasid of [1, undefined]) {
      device.triggerFault({ ...(pasid === undefined ? {} : { pasid }) });
      const groups = faults.take();
      expect(groups).toHaveLength(1);
      expect(groups[0]).toMatchObject({ deviceId: device.deviceId, pasid, groupId: 2 });
      groups[0]?.respond(pasid === undefined ? "invalid" : "success");
      expect(() => groups[0]?.respond("success")).toThrow(
        expect.objectContaining({ code: "ERR_IOVA_STATE" }),
      );
    }
    expect(() => faults.respond(4711, "success")).toThrow(sysError("write", "EINVAL"));
    expect(faults.take()).toEqual([]);

    device.replace(parent);
    second.close();
    faulting.close();
    device.replace(ioas);
    parent.close();
    faults.close();
    for (const { id } of [second, faulting, parent, faults])
      expect(destroyAnswer(iommufd.fd, id)).toBe("ENOENT");
  });

  test("can be a device's first page table, as others can [iommufd_ioas.hwpt_attach]", () => {
    using scene = new IoasScene(variant);
    const { iommufd, device } = scene;
    using direct = MockDevice.create({ iommufd, id: device.hwptId });
    expect(direct.hwptId).toBe(device.hwptId);
    direct.close();
  });
});
