/** What is no memory for a command is rejected, and so is memory that no device can reach where the library doesn't copy. */
import { expect, test } from "vitest";
import { ArgumentError } from "../../../../src/index.js";
import { caught } from "../../../support/caught.js";
import { openController, useEmulatedNvme } from "../../../support/emulated-nvme.js";

useEmulatedNvme();

const bytes = Buffer.alloc(4096);
/** Wrong types, as a JavaScript program may pass them. */
const foreign: readonly [string, unknown][] = [
  ["an ArrayBuffer", bytes.buffer],
  ["other typed arrays", new Uint32Array(1024)],
  ["a list of Buffers and something else", [bytes, { bitBucketBytes: 512 }]],
  ["a range of a Buffer", { buffer: bytes }],
  ["a list with nothing in it", [undefined]],
  ["text", "data"],
  ["nothing", undefined],
  ["null", null],
];

test.each(foreign)("%s is rejected, and nothing is sent", async (_, memory) => {
  const nvme = await openController({});
  const ns = await nvme.namespace(1);
  const before = nvme.queues.map(({ outstanding }) => outstanding);
  for (const method of [ns.read, ns.write, ns.compare]) {
    const attempt: Promise<unknown> = Reflect.apply(method, ns, [0n, memory]);
    const error = await caught(attempt);
    expect(error).toBeInstanceOf(ArgumentError);
    expect(error).toMatchObject({ message: expect.stringContaining("DmaBuffer") });
  }
  expect(nvme.queues.map(({ outstanding }) => outstanding)).toEqual(before);
});

test("a Buffer is rejected by commands that the library sends as they are", async () => {
  const nvme = await openController({});
  const attempt: Promise<unknown> = Reflect.apply(nvme.io, nvme, [
    { opcode: 2, nsid: 1, cdw12: 7, data: { buffer: bytes } },
  ]);
  expect(await caught(attempt)).toMatchObject({ message: expect.stringContaining("DmaBuffer") });
});
