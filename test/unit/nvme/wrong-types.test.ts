/** Lists, ranges and bytes of another type than the NVMe driver takes: each is refused by an ArgumentError, before a command. */
import { expect, test } from "vitest";
import { contentsOf } from "../../../src/doors/nvme.js";
import { ArgumentError } from "../../../src/index.js";
import { caught } from "../../support/caught.js";
import { openController, useEmulatedNvme } from "../../support/emulated-nvme.js";

useEmulatedNvme();

/** What a program in JavaScript may give. */
const wrong = (value: unknown): never => value as never;

test("what isn't a list, a length or bytes is an ArgumentError", async () => {
  const nvme = await openController();
  const ns = await nvme.namespace(1);
  await using file = ns.openFile();
  using buffer = nvme.dma.alloc(4096);
  const detached = new Uint8Array(8);
  structuredClone(detached.buffer, { transfer: [detached.buffer] });
  const odd = [null, 5, {}, Symbol("s"), 1n];
  const calls = [
    ...[null, 5, {}].flatMap((value) => [
      () => nvme.namespaceManagement.attach(1, wrong(value)),
      () => nvme.namespaceManagement.detach(1, wrong(value)),
      () => nvme.features.structures.setFdpEvents(1, 0, wrong(value), true),
      () => nvme.features.structures.setLbaRanges(1, wrong(value)),
      () => ns.copy(0, wrong(value)),
      () => ns.deallocate(wrong(value)),
      () => nvme.namespaceManagement.create({ sizeBlocks: 1n, placementHandles: wrong(value) }),
    ]),
    ...[Symbol("s"), "1", {}].map((value) => () => file.read({ position: wrong(value) })),
    ...odd.flatMap((value) => [
      () => ns.read(0, [{ buffer, length: wrong(value) }]),
      () => ns.readRange(0, [{ bitBucketBytes: wrong(value) }]),
      () => ns.write(0, [{ buffer, offset: wrong(value) }]),
      () => ns.compareAndWrite(0, buffer, [{ buffer, length: wrong(value) }]),
    ]),
    ...[null, 5, "x"].flatMap((value) => [
      () => nvme.createQueuePair({ memory: wrong(value) }),
      () => nvme.logs.readGrowing(2, 512, wrong(value)),
    ]),
    ...[Symbol("s"), "x", {}, 5n, Number.NaN, 2 ** 33].map(
      (value) => () => nvme.logs.readGrowing(2, 512, () => wrong(value)),
    ),
    ...[undefined, null, "x", {}, 5n].map((value) => () => contentsOf(wrong(value))),
    () => ns.write(0, buffer, { offset: wrong(2n ** 64n) }),
    () => file.read(detached),
    () => file.write(detached),
  ];
  for (const call of calls) expect(await caught(call), call.toString()).toBeInstanceOf(ArgumentError);
});
