/** Page tables attached to PASIDs. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  type FaultQueue,
  type Ioas,
  Iommufd,
  type NestedHwpt,
  type PagingHwpt,
  Viommu,
} from "../../../src/doors/iommufd.js";
import { sysError } from "../../support/errors.js";
import { expectNothingLeft } from "../../support/holdings.js";
import { MockDevice, mock, mockHwptData } from "../../support/mock.js";
import { destroyAnswer } from "../../support/raw-iommufd.js";
import { byVariant } from "../../support/variants.js";

const PASID = 100;
const refused = (code: string): unknown => sysError("IOMMU_TEST_CMD", code);

const variants = [
  { variant: "no_pasid", pasidCapable: false },
  { variant: "has_pasid", pasidCapable: true },
] as const;

/** Every name ends with the same case: the kernel has one test where we have one for each of its ideas. */
describe.each(byVariant(variants))("process address spaces of a device [%s]", (_, { pasidCapable }) => {
  expectNothingLeft();

  let iommufd: Iommufd;
  let ioas: Ioas;
  let device: MockDevice;
  /** A device without PASIDs beside it, in the variant that has one. */
  let plain: MockDevice | undefined;
  let parent: PagingHwpt;
  let nested: NestedHwpt;
  let otherNested: NestedHwpt;
  let faults: FaultQueue;
  let faulting: NestedHwpt;
  /** A page table of the address space that can be used with PASIDs. */
  let stage2: PagingHwpt;

  beforeEach(() => {
    const data = mockHwptData(mock.iotlbDefault);
    iommufd = Iommufd.open();
    ioas = iommufd.allocIoas();
    device = MockDevice.create(ioas, { pasid: true });
    plain = pasidCapable ? undefined : MockDevice.create(ioas);
    parent = ioas.allocHwpt(device, { nestParent: true });
    nested = parent.allocNested(device, data, { pasid: true });
    otherNested = parent.allocNested(device, data, { pasid: true });
    faults = iommufd.allocFaultQueue();
    faulting = parent.allocNested(device, data, { pasid: true, faultQueue: faults });
    const viommu = Viommu.alloc(parent, device, { type: mock.viommuType, bytes: new Uint8Array(0) });
    expect(viommu.allocNested(device, data, { pasid: true }).id).toBeGreaterThan(viommu.id);
    stage2 = ioas.allocHwpt(device, { pasid: true });
  });

  afterEach(() => {
    // The kernel keeps a page table from going while a device is on it.
    for (const pasid of [PASID, 200, mock.pasidReserved, 2048]) device.detachPasid(pasid);
    device.replace(ioas);
    plain?.replace(ioas);
    iommufd.close();
  });

  test("can be detached without being attached [iommufd_device_pasid.pasid_attach]", () => {
    expect(() => device.detachPasid(PASID)).not.toThrow();
    device.checkPasid(PASID, undefined);
    const { maxPasidLog2 } = iommufd.hwInfo(device);
    expect(maxPasidLog2).toBe(mock.pasidWidth);
    if (plain !== undefined) expect(iommufd.hwInfo(plain).maxPasidLog2).toBe(0);
  });

  test("need a device whose own page table allows it [iommufd_device_pasid.pasid_attach]", () => {
    device.replace(parent);
    expect(() => device.attachPasid(PASID, stage2)).toThrow(refused("EINVAL"));
    device.replace(stage2);
    device.attachPasid(PASID, nested);
    // And as long as one is attached it has to stay so.
    expect(() => device.replace(parent)).toThrow(refused("EINVAL"));
    device.detachPasid(PASID);
    device.checkPasid(PASID, undefined);
    expect(device.replace(parent)).toBe(parent.id);
  });

  test("need a page table that was allocated for PASIDs [iommufd_device_pasid.pasid_attach]", () => {
    device.replace(stage2);
    for (const unfit of [parent, ioas]) {
      expect(() => device.attachPasid(PASID, unfit)).toThrow(refused("EINVAL"));
      device.checkPasid(PASID, undefined);
    }
  });

  test("need a device with PASIDs [iommufd_device_pasid.pasid_attach]", () => {
    // What is made for PASIDs serves a device without any as well.
    const other = plain ?? device;
    expect(other.replace(nested)).toBe(nested.id);
    other.replace(ioas);
    if (plain === undefined) {
      device.replace(stage2);
      device.attachPasid(PASID, stage2);
      device.checkPasid(PASID, stage2);
      return;
    }
    for (const hwpt of [parent, stage2]) {
      expect(() => plain?.attachPasid(PASID, hwpt)).toThrow(refused("EINVAL"));
    }
  });

  test("have one page table each, which is attached once [iommufd_device_pasid.pasid_attach]", () => {
    device.replace(stage2);
    device.attachPasid(PASID, stage2);
    device.checkPasid(PASID, stage2);
    expect(() => device.attachPasid(PASID, nested)).toThrow(refused("EBUSY"));
    device.detachPasid(PASID);
    device.checkPasid(PASID, undefined);
    device.attachPasid(PASID, nested);
    device.checkPasid(PASID, nested);
    expect(() => device.attachPasid(PASID, nested)).toThrow(refused("EBUSY"));
    device.checkPasid(PASID, nested);
    expect(destroyAnswer(iommufd.fd, nested.id)).toBe("EBUSY");
  });

  test("move from one page table to another in one step [iommufd_device_pasid.pasid_attach]", () => {
    const pasid = 200;
    device.replace(stage2);
    expect(() => device.replacePasid(pasid, stage2)).toThrow(refused("EINVAL"));
    device.attachPasid(pasid, stage2);
    expect(() => device.replacePasid(pasid, ioas)).toThrow(refused("EINVAL"));
    device.checkPasid(pasid, stage2);
    for (const next of [nested, otherNested]) {
      device.replacePasid(pasid, next);
      device.checkPasid(pasid, next);
    }
    expect(destroyAnswer(iommufd.fd, nested.id)).toBe("ok");
    expect(destroyAnswer(iommufd.fd, otherNested.id)).toBe("EBUSY");
    // Its own close() finds nothing left of it.
    expect(() => nested.close()).toThrow(sysError("IOMMU_DESTROY", "ENOENT"));
  });

  test("keep their page table if a move fails [iommufd_device_pasid.pasid_attach]", () => {
    device.replace(stage2);
    device.attachPasid(mock.pasidReserved, stage2);
    device.checkPasid(mock.pasidReserved, stage2);
    expect(() => device.replacePasid(mock.pasidReserved, nested)).toThrow(refused("ENOMEM"));
    device.checkPasid(mock.pasidReserved, stage2);
  });

  test("are named in a page fault [iommufd_device_pasid.pasid_attach]", () => {
    const pasid = 2048;
    device.replace(stage2);
    device.attachPasid(pasid, faulting);
    device.checkPasid(pasid, faulting);
    device.triggerFault({ pasid });
    const groups = faults.take();
    expect(groups).toHaveLength(1);
    expect(groups[0]).toMatchObject({ deviceId: device.deviceId, pasid });
    groups[0]?.respond("success");
    device.replacePasid(pasid, stage2);
    device.checkPasid(pasid, stage2);
    device.detachPasid(pasid);
    faulting.close();
    faults.close();
    expect(destroyAnswer(iommufd.fd, faults.id)).toBe("ENOENT");
  });
});
