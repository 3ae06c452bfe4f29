/** Virtual IOMMUs. */
import { describe, expect, test } from "vitest";
import { Iommufd, Viommu } from "../../../src/doors/iommufd.js";
import {
  IOMMU_HWPT_ALLOC,
  IOMMU_HWPT_FAULT_ID_VALID,
  iommu_hwpt_alloc,
} from "../../../src/iommufd/uapi-hwpt.js";
import {
  IOMMU_HW_QUEUE_ALLOC,
  IOMMU_VDEVICE_ALLOC,
  IOMMU_VEVENTQ_ALLOC,
  IOMMU_VIOMMU_ALLOC,
  iommu_hw_queue_alloc,
  iommu_vdevice_alloc,
  iommu_veventq_alloc,
  iommu_viommu_alloc,
} from "../../../src/iommufd/uapi-viommu.js";
import { addressOf, keepAlive } from "../../../src/sys/libc.js";
import { sysError } from "../../support/errors.js";
import { expectNothingLeft } from "../../support/holdings.js";
import { MockDevice, mock, mockHwptData, TestOp, testCommand } from "../../support/mock.js";
import { PAGE } from "../../support/mock-domain.js";
import { MockNesting, mockViommuData } from "../../support/mock-nesting.js";
import { destroyAnswer, kernelAnswer, sysAnswer } from "../../support/raw-iommufd.js";

const NO_DATA = { type: mock.viommuType, bytes: new Uint8Array(0) };
const closed = expect.objectContaining({ code: "ERR_IOVA_CLOSED" });
const wrongArgument = expect.objectContaining({ code: "ERR_IOVA_ARGUMENT" });

describe("an iommufd without a virtual IOMMU [no_viommu]", () => {
  expectNothingLeft();

  test("can be closed [iommufd_viommu.viommu_auto_destroy]", () => {
    const iommufd = Iommufd.open();
    iommufd.allocIoas();
    iommufd.close();
    expect(iommufd.closed).toBe(true);
  });

  test("has no object 0 to make one from [iommufd_viommu.viommu_negative_tests]", () => {
    using iommufd = Iommufd.open();
    const request = iommu_viommu_alloc.encode({ type: mock.viommuType, dev_id: 0, hwpt_id: 0 });
    expect(kernelAnswer(iommufd.fd, IOMMU_VIOMMU_ALLOC, request)).toBe("ENOENT");
  });

  test("nests nothing and has no faults [iommufd_viommu.viommu_alloc_nested_iopf]", () => {
    using iommufd = Iommufd.open();
    using faults = iommufd.allocFaultQueue();
    const request = iommu_hwpt_alloc.encode({ flags: IOMMU_HWPT_FAULT_ID_VALID, fault_id: faults.id });
    expect(kernelAnswer(iommufd.fd, IOMMU_HWPT_ALLOC, request)).toBe("ENOENT");
    expect(faults.take()).toEqual([]);
  });

  test("has no memory-mapped registers [iommufd_viommu.viommu_alloc_with_data]", () => {
    using iommufd = Iommufd.open();
    const { type, bytes } = mockViommuData(0xbeef);
    const request = iommu_viommu_alloc.encode({
      type,
      data_len: bytes.length,
      data_uptr: BigInt(addressOf(bytes)),
    });
    expect(kernelAnswer(iommufd.fd, IOMMU_VIOMMU_ALLOC, request)).toBe("ENOENT");
    keepAlive(bytes);
    // Not even echoed.
    expect(bytes).toEqual(mockViommuData(0xbeef).bytes);
  });

  test("has no virtual devices [iommufd_viommu.vdevice_alloc]", () => {
    using iommufd = Iommufd.open();
    const vdevice = iommu_vdevice_alloc.encode({ viommu_id: 0, dev_id: 0, virt_id: 0x99n });
    expect(kernelAnswer(iommufd.fd, IOMMU_VDEVICE_ALLOC, vdevice)).toBe("ENOENT");
    const veventq = iommu_veventq_alloc.encode({ type: mock.veventqType, veventq_depth: 2 });
    expect(kernelAnswer(iommufd.fd, IOMMU_VEVENTQ_ALLOC, veventq)).toBe("ENOENT");
  });

  test("has no queues for hardware [iommufd_viommu.hw_queue]", () => {
    using iommufd = Iommufd.open();
    const request = iommu_hw_queue_alloc.encode({ type: mock.hwQueueType, length: BigInt(PAGE) });
    expect(kernelAnswer(iommufd.fd, IOMMU_HW_QUEUE_ALLOC, request)).toBe("ENOENT");
  });

  test("frees a device at once that has no virtual device [iommufd_viommu.vdevice_tombstone]", () => {
    using iommufd = Iommufd.open();
    using ioas = iommufd.allocIoas();
    const ids = [1, 2].map(() => {
      using device = MockDevice.create(ioas);
      return [device.stdevId, device.deviceId, device.hwptId];
    });
    // The lowest free numbers are used again.
    expect(ids[1]).toEqual(ids[0]);
  });
});

describe("a virtual IOMMU [mock_viommu]", () => {
  expectNothingLeft();

  test("is closed with its iommufd [iommufd_viommu.viommu_auto_destroy]", () => {
    const nesting = new MockNesting();
    nesting.iommufd.close();
    expect([nesting.viommu.closed, nesting.nested.closed, nesting.parent.closed]).toEqual([true, true, true]);
  });

  test("needs a nesting parent and a known type, and can't be destroyed while it is in use [iommufd_viommu.viommu_negative_tests]", () => {
    using nesting = new MockNesting();
    const { iommufd, ioas, device, parent, viommu } = nesting;
    const request = iommu_viommu_alloc.encode({ type: mock.viommuType, dev_id: device.deviceId, hwpt_id: 0 });
    expect(kernelAnswer(iommufd.fd, IOMMU_VIOMMU_ALLOC, request)).toBe("ENOENT");

    using plain = ioas.allocHwpt(device);
    expect(() => Viommu.alloc(plain, device, NO_DATA)).toThrow(sysError("IOMMU_VIOMMU_ALLOC", "EINVAL"));
    plain.close();
    expect(() => Viommu.alloc(plain, device, NO_DATA)).toThrow(closed);

    const unknown = { type: 0xdead, bytes: new Uint8Array(0) };
    expect(() => Viommu.alloc(parent, device, unknown)).toThrow(sysError("IOMMU_VIOMMU_ALLOC", "EOPNOTSUPP"));
    expect(destroyAnswer(iommufd.fd, parent.id)).toBe("EBUSY");
    expect(destroyAnswer(iommufd.fd, viommu.id)).toBe("EBUSY");

    // By the objects it is no question: what hangs on the parent goes first.
    using another = ioas.allocHwpt(device, { nestParent: true });
    const child = Viommu.alloc(another, device, NO_DATA);
    another.close();
    expect(child.closed).toBe(true);
  });

  test("can't be made from objects of two iommufds", () => {
    using nesting = new MockNesting();
    using other = new MockNesting();
    expect(() => Viommu.alloc(nesting.parent, other.device, NO_DATA)).toThrow(wrongArgument);
    expect(() => nesting.viommu.allocVdevice(other.device, 1n)).toThrow(wrongArgument);
    expect(() => nesting.viommu.allocNested(other.device, mockHwptData(0))).toThrow(wrongArgument);
    using faults = other.iommufd.allocFaultQueue();
    expect(() => nesting.viommu.allocNested(nesting.device, mockHwptData(0), { faultQueue: faults })).toThrow(
      wrongArgument,
    );
  });

  test("has nested page tables that report faults [iommufd_viommu.viommu_alloc_nested_iopf]", () => {
    using nesting = new MockNesting();
    const { iommufd, ioas, device, viommu } = nesting;
    using faults = iommufd.allocFaultQueue();
    const data = mockHwptData(mock.iotlbDefault);
    const answer = (flags: number, faultId: number): string => {
      const request = iommu_hwpt_alloc.encode({
        flags,
        dev_id: device.deviceId,
        pt_id: viommu.id,
        data_type: data.type,
        data_len: data.bytes.length,
        data_uptr: BigInt(addressOf(data.bytes)),
        fault_id: faultId,
      });
      const result = kernelAnswer(iommufd.fd, IOMMU_HWPT_ALLOC, request);
      keepAlive(data.bytes);
      return result;
    };
    expect(answer(IOMMU_HWPT_FAULT_ID_VALID, 0xffff_ffff)).toBe("ENOENT");
    expect(answer((IOMMU_HWPT_FAULT_ID_VALID | 0x8000_0000) >>> 0, faults.id)).toBe("EOPNOTSUPP");
    using gone = iommufd.allocFaultQueue();
    gone.close();
    expect(() => viommu.allocNested(device, data, { faultQueue: gone })).toThrow(closed);

    using nested = viommu.allocNested(device, data, { faultQueue: faults });
    // The page table's events and invalidations speak of a virtual device, so there must be one.
    expect(sysAnswer(() => device.replace(nested))).toBe("ENOENT");
    using vdevice = viommu.allocVdevice(device, 0x99n);
    expect(device.replace(nested)).toBe(nested.id);
    expect(vdevice).toMatchObject({ virtualId: 0x99n, device });
    expect(destroyAnswer(iommufd.fd, nested.id)).toBe("EBUSY");

    device.triggerFault({ pasid: 1 });
    const [group, ...others] = faults.take();
    expect(others).toEqual([]);
    expect(group).toMatchObject({
      deviceId: device.deviceId,
      pasid: 1,
      groupId: 2,
      requests: [{ address: 0xdead_beafn, read: true, write: true, execute: false, privileged: false }],
    });
    group?.respond("success");
    expect(faults.take()).toEqual([]);
    device.replace(ioas);
    nested.close();
    faults.close();
    expect(destroyAnswer(iommufd.fd, faults.id)).toBe("ENOENT");
  });

  test("returns its data and has registers that can be mapped [iommufd_viommu.viommu_alloc_with_data]", () => {
    using nesting = new MockNesting();
    const { iommufd, parent, device } = nesting;
    const data = mockViommuData(0xbeef);
    using viommu = Viommu.alloc(parent, device, data);
    const answer = new DataView(viommu.data.buffer, viommu.data.byteOffset);
    expect(answer.getUint32(4, true)).toBe(0xbeef);
    // What was given stays as it was.
    expect(data).toEqual(mockViommuData(0xbeef));
    const offset = answer.getBigUint64(8, true);
    const length = Number(answer.getBigUint64(16, true));
    expect(length).toBe(2 * PAGE);

    const noSuch = sysError("mmap", "ENXIO");
    expect(() => viommu.map(offset + BigInt(PAGE), length)).toThrow(noSuch);
    expect(() => viommu.map(offset + BigInt(2 * PAGE), length)).toThrow(noSuch);
    expect(() => viommu.map(offset, length / 2)).toThrow(noSuch);
    expect(() => viommu.map(offset, length * 2)).toThrow(noSuch);
    expect(() => viommu.map(-1n, length)).toThrow(wrongArgument);
    expect(() => viommu.map(offset, 0)).toThrow(wrongArgument);

    using registers = viommu.map(offset, length);
    expect(registers.words[0]).toBe(0xbeef);
    expect(destroyAnswer(iommufd.fd, viommu.id)).toBe("EBUSY");
    viommu.close();
    expect(registers.closed).toBe(true);
    expect(destroyAnswer(iommufd.fd, viommu.id)).toBe("ENOENT");
    expect(() => viommu.map(offset, length)).toThrow(closed);
  });

  test("loses a virtual device when the device is closed [iommufd_viommu.vdevice_tombstone]", () => {
    using nesting = new MockNesting();
    const { iommufd, ioas, device, viommu } = nesting;
    // By the objects: the virtual device is closed before its device.
    const vdevice = viommu.allocVdevice(device, 0x99n);
    device.close();
    expect(vdevice.closed).toBe(true);
    expect(destroyAnswer(iommufd.fd, vdevice.id)).toBe("ENOENT");

    // By the kernel alone: a tombstone keeps the number from being used again.
    const { out } = testCommand(iommufd.fd, TestOp.mockDomain, ioas.id, []);
    const request = iommu_vdevice_alloc.encode({
      viommu_id: viommu.id,
      dev_id: out.getUint32(8, true),
      virt_id: 0x99n,
    });
    expect(kernelAnswer(iommufd.fd, IOMMU_VDEVICE_ALLOC, request)).toBe("ok");
    const { out_vdevice_id } = iommu_vdevice_alloc.decode(request);
    expect(destroyAnswer(iommufd.fd, out.getUint32(0, true))).toBe("ok");
    expect(destroyAnswer(iommufd.fd, out_vdevice_id)).toBe("ENOENT");
    using next = MockDevice.create(ioas);
    using later = viommu.allocVdevice(next, 0x99n);
    expect([next.stdevId, next.deviceId, next.hwptId, later.id]).not.toContain(out_vdevice_id);
  });
});
