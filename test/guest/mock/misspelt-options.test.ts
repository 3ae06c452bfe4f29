/** Misspelt options of iommufd's objects. test/unit/misspelt-options.test.ts says which functions need a line here. */
import { expect, test } from "vitest";
import { DevicePageTables, IoasMapper } from "../../../src/doors/iommufd.js";
import { ArgumentError, DmaSpace } from "../../../src/index.js";
import { caught } from "../../support/caught.js";
import { expectNothingLeft } from "../../support/holdings.js";
import { mock, mockHwptData } from "../../support/mock.js";
import { MockNesting } from "../../support/mock-nesting.js";

expectNothingLeft();

/** What a program in JavaScript may give. */
const misspelt = { misspelt: true } as never;

test("a misspelt option of iommufd's objects is an ArgumentError that names it", async () => {
  using nesting = new MockNesting();
  const { iommufd, ioas, device, parent, viommu } = nesting;
  const faults = iommufd.allocFaultQueue();
  const events = viommu.allocVeventq({ type: mock.veventqType, depth: 4, eventBytes: 4 });
  const memory = { address: 0x1000_0000, sizeBytes: 4096 };
  using dma = new DmaSpace(new IoasMapper(ioas));
  const tables = new DevicePageTables(device, dma);
  const calls: Readonly<Record<string, () => unknown>> = {
    "DevicePageTables.alloc(options)": () => tables.alloc(misspelt),
    "DevicePageTables.attach(options)": () => tables.attach(dma, misspelt),
    "DevicePageTables.detach(options)": () => tables.detach(misspelt),
    "FaultQueue.values(options)": () => faults.values(misspelt),
    "PagingHwpt.allocNested(options)": () => parent.allocNested(device, mockHwptData(0), misspelt),
    "PagingHwpt.readDirty(options)": () => parent.readDirty(0n, 4096, 4096, misspelt),
    "Ioas.map(options)": () => ioas.map(memory, misspelt),
    "Ioas.mapAsync(options)": () => ioas.mapAsync(memory, misspelt),
    "Ioas.mapFile(options)": () => ioas.mapFile(0, 0, 4096, misspelt),
    "Ioas.copyFrom(options)": () => ioas.copyFrom(ioas, 0n, 4096, misspelt),
    "Ioas.allocHwpt(options)": () => ioas.allocHwpt(device, misspelt),
    "Veventq.values(options)": () => events.values(misspelt),
    "Viommu.allocNested(options)": () => viommu.allocNested(device, mockHwptData(0), misspelt),
    "Viommu.allocVeventq(options)": () => viommu.allocVeventq(misspelt),
  };
  for (const [name, call] of Object.entries(calls)) {
    const error = await caught((async () => await call())());
    expect(error, name).toBeInstanceOf(ArgumentError);
    expect(error, name).toMatchObject({
      message: expect.stringMatching(/no option "misspelt": there are \w/),
    });
  }
});
