/** The mock IOMMU does what other tests rely on. */
import { describe, expect, test } from "vitest";
import { Iommufd, Viommu } from "../../../src/doors/iommufd.js";
import { MappedMemory } from "../../../src/index.js";
import { close } from "../../../src/sys/syscalls.js";
import { checkMap, MockDevice, mock, mockDmaBuf, mockHwptData } from "../../support/mock.js";

describe("the kernel's mock IOMMU", () => {
  test("translates mapped addresses", () => {
    using iommufd = Iommufd.open();
    using ioas = iommufd.allocIoas();
    using device = MockDevice.create(ioas);
    using memory = MappedMemory.anonymous(8192);
    const at = ioas.map(memory);
    checkMap({ iommufd, id: device.hwptId }, at, 8192, memory.address);
    expect(iommufd.hwInfo(device)).toMatchObject({ dirtyTracking: true, maxPasidLog2: 0 });
    expect(Object.values(iommufd.capabilities()).every(Boolean)).toBe(true);
  });

  test("has nested page tables, faults and events", async () => {
    using iommufd = Iommufd.open();
    using ioas = iommufd.allocIoas();
    using device = MockDevice.create(ioas);
    using parent = ioas.allocHwpt(device, { nestParent: true });
    using faults = iommufd.allocFaultQueue();
    using viommu = Viommu.alloc(parent, device, { type: mock.viommuType, bytes: new Uint8Array(24) });
    using nested = viommu.allocNested(device, mockHwptData(mock.iotlbDefault), { faultQueue: faults });
    using vdevice = viommu.allocVdevice(device, 0x99n);
    expect(vdevice.virtualId).toBe(0x99n);
    device.replace(nested);
    using events = viommu.allocVeventq({ type: mock.veventqType, depth: 4, eventBytes: 4 });
    expect(events.take()).toEqual([]);
    setTimeout(() => device.triggerVevent(), 5);
    for await (const event of events) {
      expect(event).toMatchObject({ kind: "event", sequence: 0 });
      break;
    }
    setTimeout(() => device.triggerFault(), 5);
    for await (const group of faults) {
      expect(group.deviceId).toBe(device.deviceId);
      group.respond("success");
      break;
    }
    device.replace(ioas);
  });

  test("exports dma-bufs", () => {
    using iommufd = Iommufd.open();
    const fd = mockDmaBuf(iommufd, 4096);
    expect(fd).toBeGreaterThan(2);
    close(fd);
  });
});
