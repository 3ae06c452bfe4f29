/** Fixture of the kernel's iommufd_mock_domain tests: an address space with mock devices, and memory to map. */
import { closeSync } from "node:fs";
import { type Ioas, type IoasMapOptions, Iommufd } from "../../src/doors/iommufd.js";
import { type Iova, MappedMemory } from "../../src/index.js";
import { memfd } from "../../src/sys/syscalls.js";
import { checkMap, checkRefs, MockDevice } from "./mock.js";

export const PAGE = 4096;
export const HUGE_PAGE = 2 * 1024 * 1024;

/** The variants of the kernel's fixture iommufd_mock_domain. */
export interface DomainVariant {
  readonly variant: string;
  /** Mock devices attached to the address space. */
  readonly domains: 1 | 2;
  readonly huge: boolean;
  /** Mapped from a memfd by IOMMU_IOAS_MAP_FILE, instead of by address. */
  readonly file: boolean;
}

export const domainVariants: readonly DomainVariant[] = [
  { variant: "one_domain", domains: 1, huge: false, file: false },
  { variant: "two_domains", domains: 2, huge: false, file: false },
  { variant: "one_domain_hugepage", domains: 1, huge: true, file: false },
  { variant: "two_domains_hugepage", domains: 2, huge: true, file: false },
  { variant: "one_domain_file", domains: 1, huge: false, file: true },
  // As in the kernel's fixture: the size of huge pages, in a memfd of ordinary ones.
  { variant: "one_domain_file_hugepage", domains: 1, huge: true, file: true },
];

/** Memory that is mapped by its address or as a file. */
export class Source implements Disposable {
  private constructor(
    readonly memory: MappedMemory,
    /** Undefined if it is mapped by address. */
    readonly fd: number | undefined,
  ) {}

  static create({ huge, file }: DomainVariant, sizeBytes: number): Source {
    if (file) {
      const fd = memfd("source", sizeBytes);
      return new Source(MappedMemory.ofFile(fd, 0, sizeBytes, "source"), fd);
    }
    // Populated, because untouched pages are the kernel's shared zero page, whose reference counts mean nothing.
    const options = huge ? { hugePageBytes: HUGE_PAGE, populate: true } : { populate: true };
    return new Source(MappedMemory.anonymous(sizeBytes, options), undefined);
  }

  get address(): number {
    return this.memory.address;
  }

  /** Maps [start, start + length) of the memory. */
  map(ioas: Ioas, start: number, length: number, options: IoasMapOptions = {}): Iova {
    if (this.fd !== undefined) return ioas.mapFile(this.fd, start, length, options);
    return ioas.map({ address: this.address + start, sizeBytes: length }, options);
  }

  [Symbol.dispose](): void {
    this.memory.close();
    if (this.fd !== undefined) closeSync(this.fd);
  }
}

/** An address space with mock devices on it. */
export class MockDomain implements Disposable {
  readonly iommufd: Iommufd;
  readonly ioas: Ioas;
  readonly devices: readonly MockDevice[];

  constructor({ domains }: Pick<DomainVariant, "domains">) {
    this.iommufd = Iommufd.open();
    this.ioas = this.iommufd.allocIoas();
    this.devices = Array.from({ length: domains }, () => MockDevice.create(this.ioas));
  }

  /** The first device. */
  get device(): MockDevice {
    const [device] = this.devices;
    if (device === undefined) throw new Error("a mock domain has a device");
    return device;
  }

  /** @throws unless every device's page table, and those given, translate to this process's pages at `address` */
  check(iova: bigint, length: number, address: number, ...others: MockDevice[]): void {
    for (const { hwptId } of [...this.devices, ...others]) {
      checkMap({ iommufd: this.iommufd, id: hwptId }, iova, length, address);
    }
  }

  [Symbol.dispose](): void {
    this.iommufd.close();
  }
}

/** @throws if a page of the memory is pinned; asks through another iommufd */
export function expectUnpinned(address: number, sizeBytes: number): void {
  using iommufd = Iommufd.open();
  checkRefs(iommufd, address, sizeBytes, 0);
}
