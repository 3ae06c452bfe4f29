/** An iommufd that is used as a VFIO container. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type Ioas, Iommufd } from "../../../src/doors/iommufd.js";
import { VfioContainer } from "../../../src/doors/vfio.js";
import { MappedMemory, StateError } from "../../../src/index.js";
import {
  IOMMU_VFIO_IOAS,
  IOMMU_VFIO_IOAS_GET,
  IOMMU_VFIO_IOAS_SET,
  iommu_vfio_ioas,
} from "../../../src/iommufd/uapi.js";
import { type IoctlRequest, ioctlWithNumber } from "../../../src/sys/ioctl.js";
import { capabilityChain } from "../../../src/vfio/capability-chain.js";
import {
  VFIO_API_VERSION,
  VFIO_CHECK_EXTENSION,
  VFIO_DMA_MAP_FLAG_READ,
  VFIO_DMA_MAP_FLAG_WRITE,
  VFIO_DMA_UNMAP_FLAG_ALL,
  VFIO_GET_API_VERSION,
  VFIO_IOMMU_GET_INFO,
  VFIO_IOMMU_INFO_CAPS,
  VFIO_IOMMU_INFO_PGSIZES,
  VFIO_IOMMU_MAP_DMA,
  VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE,
  VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL,
  VFIO_IOMMU_UNMAP_DMA,
  VFIO_TYPE1v2_IOMMU,
  vfio_iommu_type1_dma_map,
  vfio_iommu_type1_dma_unmap,
  vfio_iommu_type1_info,
  vfio_iommu_type1_info_cap_iova_range,
  vfio_iommu_type1_info_dma_avail,
  vfio_iova_range,
} from "../../../src/vfio-legacy/uapi.js";
import { sysError } from "../../support/errors.js";
import { expectNothingLeft } from "../../support/holdings.js";
import { BUFFER_BYTES, sharedBuffer } from "../../support/ioas-buffer.js";
import { MockDevice, mock } from "../../support/mock.js";
import { expectUnpinned, HUGE_PAGE, PAGE } from "../../support/mock-domain.js";
import { kernelAnswer } from "../../support/raw-iommufd.js";

const UNKNOWN_FLAG = 2 ** 31;
const START = mock.apertureStart;
/** More than the kernel has to tell. */
const INFO_ROOM = 1024;
const INFO_FLAGS = VFIO_IOMMU_INFO_PGSIZES | VFIO_IOMMU_INFO_CAPS;

/** VFIO_IOMMU_GET_INFO with this much room, and whether the kernel wrote beyond it. */
function askInfo(fd: number, room: number) {
  const untouched = 0xaa;
  const bytes = new Uint8Array(INFO_ROOM).fill(untouched);
  bytes.fill(0, 0, room);
  new DataView(bytes.buffer).setUint32(0, room, true);
  const answer = kernelAnswer(fd, VFIO_IOMMU_GET_INFO, bytes);
  const overrun = bytes.subarray(room).some((byte) => byte !== untouched);
  return { answer, overrun, bytes, ...vfio_iommu_type1_info.decode(bytes) };
}

/** Both of the capabilities the kernel has, each once and whole. */
function expectCapabilities(info: Uint8Array, first: number): void {
  const chain = capabilityChain(info, first);
  expect(chain.map(({ id, version }) => ({ id, version }))).toEqual([
    { id: VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL, version: 1 },
    { id: VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, version: 1 },
  ]);
  const [available, ranges] = chain.map(({ bytes }) => bytes);
  if (available === undefined || ranges === undefined) throw new Error("two were counted");
  // Aligned to 8, which the kernel's own struct isn't.
  const length = Math.ceil(vfio_iommu_type1_info_dma_avail.sizeBytes / 8) * 8;
  expect(available.length - ranges.length).toBe(length);
  const header = vfio_iommu_type1_info_cap_iova_range;
  expect(header.decode(ranges).nr_iovas).toBe(1);
  expect(vfio_iova_range.decode(ranges, header.sizeBytes)).toEqual({ start: START, end: mock.apertureLast });
  expect(ranges.length).toBe(header.sizeBytes + vfio_iova_range.sizeBytes);
}

/** The same sixteen in an order without order. */
function shuffled(values: readonly number[]): number[] {
  return values.flatMap((_, i) => values.slice((i * 7 + 3) % values.length).slice(0, 1));
}

const buffer = sharedBuffer();
expectNothingLeft();

describe("an iommufd that is used as a VFIO container", () => {
  let iommufd: Iommufd;
  let container: VfioContainer;
  beforeEach(() => {
    iommufd = Iommufd.open();
    container = VfioContainer.ofIommufd(iommufd);
  });
  afterEach(() => iommufd.close());

  const ask = (request: IoctlRequest, argument: Uint8Array): string =>
    kernelAnswer(iommufd.fd, request, argument);

  test("reports its version and its extensions [iommufd.simple_ioctls]", () => {
    expect(ioctlWithNumber(iommufd.fd, VFIO_GET_API_VERSION, 0)).toBe(VFIO_API_VERSION);
    expect(ioctlWithNumber(iommufd.fd, VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU)).toBe(1);
    expect(container.checkExtension(VFIO_TYPE1v2_IOMMU)).toBe(true);
  });

  test("unmaps nothing while there is no address space [iommufd.unmap_cmd]", () => {
    const range = { iova: mock.apertureStart, size: BigInt(PAGE) };
    const unmap = (values: { argsz?: number; flags?: number }): string =>
      ask(VFIO_IOMMU_UNMAP_DMA, vfio_iommu_type1_dma_unmap.encode({ ...range, ...values }));
    expect(unmap({ argsz: 1 })).toBe("EINVAL");
    expect(unmap({ flags: UNKNOWN_FLAG })).toBe("EINVAL");
    expect(unmap({})).toBe("ENODEV");
    expect(() => container.unmap(mock.apertureStart, PAGE)).toThrow(StateError);
  });

  test("maps nothing while there is no address space [iommufd.map_cmd]", () => {
    const range = { iova: mock.apertureStart, size: BigInt(PAGE), vaddr: BigInt(buffer().address) };
    const map = (values: { argsz?: number; flags?: number }): string =>
      ask(VFIO_IOMMU_MAP_DMA, vfio_iommu_type1_dma_map.encode({ ...range, ...values }));
    expect(map({ argsz: 1 })).toBe("EINVAL");
    expect(map({ flags: UNKNOWN_FLAG })).toBe("EINVAL");
    expect(map({ flags: VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE })).toBe("ENODEV");
    expect(() => container.map(buffer(), mock.apertureStart, "read-write")).toThrow(StateError);
  });

  test("has no information while there is no address space [iommufd.info_cmd]", () => {
    expect(ask(VFIO_IOMMU_GET_INFO, vfio_iommu_type1_info.encode({ argsz: 1 }))).toBe("EINVAL");
    expect(ask(VFIO_IOMMU_GET_INFO, vfio_iommu_type1_info.encode({}))).toBe("ENODEV");
    expect(() => container.info()).toThrow(StateError);
  });

  test("accepts no IOMMU type while there is no address space [iommufd.set_iommu_cmd]", () => {
    for (const type of ["type1v2", "type1"] as const) {
      expect(() => container.setIommu(type)).toThrow(sysError("VFIO_SET_IOMMU", "ENODEV"));
    }
    expect(container.iommuType).toBeUndefined();
  });

  test("uses the address space that it is given [iommufd.vfio_ioas]", () => {
    const get = (): string => ask(IOMMU_VFIO_IOAS, iommu_vfio_ioas.encode({ op: IOMMU_VFIO_IOAS_GET }));
    expect(get()).toBe("ENODEV");
    expect(iommufd.vfioIoasId).toBeUndefined();
    expect(ask(IOMMU_VFIO_IOAS, iommu_vfio_ioas.encode({ op: IOMMU_VFIO_IOAS_SET }))).toBe("ENOENT");

    const ioas = iommufd.allocIoas();
    iommufd.setVfioIoas(ioas);
    expect(iommufd.vfioIoasId).toBe(ioas.id);
    iommufd.setVfioIoas(undefined);
    expect(get()).toBe("ENODEV");
    expect(iommufd.vfioIoasId).toBeUndefined();
  });
});

/** What the kernel's fixture vfio_compat_mock_domain varies. */
const variants = [
  ["Ver1v2", "type1v2"],
  ["Ver1v0", "type1"],
] as const;

describe.each(variants)("an iommufd as the VFIO container of a mock device [%s]", (_, type) => {
  let iommufd: Iommufd;
  let ioas: Ioas;
  let container: VfioContainer;
  beforeEach(() => {
    iommufd = Iommufd.open();
    ioas = iommufd.allocIoas();
    MockDevice.create(ioas);
    iommufd.setVfioIoas(ioas);
    container = VfioContainer.ofIommufd(iommufd);
    container.setIommu(type);
  });
  afterEach(() => iommufd.close());

  test("can be closed with everything in it [vfio_compat_mock_domain.simple_close]", () => {
    container.map(buffer(), START, "read-write");
    iommufd.close();
    expect(container.closed).toBe(true);
    expect(() => expectUnpinned(buffer().address, BUFFER_BYTES)).not.toThrow();
  });

  test("uses large pages unless mappings can be cut [vfio_compat_mock_domain.option_huge_pages]", () => {
    expect(ioas.hugePages).toBe(type === "type1v2");
  });

  test("reports its information as far as the buffer has room [vfio_compat_mock_domain.get_info]", () => {
    const flags = INFO_FLAGS;
    // As it was before capabilities.
    const old = askInfo(iommufd.fd, vfio_iommu_type1_info.offsets.cap_offset);
    expect(old).toMatchObject({ answer: "ok", overrun: false, flags });
    expect(old.iova_pgsizes).not.toBe(0n);
    // No room for any capability: how much there should be.
    const plain = askInfo(iommufd.fd, vfio_iommu_type1_info.sizeBytes);
    expect(plain).toMatchObject({ answer: "ok", overrun: false, flags, cap_offset: 0 });
    expect(plain.iova_pgsizes).not.toBe(0n);
    expect(plain.argsz).toBeGreaterThan(vfio_iommu_type1_info.sizeBytes);

    for (let room = vfio_iommu_type1_info.sizeBytes; room <= plain.argsz; room++) {
      const info = askInfo(iommufd.fd, room);
      expect(info, `${room} bytes`).toMatchObject({
        answer: "ok",
        overrun: false,
        flags,
        argsz: plain.argsz,
      });
      // Either no chain, or one that is whole.
      if (info.cap_offset !== 0) expectCapabilities(info.bytes.subarray(0, room), info.cap_offset);
      if (room === plain.argsz) expect(info.cap_offset).not.toBe(0);
    }
    expect(container.info()).toEqual({
      pageSizes: plain.iova_pgsizes,
      iovaRanges: [{ start: START, last: mock.apertureLast }],
      dmaAvailable: 0xffff_ffff,
      migration: undefined,
    });
  });

  test("can map, and unmap in any order [vfio_compat_mock_domain.map]", () => {
    const memory = buffer();
    container.map(memory, START, "read-write");
    expect(container.unmap(START, BUFFER_BYTES)).toBe(BUFFER_BYTES);
    expect(container.unmap(START, BUFFER_BYTES)).toBe(0);

    // Everything is everything: with a range beside it the kernel refuses.
    container.map(memory, START, "read-write");
    const all = vfio_iommu_type1_dma_unmap.encode({
      flags: VFIO_DMA_UNMAP_FLAG_ALL,
      iova: START,
      size: BigInt(BUFFER_BYTES),
    });
    expect(kernelAnswer(iommufd.fd, VFIO_IOMMU_UNMAP_DMA, all)).toBe("EINVAL");
    expect(container.unmapAll()).toBe(BigInt(BUFFER_BYTES));
    expect(container.unmapAll()).toBe(0n);

    const offsets = Array.from({ length: BUFFER_BYTES / PAGE }, (_page, i) => i * PAGE);
    for (const offset of offsets) {
      const page = { address: memory.address + offset, sizeBytes: PAGE };
      container.map(page, START + BigInt(offset), "read-write");
    }
    for (const offset of shuffled(offsets)) expect(container.unmap(START + BigInt(offset), PAGE)).toBe(PAGE);
  });

  test("can cut a mapping of huge pages only as type1 does [vfio_compat_mock_domain.huge_map]", () => {
    const sizeBytes = 2 * HUGE_PAGE;
    using memory = MappedMemory.anonymous(sizeBytes, { hugePageBytes: HUGE_PAGE, populate: true });
    container.map(memory, START, "read-write");
    const part = sizeBytes / 16;
    for (const i of shuffled(Array.from({ length: 16 }, (_part, n) => n))) {
      const unmap = (): number => container.unmap(START + BigInt(i * part), part);
      if (type === "type1") expect(unmap()).toBe(part);
      else expect(unmap).toThrow(sysError("VFIO_IOMMU_UNMAP_DMA", "ENOENT"));
    }
    expect(container.unmapAll()).toBe(type === "type1" ? 0n : BigInt(sizeBytes));
  });
});
