/** Fixture of the kernel's iommufd_ioas tests, in all its variants. */
import { type Ioas, Iommufd } from "../../src/doors/iommufd.js";
import { MockDevice, mock, setTempMemoryLimit } from "./mock.js";

/** The kernel's default limit of its temporary page buffer. */
const DEFAULT_LIMIT = 65536;

/** The variants of the kernel's fixture iommufd_ioas. */
export interface IoasVariant {
  readonly variant: string;
  /** Mock devices attached to the address space. */
  readonly devices: number;
  /** A further device, which has PASIDs. */
  readonly pasid: boolean;
  readonly memoryLimit: number;
}

export const ioasVariants: readonly IoasVariant[] = [
  { variant: "no_domain", devices: 0, pasid: false, memoryLimit: DEFAULT_LIMIT },
  { variant: "mock_domain", devices: 1, pasid: true, memoryLimit: DEFAULT_LIMIT },
  { variant: "two_mock_domain", devices: 2, pasid: false, memoryLimit: DEFAULT_LIMIT },
  { variant: "mock_domain_limit", devices: 1, pasid: false, memoryLimit: 16 },
];

/** The variants that have a device. */
export const deviceVariants = ioasVariants.filter(({ devices }) => devices > 0);

/** An address space with the devices of a variant. */
export class IoasScene implements Disposable {
  readonly iommufd: Iommufd = Iommufd.open();
  readonly ioas: Ioas = this.iommufd.allocIoas();
  readonly devices: readonly MockDevice[];
  readonly pasidDevice: MockDevice | undefined;

  constructor({ devices, pasid, memoryLimit }: IoasVariant) {
    setTempMemoryLimit(this.iommufd, memoryLimit);
    this.devices = Array.from({ length: devices }, () => MockDevice.create(this.ioas));
    this.pasidDevice = pasid ? MockDevice.create(this.ioas, { pasid: true }) : undefined;
  }

  /** The last device, which the kernel's fixture uses. */
  get device(): MockDevice {
    const device = this.devices.at(-1);
    if (device === undefined) throw new Error("this variant has no device");
    return device;
  }

  /** The lowest address that can be mapped. */
  get base(): bigint {
    return this.devices.length > 0 ? mock.apertureStart : 0n;
  }

  [Symbol.dispose](): void {
    setTempMemoryLimit(this.iommufd, DEFAULT_LIMIT);
    for (const device of this.devices) if (!device.closed) device.replace(this.ioas);
    this.iommufd.close();
  }
}
