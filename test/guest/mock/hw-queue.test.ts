/** Hardware queues of a virtual IOMMU. */
import { describe, expect, test } from "vitest";
import { MappedMemory } from "../../../src/index.js";
import { IOMMU_HW_QUEUE_ALLOC, iommu_hw_queue_alloc } from "../../../src/iommufd/uapi-viommu.js";
import { sysError } from "../../support/errors.js";
import { expectNothingLeft } from "../../support/holdings.js";
import { mock } from "../../support/mock.js";
import { PAGE } from "../../support/mock-domain.js";
import { MockNesting } from "../../support/mock-nesting.js";
import { destroyAnswer, kernelAnswer } from "../../support/raw-iommufd.js";

const TYPE = mock.hwQueueType;
const HALF = PAGE / 2;

describe("a queue for the IOMMU's hardware [mock_viommu]", () => {
  expectNothingLeft();

  test("owns its memory and has an index [iommufd_viommu.hw_queue]", () => {
    using nesting = new MockNesting();
    const { iommufd, ioas, viommu } = nesting;
    const refused = (code: string): unknown => sysError("IOMMU_HW_QUEUE_ALLOC", code);
    const at = mock.apertureStart;
    expect(() => viommu.allocHwQueue(0, 0, at, PAGE)).toThrow(refused("EOPNOTSUPP"));
    expect(() => viommu.allocHwQueue(TYPE, 0, at, 0)).toThrow(
      expect.objectContaining({ code: "ERR_IOVA_ARGUMENT" }),
    );
    const empty = iommu_hw_queue_alloc.encode({
      viommu_id: viommu.id,
      type: TYPE,
      nesting_parent_iova: at,
      length: 0n,
    });
    expect(kernelAnswer(iommufd.fd, IOMMU_HW_QUEUE_ALLOC, empty)).toBe("EINVAL");
    expect(() => viommu.allocHwQueue(TYPE, 0, 2n ** 64n - 1n, PAGE)).toThrow(refused("EOVERFLOW"));
    expect(() => viommu.allocHwQueue(TYPE, 0, at, PAGE)).toThrow(refused("ENOENT"));

    using memory = MappedMemory.anonymous(2 * PAGE);
    const first = ioas.map({ address: memory.address, sizeBytes: PAGE });
    const second = ioas.map({ address: memory.address + PAGE, sizeBytes: PAGE });
    expect(() => viommu.allocHwQueue(TYPE, 1, first, PAGE)).toThrow(refused("EIO"));
    expect(() => viommu.allocHwQueue(TYPE, mock.hwQueueMax, first, PAGE)).toThrow(refused("EINVAL"));

    using queue = viommu.allocHwQueue(TYPE, 0, first, PAGE);
    expect(queue).toMatchObject({ index: 0, viommu });
    expect(() => viommu.allocHwQueue(TYPE, 0, first, PAGE)).toThrow(refused("EEXIST"));
    expect(() => ioas.unmap(first, PAGE)).toThrow(sysError("IOMMU_IOAS_UNMAP", "EBUSY"));
    expect(ioas.unmap(second, PAGE)).toBe(PAGE);

    // In the middle of a page, and then the first can't go before it.
    using next = viommu.allocHwQueue(TYPE, 1, first + BigInt(HALF), HALF);
    expect(destroyAnswer(iommufd.fd, queue.id)).toBe("EBUSY");
    next.close();
    queue.close();
    expect(destroyAnswer(iommufd.fd, queue.id)).toBe("ENOENT");
    expect(ioas.unmap(first, PAGE)).toBe(PAGE);
  });

  test("closes those with higher indexes when it is closed", () => {
    using nesting = new MockNesting();
    const { iommufd, ioas, viommu } = nesting;
    using memory = MappedMemory.anonymous(PAGE);
    const at = ioas.map(memory);
    const queue = viommu.allocHwQueue(TYPE, 0, at, HALF);
    const next = viommu.allocHwQueue(TYPE, 1, at + BigInt(HALF), HALF);
    queue.close();
    expect(next.closed).toBe(true);
    expect(destroyAnswer(iommufd.fd, next.id)).toBe("ENOENT");
    expect(destroyAnswer(iommufd.fd, queue.id)).toBe("ENOENT");
    // Once more, and without index 1: Linux 7.3.4's mock never marks that one as free again.
    viommu.allocHwQueue(TYPE, 0, at, HALF).close();
    expect(ioas.unmap(at, PAGE)).toBe(PAGE);
  });
});
