/** Limits that a namespace tells: of a transfer, of an append, and of reads over the end of a zone. */
import { describe, expect, test } from "vitest";
import { MIB, openController, useEmulatedNvme } from "../../../support/emulated-nvme.js";

useEmulatedNvme();

describe("NvmeNamespace.transferLimitBytes", () => {
  test("is MDTS where blocks have no metadata", async () => {
    const nvme = await openController({ maxTransferBytes: 16_384 });
    expect((await nvme.namespace(1)).transferLimitBytes).toBe(16_384);
  });
});

describe("ZonedNamespace", () => {
  test("appends as much as it transfers where ZASL is 0, and reads over the end of a zone (OZCS bit 0)", async () => {
    const nvme = await openController({ maxTransferBytes: 16_384, zoned: { zoneSizeBytes: MIB } });
    const zoned = await nvme.zonedNamespace(1);
    expect(zoned.appendLimitBytes).toBe(16_384);
    expect(zoned.readsCrossZones).toBe(true);
    // The last block of the first zone and the first of the next.
    using buffer = nvme.dma.alloc(1024);
    await zoned.read(zoned.zoneSizeBlocks - 1n, buffer);
  });
});
