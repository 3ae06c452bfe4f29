/** Copy between namespaces: descriptor formats 2 and 3. */
import { randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import { ArgumentError, NvmeError, UnsupportedError } from "../../../../src/index.js";
import { encodeCopyRanges } from "../../../../src/nvme/namespace/dataset.js";
import { NvmeStatus } from "../../../../src/nvme/spec/status.js";
import { caught } from "../../../support/caught.js";
import { openController, useEmulatedNvme } from "../../../support/emulated-nvme.js";

useEmulatedNvme();

test("ranges of several namespaces are copied to one, once the host has enabled that", async () => {
  const nvme = await openController({ namespaces: 3 });
  const [one, two, three] = [await nvme.namespace(1), await nvme.namespace(2), await nvme.namespace(3)];
  const [a, b, c] = [randomBytes(1024), randomBytes(512), randomBytes(512)];
  await one.write(0, a);
  await two.write(7, b);
  await three.write(100, c);
  const ranges = [
    { lba: 0, blocks: 2, nsid: 1 },
    { lba: 7, blocks: 1, nsid: 2 },
    { lba: 100n, blocks: 1 },
  ];
  const early = await caught(three.copy(8, ranges));
  expect(early instanceof NvmeError && early.status).toBe("Invalid Field in Command");
  await nvme.features.structures.setHostBehavior({ cdfe: 0b1100 });
  await three.copy(8, ranges);
  expect((await three.read(8, 2048)).equals(Buffer.concat([a, b, c]))).toBe(true);
  const missing = await caught(three.copy(8, [{ lba: 0, blocks: 1, nsid: 9 }]));
  expect(missing instanceof NvmeError && missing.status).toBe("Invalid Namespace or Format");
});

test("a source of another format is refused by the controller", async () => {
  const nvme = await openController({ namespaces: 2, sizeBytes: 8 << 20 });
  await nvme.maintenance.format(2, { lbaFormat: await formatOf(nvme, 4096) });
  await nvme.features.structures.setHostBehavior({ cdfe: 0b100 });
  const refused = await caught((await nvme.namespace(1)).copy(0, [{ lba: 0, blocks: 1, nsid: 2 }]));
  expect(refused instanceof NvmeError && (refused.statusCodeType << 8) | refused.statusCode).toBe(
    NvmeStatus.incompatibleNamespace,
  );
});

async function formatOf(nvme: Awaited<ReturnType<typeof openController>>, bytes: number): Promise<number> {
  const { identify } = await nvme.namespace(1);
  return identify.lbaf.findIndex(
    ({ blockSizeBytes, metadataBytes }) => blockSizeBytes === bytes && metadataBytes === 0,
  );
}

test("a range that names a namespace doesn't fit formats 0 and 1, and format 3 only where the controller has it", async () => {
  const ns = await (await openController()).namespace(1);
  const range = { lba: 0, blocks: 1, nsid: 1 };
  for (const format of [0, 4 as 0, "2" as unknown as 0] as const)
    expect(await caught(ns.copy(8, [range], { format }))).toBeInstanceOf(ArgumentError);
  expect(await caught(ns.copy(8, [{ ...range, nsid: 0 }]))).toBeInstanceOf(ArgumentError);
  expect(await caught(ns.copy(8, [range], { format: 3 }))).toBeInstanceOf(UnsupportedError);
});

test("descriptors of formats 2 and 3 are those of the specification", () => {
  const range = { lba: 0x1234n, blocks: 16, nsid: 5, fastOnly: true };
  const two = Buffer.from(encodeCopyRanges([range, { lba: 1, blocks: 1 }], 2, undefined, 9));
  expect(two).toHaveLength(64);
  expect([two.readUInt32LE(0), two.readBigUInt64LE(8), two.readUInt16LE(16), two.readUInt16LE(22)]).toEqual([
    5,
    0x1234n,
    15,
    0x8000,
  ]);
  expect([two.readUInt32LE(32), two.readUInt16LE(54)]).toEqual([9, 0]);
  const three = Buffer.from(encodeCopyRanges([range], 3, undefined, 9));
  expect(three).toHaveLength(40);
  expect([three.readUInt32LE(0), three.readUInt16LE(22)]).toEqual([5, 0x8000]);
});
