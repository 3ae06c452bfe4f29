import { randomFillSync } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { bindToVfio, NvmeController, type VfioBinding } from "../../../src/index.js";
import { nvmeBdf } from "../../support/functions.js";

describe.each(["iommufd", "type1"] as const)("NVMe through %s", (backend) => {
  let binding: VfioBinding;
  beforeAll(() => {
    binding = bindToVfio(nvmeBdf());
  });
  afterAll(() => binding.close());

  it("reads back what it wrote", async () => {
    await using nvme = await NvmeController.open(nvmeBdf(), { backend });
    const ns = await nvme.namespace(1);
    using written = nvme.dma.alloc(64 * 1024);
    using read = nvme.dma.alloc(64 * 1024);
    randomFillSync(written.bytes);
    await ns.write(0n, written);
    await ns.flush();
    await ns.read(0n, read);
    expect(Buffer.compare(read.bytes, written.bytes)).toBe(0);
  });
});
