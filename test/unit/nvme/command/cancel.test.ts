/** Cancel: commands of a queue that the emulated controller aborts. */
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { setTimeout } from "node:timers/promises";
import { describe, expect, onTestFinished, test } from "vitest";
import {
  BROADCAST_NSID,
  CancelAction,
  CommandEffects,
  type CommandTrace,
  IoOpcode,
} from "../../../../src/doors/nvme.js";
import { ArgumentError, type DmaBuffer, NvmeError, UnsupportedError } from "../../../../src/index.js";
import { NvmeStatus } from "../../../../src/nvme/spec/status.js";
import { caught } from "../../../support/caught.js";
import { openController, useEmulatedNvme } from "../../../support/emulated-nvme.js";
import { SUCCESS, startedHost } from "../../../support/nvme-host.js";

useEmulatedNvme();

/** Reads take so long that only an abort ends them. */
const slowReads = { kind: "latency", opcode: IoOpcode.read, latencyMs: 600_000 } as const;

describe("nvme.cancel()", () => {
  test("ends the reads of a queue and a namespace, and leaves those of others", async () => {
    const nvme = await openController({ namespaces: 2, faults: [slowReads] }, { queues: 2 });
    const [queue, other] = nvme.queues;
    if (queue === undefined || other === undefined) throw new Error("two queues");
    const buffers: DmaBuffer[] = [];
    const room = (): DmaBuffer => {
      const buffer = nvme.dma.alloc(512);
      buffers.push(buffer);
      return buffer;
    };
    const [one, two] = [await nvme.namespace(1), await nvme.namespace(2)];
    const [first, second, third, fourth] = [
      caught(one.read(0, room(), { queue })),
      caught(one.read(1, room(), { queue })),
      caught(two.read(0, room(), { queue })),
      caught(one.read(0, room(), { queue: other })),
    ];
    expect(await nvme.cancel(queue, { nsid: 1 })).toEqual({ aborted: 2, deferred: 0 });
    for (const error of [await first, await second]) {
      expect(error).toBeInstanceOf(NvmeError);
      expect(error).toMatchObject({ status: "Command Abort Requested", doNotRetry: false });
    }
    expect(await nvme.cancel(queue)).toEqual({ aborted: 1, deferred: 0 });
    expect(await third).toMatchObject({ status: "Command Abort Requested" });
    expect(other.outstanding).toBe(1);
    expect(await nvme.cancel(other)).toEqual({ aborted: 1, deferred: 0 });
    expect(await fourth).toMatchObject({ status: "Command Abort Requested" });
    for (const buffer of buffers) buffer.close();
    expect(await nvme.cancel(queue)).toEqual({ aborted: 0, deferred: 0 });
  });

  test("ends the one command that a CID names", async () => {
    const nvme = await openController({ namespaces: 2, faults: [slowReads] }, { queues: 1 });
    const [queue] = nvme.queues;
    if (queue === undefined) throw new Error("one queue");
    const cids: number[] = [];
    const seen = (message: unknown): void => {
      const { command, cid } = message as CommandTrace;
      if (command.opcode === IoOpcode.read) cids.push(cid);
    };
    subscribe("iova:nvme:submit", seen);
    onTestFinished(() => void unsubscribe("iova:nvme:submit", seen));
    const ns = await nvme.namespace(1);
    const [stays, goes] = [nvme.dma.alloc(512), nvme.dma.alloc(512)];
    const first = caught(ns.read(0, stays));
    const second = caught(ns.read(1, goes));
    const [, cid] = cids;
    expect(await caught(nvme.cancel(queue, { nsid: 2, cid: cid ?? -1 }))).toMatchObject({
      status: "Invalid Field in Command",
    });
    expect(await nvme.cancel(queue, { nsid: 1, cid: cid ?? -1 })).toEqual({ aborted: 1, deferred: 0 });
    expect(await second).toMatchObject({ status: "Command Abort Requested" });
    goes.close();
    while (queue.outstanding > 1) await setTimeout(1);
    expect(queue.outstanding).toBe(1);
    expect(await nvme.cancel(queue, { cid: cid ?? -1 })).toEqual({ aborted: 0, deferred: 0 });
    await nvme.cancel(queue);
    await first;
    stays.close();
  });

  test("refuses wrong arguments, and says where there is no such command", async () => {
    const nvme = await openController({
      faults: [{ kind: "status", opcode: IoOpcode.cancel, nth: 1, status: NvmeStatus.invalidOpcode }],
    });
    const [queue] = nvme.queues;
    if (queue === undefined) throw new Error("a queue");
    expect(await caught(nvme.cancel(queue, { cid: 0xffff }))).toBeInstanceOf(ArgumentError);
    expect(await caught(nvme.cancel(queue, { nsid: -1 }))).toBeInstanceOf(ArgumentError);
    for (const wrong of [{ ...queue, id: 1 }, { ...queue, id: {} }, undefined, null])
      expect(await caught(Reflect.apply(nvme.cancel, nvme, [wrong]))).toBeInstanceOf(ArgumentError);
    const error = await caught(nvme.cancel(queue));
    expect(error).toBeInstanceOf(UnsupportedError);
    expect(error).toMatchObject({ message: expect.stringContaining("no Cancel command") });
    const { io } = await nvme.logs.commandEffects();
    expect((io[IoOpcode.cancel] ?? 0) & CommandEffects.CSUPP).not.toBe(0);
  });
});

describe("the emulated controller's Cancel", () => {
  const { single, multiple } = CancelAction;
  test.each([
    ["another queue", { cdw10: 2 | (5 << 16), cdw11: single }, NvmeStatus.invalidField],
    ["itself", { cid: 7, cdw10: 1 | (7 << 16), cdw11: single }, NvmeStatus.invalidCommandId],
    ["one command by the action for all", { cdw10: 1 | (5 << 16), cdw11: multiple }, NvmeStatus.invalidField],
    ["by an action that isn't there", { cdw10: 1 | (5 << 16), cdw11: 2 }, NvmeStatus.invalidField],
    ["a namespace that isn't there", { nsid: 9, cdw10: 1 | (5 << 16) }, NvmeStatus.invalidNamespace],
  ])("refuses %s", (_, command, status) => {
    using started = startedHost();
    expect(started.io.run({ opcode: IoOpcode.cancel, nsid: 1, ...command }).status).toBe(status);
  });

  test("completes what it aborts before itself", () => {
    using started = startedHost({ faults: [slowReads] });
    const { host, io } = started;
    const at = host.alloc(4096);
    for (const cid of [40, 41]) io.post({ opcode: IoOpcode.read, cid, nsid: 1, prp1: host.iova(at) });
    const cdw10 = (1 | (0xffff << 16)) >>> 0;
    io.post({ opcode: IoOpcode.cancel, cid: 42, nsid: BROADCAST_NSID, cdw10, cdw11: multiple });
    host.device.pump();
    const completions = [io.take(), io.take(), io.take()];
    expect(completions.map((each) => [each?.cid, each?.status, each?.dw0])).toEqual([
      [40, NvmeStatus.commandAbortRequested, 0],
      [41, NvmeStatus.commandAbortRequested, 0],
      [42, SUCCESS, 2],
    ]);
  });
});
