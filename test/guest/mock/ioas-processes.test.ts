/** Memory that one process maps and another reaches. */
import { closeSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { MappedMemory } from "../../../src/index.js";
import { memfd } from "../../../src/sys/syscalls.js";
import { sweepAccess } from "../../support/access-sweep.js";
import { ForeignMapping } from "../../support/foreign-mapping.js";
import { expectNothingLeftSoon } from "../../support/holdings-soon.js";
import { BUFFER_BYTES } from "../../support/ioas-buffer.js";
import { IoasScene, ioasVariants } from "../../support/ioas-variants.js";
import { MockAccess, MockDevice, mock } from "../../support/mock.js";
import { expectUnpinned } from "../../support/mock-domain.js";
import { sysAnswer } from "../../support/raw-iommufd.js";
import { byVariant } from "../../support/variants.js";

/** Starting Node takes seconds under emulation. */
const LONG = { timeout: 600_000 };

describe.each(byVariant(ioasVariants))("memory that another process mapped [%s]", LONG, (_, variant) => {
  expectNothingLeftSoon();

  let file: number;
  let memory: MappedMemory;
  beforeEach(() => {
    file = memfd("of two processes", BUFFER_BYTES);
    memory = MappedMemory.ofFile(file, 0, BUFFER_BYTES, "of two processes");
  });
  afterEach(() => {
    expectUnpinned(memory.address, BUFFER_BYTES);
    memory.close();
    closeSync(file);
  });

  test("outlives that process only if a device has it pinned [iommufd_ioas.fork_gone]", async () => {
    using scene = new IoasScene(variant);
    const { ioas } = scene;
    using access = MockAccess.create(ioas, false);
    using mapping = await ForeignMapping.create(ioas, file, mock.apertureStart, BUFFER_BYTES);
    await mapping.end();
    if (variant.devices > 0) {
      using another = MockDevice.create(ioas);
      expect(another.hwptId).toBeGreaterThan(0);
      sweepAccess(access, mock.apertureStart, memory);
    } else {
      // Nobody can look up its pages any more.
      expect(sysAnswer(() => MockDevice.create(ioas))).toBe("EFAULT");
    }
  });

  test("can be reached from this process while it lives [iommufd_ioas.fork_present]", async () => {
    using scene = new IoasScene(variant);
    const { ioas } = scene;
    using access = MockAccess.create(ioas, false);
    using mapping = await ForeignMapping.create(ioas, file, mock.apertureStart, BUFFER_BYTES);
    using device = MockDevice.create(ioas);
    expect(device.hwptId).toBeGreaterThan(0);
    sweepAccess(access, mock.apertureStart, memory);
    await mapping.end();
  });
});
