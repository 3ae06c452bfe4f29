/** Fixture of the kernel's iommufd_viommu tests: a vIOMMU with a nested page table on the mock IOMMU. */
import { type Ioas, Iommufd, type NestedHwpt, type PagingHwpt, Viommu } from "../../src/doors/iommufd.js";
import { MockDevice, mock, mockHwptData } from "./mock.js";

/** Data of a mock vIOMMU: it returns `input`, and has two pages to map, of which the first begins with it. */
export function mockViommuData(input: number): { type: number; bytes: Uint8Array } {
  const bytes = new Uint8Array(24);
  new DataView(bytes.buffer).setUint32(0, input, true);
  return { type: mock.viommuType, bytes };
}

/** As the kernel's fixture iommufd_viommu: a vIOMMU on a nest parent, with a nested page table. */
export class MockNesting implements Disposable {
  readonly iommufd: Iommufd = Iommufd.open();
  readonly ioas: Ioas = this.iommufd.allocIoas();
  readonly device: MockDevice = MockDevice.create(this.ioas);
  readonly parent: PagingHwpt = this.ioas.allocHwpt(this.device, { nestParent: true });
  readonly viommu: Viommu = Viommu.alloc(this.parent, this.device, {
    type: mock.viommuType,
    bytes: new Uint8Array(0),
  });
  readonly nested: NestedHwpt = this.viommu.allocNested(this.device, mockHwptData(mock.iotlbDefault));

  /** Attaches the device to the kernel's own page table again, so that the others can be closed in any order. */
  [Symbol.dispose](): void {
    if (!this.device.closed) this.device.replace(this.ioas);
    this.iommufd.close();
  }
}
