/** dma-bufs that are mapped in an IOAS and revoked. */
import { closeSync } from "node:fs";
import { describe, expect, test } from "vitest";
import type { Iommufd } from "../../../src/doors/iommufd.js";
import { ArgumentError } from "../../../src/index.js";
import {
  IOMMU_IOAS_MAP_FILE,
  IOMMU_IOAS_MAP_READABLE,
  IOMMU_IOAS_MAP_WRITEABLE,
  iommu_ioas_map_file,
} from "../../../src/iommufd/uapi.js";
import { sysError } from "../../support/errors.js";
import { expectNothingLeft } from "../../support/holdings.js";
import { deviceVariants, IoasScene, ioasVariants } from "../../support/ioas-variants.js";
import { mockDmaBuf, revokeDmaBuf } from "../../support/mock.js";
import { PAGE } from "../../support/mock-domain.js";
import { kernelAnswer } from "../../support/raw-iommufd.js";
import { byVariant } from "../../support/variants.js";

const SIZE = 4 * PAGE;

expectNothingLeft();

function dmaBuf(iommufd: Iommufd): { fd: number } & Disposable {
  const fd = mockDmaBuf(iommufd, SIZE);
  return { fd, [Symbol.dispose]: () => closeSync(fd) };
}

describe.each(byVariant(ioasVariants))("a dma-buf [%s]", (_, variant) => {
  test("can be mapped up to its end [iommufd_ioas.dmabuf_simple]", () => {
    using scene = new IoasScene(variant);
    const { iommufd, ioas } = scene;
    using buffer = dmaBuf(iommufd);
    expect(() => ioas.mapFile(buffer.fd, 0, 0)).toThrow(ArgumentError);
    const nothing = iommu_ioas_map_file.encode({
      flags: IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE,
      ioas_id: ioas.id,
      fd: buffer.fd,
    });
    expect(kernelAnswer(iommufd.fd, IOMMU_IOAS_MAP_FILE, nothing)).toBe("EINVAL");
    const beyond = sysError("IOMMU_IOAS_MAP_FILE", "EINVAL");
    expect(() => ioas.mapFile(buffer.fd, SIZE, SIZE)).toThrow(beyond);
    expect(() => ioas.mapFile(buffer.fd, 0, SIZE + 1)).toThrow(beyond);
    const at = ioas.mapFile(buffer.fd, 0, SIZE);
    expect(ioas.unmap(at, SIZE)).toBe(SIZE);
  });

  test("can't be mapped while it is revoked [iommufd_ioas.dmabuf_revoke]", () => {
    using scene = new IoasScene(variant);
    const { iommufd, ioas } = scene;
    using buffer = dmaBuf(iommufd);
    const at = ioas.mapFile(buffer.fd, 0, SIZE);
    revokeDmaBuf(iommufd, buffer.fd, true);
    // A mapping of it doesn't stand in the way of another page table.
    if (deviceVariants.includes(variant)) ioas.allocHwpt(scene.device);
    const map = (): bigint => ioas.mapFile(buffer.fd, 0, SIZE);
    expect(map).toThrow(sysError("IOMMU_IOAS_MAP_FILE", "ENODEV"));

    revokeDmaBuf(iommufd, buffer.fd, false);
    expect(map()).not.toBe(at);
    // What it lost when it was taken back comes only with a new mapping.
    expect(ioas.unmap(at, SIZE)).toBe(SIZE);
    expect(ioas.mapFile(buffer.fd, 0, SIZE, { iova: at })).toBe(at);
  });
});
