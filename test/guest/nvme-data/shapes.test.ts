/** Shapes of QEMU's controllers: one queue pair and one vector, the interrupt pin, doorbells in memory. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  ConfigError,
  listPciFunctions,
  NvmeController,
  type NvmeOptions,
  UnsupportedError,
} from "../../../src/index.js";
import { caught } from "../../support/caught.js";
import { expectNothingLeftSoon } from "../../support/holdings-soon.js";
import { pinInterrupts, vfioInterrupts } from "../../support/interrupts.js";
import { backends, bindGroup, ways } from "../../support/nvme-machine.js";
import { roundTrip } from "../../support/nvme-round-trip.js";

/** Nobody looks for completions that weren't told of in this time. */
const NO_HELP_MS = 600_000;
const RESETS = ["controller", "function"] as const;

function at(slot: string): string {
  const found = listPciFunctions().find(({ bdf }) => bdf.endsWith(`:${slot}`));
  if (found === undefined) throw new Error(`this machine has nothing at ${slot}`);
  return found.bdf;
}
const unlimited = (): string => at("10.0");
const withMemory = (): string => at("12.0");
const narrow = (): string => at("13.0");

const bindings: { close(): void }[] = [];
beforeAll(() => {
  for (const bdf of [unlimited(), withMemory(), narrow()]) bindings.push(bindGroup(bdf));
});
afterAll(() => {
  for (const binding of bindings) binding.close();
});
expectNothingLeftSoon();

/** Works, and goes on working after each kind of reset. */
async function worksOverResets(nvme: NvmeController): Promise<void> {
  expect(await roundTrip(nvme)).toBe("same");
  for (const reset of RESETS) {
    await nvme.reset(reset);
    expect(await roundTrip(nvme)).toBe("same");
  }
}

describe.each(ways)("one queue pair and one vector, through $backend, completions by $completion", (way) => {
  test("is what a controller grants that was asked for more", async () => {
    const options: NvmeOptions = { ...way, queues: 4, queueEntries: 16, timeoutMs: NO_HELP_MS };
    await using nvme = await NvmeController.open(narrow(), options);
    expect(nvme.queues.map(({ id, vector }) => ({ id, vector }))).toEqual([{ id: 1, vector: 0 }]);
    expect(vfioInterrupts(narrow())).toHaveLength(way.completion === "poll" ? 0 : 1);
    expect(nvme.maxTransferBytes).toBe(8192);
    await worksOverResets(nvme);
    expect(await caught(nvme.createQueuePair())).toBeInstanceOf(UnsupportedError);
    const [queue] = nvme.queues;
    if (queue === undefined) throw new Error("no queue");
    await nvme.deleteQueuePair(queue);
    // Its place is free again.
    expect(await nvme.createQueuePair({ entries: 7 })).toMatchObject({ id: 1, entries: 7 });
    expect(await roundTrip(nvme)).toBe("same");
  });
});

describe.each(backends)("the interrupt pin, through %s", (backend) => {
  test.each([
    ["many queues", unlimited, 3],
    ["one queue", narrow, 1],
  ] as const)("serves %s", async (_, bdf, queues) => {
    const options = { backend, queues, interruptKind: "intx", timeoutMs: NO_HELP_MS } as const;
    await using nvme = await NvmeController.open(bdf(), options);
    expect(nvme.completion).toBe("interrupt");
    expect(vfioInterrupts(bdf())).toEqual([]);
    expect(nvme.queues.map(({ vector }) => vector)).toEqual(new Array(queues).fill(0));
    const before = pinInterrupts(bdf());
    await worksOverResets(nvme);
    expect(pinInterrupts(bdf())).toBeGreaterThan(before);
  });

  test("is chosen by name, and refused if the controller lacks it", async () => {
    const open = (interruptKind: "msi", completion?: "poll"): Promise<NvmeController> =>
      NvmeController.open(narrow(), { backend, interruptKind, completion });
    expect(await caught(open("msi"))).toBeInstanceOf(UnsupportedError);
    // There is nothing to choose where nobody waits for interrupts.
    expect(await caught(open("msi", "poll"))).toBeInstanceOf(ConfigError);
  });
});

describe.each(ways)("shadow doorbells through $backend, completions by $completion", (way) => {
  test("transfer the same data, also after resets and with a queue in the CMB", async () => {
    const options: NvmeOptions = { ...way, shadowDoorbells: true, queues: 2, queueEntries: 32 };
    await using nvme = await NvmeController.open(withMemory(), options);
    expect(nvme.usesShadowDoorbells).toBe(true);
    await worksOverResets(nvme);
    using submission = nvme.controllerMemoryBuffer().alloc(16 * 64);
    const inCmb = await nvme.createQueuePair({ entries: 16, memory: { submission } });
    await worksOverResets(nvme);
    await nvme.deleteQueuePair(inCmb);
    expect(await roundTrip(nvme)).toBe("same");
  });
});
