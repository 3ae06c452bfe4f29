/** Access to mappings from inside the kernel, beside devices. */
import { describe, expect, test } from "vitest";
import { MappedMemory } from "../../../src/index.js";
import { sweepAccess } from "../../support/access-sweep.js";
import { expectNothingLeft } from "../../support/holdings.js";
import { BUFFER_BYTES, sharedBuffer } from "../../support/ioas-buffer.js";
import { IoasScene, ioasVariants } from "../../support/ioas-variants.js";
import { checkMap, MockAccess, MockDevice, mock } from "../../support/mock.js";
import { HUGE_PAGE, PAGE } from "../../support/mock-domain.js";
import { sysAnswer } from "../../support/raw-iommufd.js";
import { byVariant } from "../../support/variants.js";

const READ_ONLY = 0;
/** Sweeps make tens of thousands of calls, and pinning huge pages is slow, under emulation. */
const LONG = { timeout: 600_000 };

const buffer = sharedBuffer();
expectNothingLeft();

describe.each(byVariant(ioasVariants))("a user of mappings inside the kernel [%s]", LONG, (_, variant) => {
  test("keeps its part of a huge page when the device is detached [iommufd_ioas.access_domain_destory]", () => {
    using scene = new IoasScene(variant);
    const { ioas, base, devices } = scene;
    const sizeBytes = 2 * HUGE_PAGE;
    using memory = MappedMemory.anonymous(sizeBytes, { hugePageBytes: HUGE_PAGE, populate: true });
    ioas.map(memory, { iova: base });
    using access = MockAccess.create(ioas);
    const pages = access.pin(base + BigInt(PAGE), PAGE, memory.address + PAGE, READ_ONLY);
    // What it lets go is in two huge pages, but for a page in the middle of one.
    devices.at(-1)?.close();
    expect(sysAnswer(() => access.unpin(pages))).toBe("ok");
    expect(sysAnswer(() => access.unpin(pages))).toBe("ENOENT");
    access.close();
    expect(ioas.unmapAll()).toBe(BigInt(sizeBytes));
  });

  test("pins beside others, and while devices are attached and detached [iommufd_ioas.access_pin]", () => {
    using scene = new IoasScene(variant);
    const { iommufd, ioas } = scene;
    const { address } = buffer();
    const at = mock.apertureStart;
    using access = MockAccess.create(ioas);
    for (let length = PAGE; length < BUFFER_BYTES; length += PAGE) {
      const pin = (): number => access.pin(at, length, address, READ_ONLY);
      ioas.map(buffer(), { iova: at });
      access.unpin(pin());

      const first = pin();
      access.unpin(pin());
      access.unpin(first);

      const beside = pin();
      const device = MockDevice.create(ioas);
      const table = { iommufd, id: device.hwptId };
      expect(() => checkMap(table, at, BUFFER_BYTES, address)).not.toThrow();
      device.close();
      access.unpin(beside);
      expect(ioas.unmap(at, BUFFER_BYTES)).toBe(BUFFER_BYTES);
    }
  });

  test("is notified when its pages are unmapped [iommufd_ioas.access_pin_unmap]", () => {
    using scene = new IoasScene(variant);
    const { ioas } = scene;
    using access = MockAccess.create(ioas);
    ioas.map(buffer(), { iova: mock.apertureStart });
    const pages = access.pin(mock.apertureStart, BUFFER_BYTES, buffer().address, READ_ONLY);
    expect(ioas.unmap(mock.apertureStart, BUFFER_BYTES)).toBe(BUFFER_BYTES);
    expect(sysAnswer(() => access.unpin(pages))).toBe("ENOENT");
  });

  test("reads and writes any bytes [iommufd_ioas.access_rw]", () => {
    using scene = new IoasScene(variant);
    const { ioas } = scene;
    using access = MockAccess.create(ioas, false);
    const at = ioas.map(buffer());
    sweepAccess(access, at, buffer());
    sweepAccess(access, at, buffer(), true);
    expect(ioas.unmap(at, BUFFER_BYTES)).toBe(BUFFER_BYTES);
  });

  test("reads and writes memory that isn't page-aligned [iommufd_ioas.access_rw_unaligned]", () => {
    using scene = new IoasScene(variant);
    const { ioas } = scene;
    using access = MockAccess.create(ioas, false);
    const at = scene.base + BigInt(mock.pageSizeBytes);
    ioas.map(buffer(), { iova: at });
    sweepAccess(access, at, buffer());
    expect(ioas.unmap(at, BUFFER_BYTES)).toBe(BUFFER_BYTES);
  });
});
