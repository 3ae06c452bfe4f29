/** Misspelt options of NVMe's methods and of memory: an ArgumentError names the option and the known ones. */
import { expect, test } from "vitest";
import { MappedMemory } from "../../../src/index.js";
import { FeatureId } from "../../../src/nvme/spec/opcodes.js";
import { caught } from "../../support/caught.js";
import { MIB, openController, useEmulatedNvme } from "../../support/emulated-nvme.js";

useEmulatedNvme();

/** What a program in JavaScript may give: right options, and one that doesn't exist. */
const misspelt = { misspelt: true } as never;

test("a misspelt option of each method that takes options is an ArgumentError that names it and the known ones", async () => {
  const nvme = await openController({ zoned: { zoneSizeBytes: MIB } });
  const ns = await nvme.zonedNamespace(1);
  using buffer = nvme.dma.alloc(4096);
  const { logs, features } = nvme;
  const calls: (() => unknown)[] = [
    () => MappedMemory.anonymous(4096, misspelt),
    () => MappedMemory.memfd(4096, misspelt),
    () => MappedMemory.memfd(4096, { transparentHugePages: true } as never),
    () => nvme.dma.alloc(4096, misspelt),
    () => nvme.io({ opcode: 0, nsid: 1 }, misspelt),
    () => nvme.admin({ opcode: 6 }, misspelt),
    () => logs.read(2, 512, misspelt),
    () => logs.telemetry.host(misspelt),
    () => features.get(FeatureId.arbitration, misspelt),
    () => features.set(FeatureId.arbitration, 0, misspelt),
    () => ns.read(0, buffer, misspelt),
    () => ns.write(0, buffer, misspelt),
    () => ns.compare(0, buffer, misspelt),
    () => ns.writeZeroes(0, 1, misspelt),
    () => ns.flush(misspelt),
    () => ns.readRange(0, buffer, misspelt),
    () => ns.writeRange(0, buffer, misspelt),
    () => ns.chunks(0, 1, misspelt),
    () => ns.createReadStream(misspelt),
    () => ns.createWriteStream(misspelt),
    () => ns.append(0, buffer, misspelt),
    () => ns.zones(misspelt),
    () => ns.datasetManagement([{ lba: 0, blocks: 1 }], misspelt),
  ];
  for (const call of calls) {
    const error = await caught((async () => await call())());
    expect(error, String(call)).toMatchObject({
      code: "ERR_IOVA_ARGUMENT",
      message: expect.stringMatching(/has no option "(misspelt|transparentHugePages)": there are \w/),
    });
  }
});
