/** How an IOAS ends: by itself, with its iommufd, with devices and mappings. */
import { describe, expect, test } from "vitest";
import { IOMMUFD_PATH } from "../../../src/iommufd/iommufd.js";
import {
  IOMMU_IOAS_ALLOC,
  IOMMU_IOAS_MAP,
  IOMMU_IOAS_MAP_FIXED_IOVA,
  IOMMU_IOAS_MAP_READABLE,
  IOMMU_IOAS_MAP_WRITEABLE,
  iommu_ioas_alloc,
  iommu_ioas_map,
} from "../../../src/iommufd/uapi.js";
import { close, O_RDWR, open } from "../../../src/sys/syscalls.js";
import { sysError } from "../../support/errors.js";
import { expectNothingLeft } from "../../support/holdings.js";
import { sharedBuffer } from "../../support/ioas-buffer.js";
import { IoasScene, type IoasVariant, ioasVariants } from "../../support/ioas-variants.js";
import { mock, TestOp, testCommand } from "../../support/mock.js";
import { expectUnpinned, PAGE } from "../../support/mock-domain.js";
import { destroyAnswer, kernelAnswer } from "../../support/raw-iommufd.js";
import { byVariant } from "../../support/variants.js";

const buffer = sharedBuffer();
expectNothingLeft();

/** As a program that dies leaves it: objects that nobody destroys, on a descriptor that goes. @returns answers */
function abandon({ devices, pasid }: IoasVariant, areas: number): string[] {
  const fd = open(IOMMUFD_PATH, O_RDWR);
  const alloc = iommu_ioas_alloc.encode({});
  const answers = [kernelAnswer(fd, IOMMU_IOAS_ALLOC, alloc)];
  const id = iommu_ioas_alloc.get(alloc, "out_ioas_id");
  for (let i = 0; i < devices; i++) testCommand(fd, TestOp.mockDomain, id, []);
  if (pasid) testCommand(fd, TestOp.mockDomainFlags, id, [[12, 4]]);
  for (let i = 0; i < areas; i++) {
    const map = iommu_ioas_map.encode({
      flags: IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE,
      ioas_id: id,
      user_va: BigInt(buffer().address),
      length: BigInt(PAGE),
      iova: mock.apertureStart + BigInt(i * PAGE),
    });
    answers.push(kernelAnswer(fd, IOMMU_IOAS_MAP, map));
  }
  close(fd);
  return answers;
}

describe.each(byVariant(ioasVariants))("the end of an address space [%s]", (_, variant) => {
  test("comes with the end of its iommufd [iommufd_ioas.ioas_auto_destroy]", () => {
    const scene = new IoasScene(variant);
    scene[Symbol.dispose]();
    expect(scene.ioas.closed).toBe(true);
    expect(scene.devices.every(({ closed }) => closed)).toBe(true);
    expect(abandon(variant, 0)).toEqual(["ok"]);
  });

  test("waits until no device uses it [iommufd_ioas.ioas_destroy]", () => {
    using scene = new IoasScene(variant);
    const { iommufd, ioas, devices } = scene;
    if (devices.length > 0) {
      expect(destroyAnswer(iommufd.fd, ioas.id)).toBe("EBUSY");
      expect(() => ioas.close()).toThrow(sysError("IOMMU_DESTROY", "EBUSY"));
    } else {
      ioas.close();
      expect(destroyAnswer(iommufd.fd, ioas.id)).toBe("ENOENT");
    }
  });

  test("doesn't wait for mappings [iommufd_ioas.ioas_area_destroy]", () => {
    using scene = new IoasScene(variant);
    const { iommufd, ioas, devices, base } = scene;
    ioas.map({ address: buffer().address, sizeBytes: PAGE }, { iova: base });
    if (devices.length > 0) {
      expect(destroyAnswer(iommufd.fd, ioas.id)).toBe("EBUSY");
    } else {
      ioas.close();
      expect(destroyAnswer(iommufd.fd, ioas.id)).toBe("ENOENT");
    }
  });

  test("removes all mappings [iommufd_ioas.ioas_area_auto_destroy]", () => {
    const scene = new IoasScene(variant);
    const page = { address: buffer().address, sizeBytes: PAGE };
    for (let i = 0; i < 10; i++) scene.ioas.map(page, { iova: scene.base + BigInt(i * PAGE) });
    scene[Symbol.dispose]();
    expect(() => expectUnpinned(page.address, PAGE)).not.toThrow();
    expect(abandon(variant, 10)).toEqual(Array.from({ length: 11 }, () => "ok"));
    expect(() => expectUnpinned(page.address, PAGE)).not.toThrow();
  });
});
