/** A write stream of a namespace that ends in the middle: by its signal, or by destroy(). */
import { randomFillSync } from "node:crypto";
import { once } from "node:events";
import { describe, expect, test, vi } from "vitest";
import { IoOpcode } from "../../../../src/nvme/spec/opcodes.js";
import { openController, useEmulatedNvme } from "../../../support/emulated-nvme.js";
import { eventually } from "../../../support/eventually.js";

useEmulatedNvme();

const CHUNK = 4096;
const DEPTH = 2;

describe("a write stream that ends while commands are outstanding", () => {
  test.each([
    ["aborted by its signal", true],
    ["destroyed", false],
  ])("has settled them and given its buffers back when it closes: %s", async (_, bySignal) => {
    // Commands stay outstanding for a while.
    const faults = [{ kind: "latency", opcode: IoOpcode.write, latencyMs: 50 }] as const;
    const nvme = await openController({ faults: [...faults] });
    const ns = await nvme.namespace(1);
    const allocated = vi.spyOn(nvme.dma, "alloc");
    const outstanding = (): number => nvme.queues.reduce((sum, queue) => sum + queue.outstanding, 0);
    const abort = new AbortController();
    const reason = new Error("enough");
    const writer = ns.createWriteStream({ chunkBytes: CHUNK, depth: DEPTH, signal: abort.signal });
    const failed = once(writer, "error");
    // Not once(): an error would reject it.
    const closed = new Promise((resolve) => writer.on("close", resolve));
    const content = randomFillSync(Buffer.alloc(5 * CHUNK));
    writer.write(content);
    await eventually(() => (outstanding() === DEPTH ? true : undefined));
    if (bySignal) abort.abort(reason);
    else writer.destroy(reason);
    const [error] = await failed;
    if (bySignal) expect(error).toMatchObject({ name: "AbortError", cause: reason });
    else expect(error).toBe(reason);
    await closed;
    expect(outstanding()).toBe(0);
    const buffers = allocated.mock.results.map(({ value }) => value);
    expect(buffers).toHaveLength(DEPTH);
    expect(buffers.every((buffer) => buffer.closed)).toBe(true);
    allocated.mockRestore();
    // What was submitted is written, and nothing after it.
    using back = nvme.dma.alloc(content.length);
    await ns.readRange(0n, back);
    const expected = Buffer.alloc(content.length);
    content.copy(expected, 0, 0, DEPTH * CHUNK);
    expect(Buffer.compare(back.bytes, expected)).toBe(0);
  });
});

test("a write stream that is destroyed during its Flush closes when the Flush has completed", async () => {
  const nvme = await openController({ faults: [{ kind: "latency", opcode: IoOpcode.flush, latencyMs: 50 }] });
  const ns = await nvme.namespace(1);
  const flushed = vi.spyOn(ns, "flush");
  const writer = ns.createWriteStream({ flush: true });
  const closed = once(writer, "close");
  writer.end(Buffer.alloc(512, 1));
  const flush = await eventually(() => flushed.mock.results[0]);
  let isDone = false;
  void flush.value.then(() => {
    isDone = true;
  });
  writer.destroy();
  await closed;
  expect(isDone).toBe(true);
});
