/** Memory that the library didn't allocate is rejected everywhere: no device can reach it, and V8 may move it. */
import { expect, test } from "vitest";
import { ArgumentError } from "../../../../src/index.js";
import { caught } from "../../../support/caught.js";
import { openController, useEmulatedNvme } from "../../../support/emulated-nvme.js";

useEmulatedNvme();

const bytes = Buffer.alloc(4096);
/** Wrong types, as a JavaScript program may pass them. */
const foreign: readonly [string, unknown][] = [
  ["a Buffer", bytes],
  ["an ArrayBuffer", bytes.buffer],
  ["a list of Buffers", [bytes]],
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
