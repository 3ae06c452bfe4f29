/** Virtual devices of a virtual IOMMU. */
import { describe, expect, test } from "vitest";
import type { Vevent } from "../../../src/doors/iommufd.js";
import { IOMMU_VEVENTQ_ALLOC, iommu_veventq_alloc } from "../../../src/iommufd/uapi-viommu.js";
import { read } from "../../../src/sys/syscalls.js";
import { sysError } from "../../support/errors.js";
import { expectNothingLeft } from "../../support/holdings.js";
import { MockDevice, mock } from "../../support/mock.js";
import { MockNesting } from "../../support/mock-nesting.js";
import { destroyAnswer, kernelAnswer, sysAnswer } from "../../support/raw-iommufd.js";

const MAX_DEPTH = 2 ** 19;
const QUEUE = { type: mock.veventqType, depth: 2, eventBytes: 4 };
const wrongArgument = expect.objectContaining({ code: "ERR_IOVA_ARGUMENT" });

/** The mock's events carry the guest's name of the device. */
function virtualIds(events: readonly Vevent[]): unknown[] {
  return events.map((event) =>
    event.kind === "event"
      ? new DataView(event.data.buffer, event.data.byteOffset).getUint32(0, true)
      : "lost",
  );
}

describe("a virtual device [mock_viommu]", () => {
  expectNothingLeft();

  test("reports events under the id that the guest gave it [iommufd_viommu.vdevice_alloc]", () => {
    using nesting = new MockNesting();
    const { iommufd, ioas, device, viommu, nested } = nesting;
    expect(sysAnswer(() => device.replace(nested))).toBe("ENOENT");

    for (const depth of [0, MAX_DEPTH + 1]) {
      expect(() => viommu.allocVeventq({ ...QUEUE, depth })).toThrow(wrongArgument);
      const request = iommu_veventq_alloc.encode({
        viommu_id: viommu.id,
        type: mock.veventqType,
        veventq_depth: depth,
      });
      expect(kernelAnswer(iommufd.fd, IOMMU_VEVENTQ_ALLOC, request)).toBe("EINVAL");
    }
    viommu.allocVeventq({ ...QUEUE, depth: MAX_DEPTH }).close();

    using queue = viommu.allocVeventq(QUEUE);
    expect(() => viommu.allocVeventq(QUEUE)).toThrow(sysError("IOMMU_VEVENTQ_ALLOC", "EEXIST"));
    // Less than a header can't be read, whether there is something or not.
    for (const length of [0, 7]) {
      expect(() => read(queue.fd, new Uint8Array(length))).toThrow(sysError("read", "EINVAL"));
    }
    // Enough for one and nothing there: no end of file.
    expect(read(queue.fd, new Uint8Array(64))).toBe(0);
    expect(queue.take()).toEqual([]);

    using first = viommu.allocVdevice(device, 0x99n);
    device.replace(nested);
    device.triggerVevent();
    for (const length of [0, 7, 8]) {
      expect(() => read(queue.fd, new Uint8Array(length))).toThrow(sysError("read", "EINVAL"));
    }
    const one = queue.take();
    expect(virtualIds(one)).toEqual([0x99]);
    expect(() => viommu.allocVdevice(device, 0x99n)).toThrow(sysError("IOMMU_VDEVICE_ALLOC", "EEXIST"));
    expect(() => viommu.allocVdevice(device, 0x98n)).toThrow(sysError("IOMMU_VDEVICE_ALLOC", "EEXIST"));
    device.replace(ioas);
    first.close();

    using second = viommu.allocVdevice(device, 0x88n);
    expect(second.virtualId).toBe(0x88n);
    device.replace(nested);
    for (let i = 0; i < 3; i++) device.triggerVevent();
    const overflown = queue.take();
    expect(virtualIds(overflown)).toEqual([0x88, 0x88, "lost"]);
    device.triggerVevent();
    const after = queue.take();
    expect(virtualIds(after)).toEqual([0x88]);
    // One number for each event, and what was lost leaves a gap in them or has the number of the news of it.
    const sequences = [...one, ...overflown, ...after].map(({ sequence }) => sequence);
    expect(sequences.slice(0, 3)).toEqual([0, 1, 2]);
    expect(sequences.at(-1)).toBe(4);

    device.replace(ioas);
    second.close();
    queue.close();
    expect(destroyAnswer(iommufd.fd, queue.id)).toBe("ENOENT");
  });

  test("has an id of its own in its virtual IOMMU", () => {
    using nesting = new MockNesting();
    const { ioas, device, viommu } = nesting;
    using another = MockDevice.create(ioas);
    using vdevice = viommu.allocVdevice(device, 2n ** 64n - 1n);
    expect(vdevice.virtualId).toBe(2n ** 64n - 1n);
    expect(() => viommu.allocVdevice(another, 2n ** 64n - 1n)).toThrow(
      sysError("IOMMU_VDEVICE_ALLOC", "EEXIST"),
    );
    using other = viommu.allocVdevice(another, 0n);
    expect(other.id).not.toBe(vdevice.id);
    for (const name of [-1n, 2n ** 64n]) {
      expect(() => viommu.allocVdevice(another, name)).toThrow(wrongArgument);
    }
  });

  test("rejects an event queue of an invalid type or size", () => {
    using nesting = new MockNesting();
    const { viommu } = nesting;
    expect(() => viommu.allocVeventq({ type: mock.veventqType, depth: 2 })).toThrow(wrongArgument);
    expect(() => viommu.allocVeventq({ ...QUEUE, type: -1 })).toThrow(wrongArgument);
    expect(() => viommu.allocVeventq({ ...QUEUE, eventBytes: -1 })).toThrow(wrongArgument);
    expect(() => viommu.allocVeventq({ ...QUEUE, type: 0 })).toThrow(
      sysError("IOMMU_VEVENTQ_ALLOC", "EOPNOTSUPP"),
    );
    using queue = viommu.allocVeventq(QUEUE);
    queue.close();
    expect(() => queue.take()).toThrow(expect.objectContaining({ code: "ERR_IOVA_CLOSED" }));
  });
});
