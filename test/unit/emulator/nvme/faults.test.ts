/** Tests of fault injection. */
import { describe, expect, test } from "vitest";
import { ConfigError } from "../../../../src/core/errors.js";
import { type FaultOptions, faultFromText, parseFault } from "../../../../src/emulator/nvme/faults.js";
import { AdminOpcode, IoOpcode } from "../../../../src/nvme/spec/opcodes.js";
import { NvmeRegister } from "../../../../src/nvme/spec/registers.js";
import { NvmeStatus } from "../../../../src/nvme/spec/status.js";
import { SUCCESS, startedHost, type TestQueue } from "../../../support/nvme-host.js";
import { skewClock } from "../../../support/skewed-clock.js";

const flush = { opcode: IoOpcode.flush, nsid: 1 };
/** Far beyond any test's time limit: only a clock that a test moves gets there. */
const LATENCY_MS = 600_000;

function withFaults(...faults: FaultOptions[]) {
  return startedHost({ faults });
}

/** Which of so many flushes are hit. */
function hits(io: TestQueue, count: number): number[] {
  const hit: number[] = [];
  for (let i = 1; i <= count; i++) if (io.run(flush).status !== SUCCESS) hit.push(i);
  return hit;
}

describe("the commands that a fault hits", () => {
  const status = { kind: "status", queue: "io", status: 0x281 } as const;

  test.each<[string, Partial<FaultOptions>, number[]]>([
    ["all", {}, [1, 2, 3, 4, 5, 6, 7, 8]],
    ["the third", { nth: 3 }, [3]],
    ["two from the third on", { nth: 3, every: 1, count: 2 }, [3, 4]],
    ["every third", { every: 3 }, [1, 4, 7]],
    ["the first two", { count: 2 }, [1, 2]],
    ["of another opcode", { opcode: IoOpcode.read }, []],
    ["of this opcode", { opcode: IoOpcode.flush, nth: 8 }, [8]],
    ["of another namespace", { nsid: 2 }, []],
    ["on another queue", { queue: 2 }, []],
    ["on this queue", { queue: 1, nth: 1 }, [1]],
  ])("%s", (_, options, expected) => {
    using started = withFaults({ ...status, ...options });
    expect(hits(started.io, 8)).toEqual(expected);
  });

  test("a probability hits about that share of commands, and the same ones with the same seed", () => {
    const run = (seed: number): number[] => {
      using started = withFaults({ ...status, probability: 0.2, seed });
      return hits(started.io, 1000);
    };
    const first = run(7);
    expect(first.length).toBeGreaterThan(120);
    expect(first.length).toBeLessThan(280);
    expect(run(7)).toEqual(first);
    expect(run(8)).not.toEqual(first);
  });

  test("a fault can be injected and removed while the controller runs", () => {
    using started = withFaults();
    const { host, io } = started;
    expect(hits(io, 3)).toEqual([]);
    host.device.inject(status);
    expect(hits(io, 3)).toEqual([1, 2, 3]);
    host.device.clearFaults();
    expect(hits(io, 3)).toEqual([]);
    {
      using injected = host.device.inject(status);
      expect(hits(io, 2)).toEqual([1, 2]);
      expect(injected.hits).toBe(2);
    }
    expect(hits(io, 3)).toEqual([]);
    const unplugging = host.device.inject({ kind: "all-ones", nth: 1, queue: "io" });
    io.post(flush);
    host.device.pump();
    expect([unplugging.hits, host.read32(NvmeRegister.VS)]).toEqual([1, 0xffff_ffff]);
    unplugging.remove();
    expect(host.read32(NvmeRegister.VS)).not.toBe(0xffff_ffff);
  });
});

describe("what a fault does", () => {
  test("status completes the command with that status, without executing it", () => {
    using started = withFaults({ kind: "status", queue: "io", opcode: IoOpcode.write, status: 0x4281 });
    const { host, io } = started;
    const at = host.alloc(4096);
    host.bytes(at, 512).fill(5);
    expect(io.run({ opcode: IoOpcode.write, nsid: 1, prp1: host.iova(at) })).toMatchObject({
      status: NvmeStatus.unrecoveredReadError,
      dnr: true,
    });
    io.run({ opcode: IoOpcode.read, nsid: 1, prp1: host.iova(at) });
    expect(host.bytes(at, 512).every((byte) => byte === 0)).toBe(true);
  });

  test("drop executes the command and never completes it", () => {
    using started = withFaults({ kind: "drop", queue: "io", opcode: IoOpcode.write });
    const { host, io } = started;
    const at = host.alloc(4096);
    host.bytes(at, 512).fill(5);
    io.post({ opcode: IoOpcode.write, nsid: 1, prp1: host.iova(at) });
    expect(host.device.pump()).toBe(1);
    expect(io.take()).toBeUndefined();
    host.bytes(at, 512).fill(0);
    expect(io.run({ opcode: IoOpcode.read, nsid: 1, prp1: host.iova(at) }).status).toBe(SUCCESS);
    expect(host.bytes(at, 1)[0]).toBe(5);
  });

  test("latency executes the command later, so that others overtake it, until a reset or an abort", () => {
    const clock = skewClock();
    using started = withFaults({
      kind: "latency",
      queue: "io",
      opcode: IoOpcode.flush,
      latencyMs: LATENCY_MS,
    });
    const { host, io } = started;
    io.post({ ...flush, cid: 1 });
    io.post({ opcode: IoOpcode.verify, nsid: 1, cid: 2 });
    host.device.pump();
    expect(io.take()?.cid).toBe(2);
    clock.advance(LATENCY_MS / 2);
    host.device.pump();
    expect(io.take()).toBeUndefined();
    clock.advance(LATENCY_MS / 2);
    host.device.pump();
    expect(io.take()?.cid).toBe(1);
    io.post({ ...flush, cid: 3 });
    host.device.pump();
    expect(host.admin.run({ opcode: AdminOpcode.abort, cdw10: (3 << 16) | 1 })).toMatchObject({ dw0: 0 });
    expect(io.take()).toMatchObject({ cid: 3, status: NvmeStatus.commandAbortRequested, dnr: false });
    io.post({ ...flush, cid: 4 });
    host.device.pump();
    expect(host.admin.run({ opcode: AdminOpcode.deleteIoSubmissionQueue, cdw10: 1 }).status).toBe(SUCCESS);
    expect(io.take()).toMatchObject({ cid: 4, status: NvmeStatus.commandAbortedDueToSqDeletion });
  });

  test("wrong-phase hides the completion and those after it from the host", () => {
    using started = withFaults({ kind: "wrong-phase", nth: 1, queue: "io" });
    const { host, io } = started;
    io.post({ ...flush, cid: 1 });
    io.post({ ...flush, cid: 2 });
    host.device.pump();
    expect(io.take()).toBeUndefined();
    expect(io.cq.words[3]).toBe(1);
    expect(io.cq.words[7]).toBe(0x1_0002);
  });

  test.each([
    ["duplicate-cid", [{ cid: 9 }, { cid: 9 }, undefined]],
    ["unknown-cid", [{ cid: 9 ^ 0x8000 }, undefined]],
    ["wrong-sqid", [{ cid: 9, sqid: 2 }, undefined]],
  ] as const)("%s", (kind, expected) => {
    using started = withFaults({ kind, queue: "io" });
    const { host, io } = started;
    io.post({ ...flush, cid: 9 });
    host.device.pump();
    for (const one of expected) {
      if (one === undefined) expect(io.take()).toBeUndefined();
      else expect(io.take()).toMatchObject({ status: SUCCESS, ...one });
    }
  });

  test("short-data and corrupt-data report success", () => {
    using started = withFaults(
      { kind: "short-data", queue: "io", opcode: IoOpcode.read, nth: 1, bytes: 100 },
      { kind: "corrupt-data", queue: "io", opcode: IoOpcode.read, nth: 1 },
    );
    const { host, io } = started;
    const at = host.alloc(4096);
    host.bytes(at, 512).fill(0xcc);
    const command = { nsid: 1, prp1: host.iova(at) };
    io.run({ opcode: IoOpcode.write, ...command });
    host.bytes(at, 512).fill(0);
    expect(io.run({ opcode: IoOpcode.read, ...command }).status).toBe(SUCCESS);
    expect([...host.bytes(at, 512)].lastIndexOf(0xcc)).toBe(99);
    // What the first fault took, the second hasn't seen.
    expect(io.run({ opcode: IoOpcode.read, ...command }).status).toBe(SUCCESS);
    expect([host.bytes(at, 2)[0], host.bytes(at, 2)[1]]).toEqual([0xcd, 0xcc]);
    expect(io.run({ opcode: IoOpcode.read, ...command }).status).toBe(SUCCESS);
    expect(host.bytes(at, 512).every((byte) => byte === 0xcc)).toBe(true);
  });

  test("fatal sets CSTS.CFS, and the controller executes nothing until the reset", () => {
    using started = withFaults({ kind: "fatal", nth: 2, queue: "io" });
    const { host, io } = started;
    expect(io.run(flush).status).toBe(SUCCESS);
    io.post(flush);
    host.device.pump();
    expect(host.status).toBe(3);
    expect(io.take()).toBeUndefined();
    expect(host.device.pump()).toBe(0);
    host.write32(NvmeRegister.CC, 0);
    host.enable();
    expect(host.createIo().run(flush).status).toBe(SUCCESS);
  });

  test("all-ones makes registers read ones for a while", async () => {
    using started = withFaults({ kind: "all-ones", nth: 1, queue: "io", durationMs: 20 });
    const { host, io } = started;
    io.post(flush);
    host.device.pump();
    expect(host.status).toBe(0xffff_ffff);
    expect(host.read32(0x1000)).toBe(0xffff_ffff);
    host.write32(NvmeRegister.CC, 0);
    await expect.poll(() => host.status).toBe(1);
    expect(io.run(flush).status).toBe(SUCCESS);
  });

  test("remove makes registers read ones until the device is plugged in again, and tells the server", () => {
    using started = withFaults({ kind: "remove", nth: 1, queue: "io" });
    const { host, io } = started;
    let removed = 0;
    host.device.onRemove = () => {
      removed++;
    };
    io.post(flush);
    host.device.pump();
    expect(removed).toBe(1);
    expect(host.read32(NvmeRegister.VS)).toBe(0xffff_ffff);
    host.device.reset();
    expect(host.read32(NvmeRegister.VS)).toBe(0xffff_ffff);
    host.device.clearFaults();
    host.enable();
    expect(host.status).toBe(1);
  });
});

describe("a fault as text", () => {
  test("has a kind and options", () => {
    expect(faultFromText("status,status=0x281,opcode=2,nth=100,queue=io")).toMatchObject({
      kind: "status",
      status: 0x281,
      opcode: 2,
      nth: 100,
      queue: "io",
    });
    expect(faultFromText("latency,latency=20,probability=0.01,seed=7")).toMatchObject({
      latencyMs: 20,
      probability: 0.01,
      seed: 7,
    });
    expect(faultFromText("drop,queue=3").queue).toBe(3);
  });

  test.each([
    "",
    "nonsense",
    "drop,nth",
    "drop,nth=0",
    "drop,probability=2",
    "drop,queue=some",
    "drop,what=1",
  ])("%j is refused", (text) => {
    expect(() => faultFromText(text)).toThrow(ConfigError);
  });

  test("is refused with the name of an invalid option", () => {
    expect(() => parseFault({ kind: "latency", latencyMs: -1 })).toThrow(/latencyMs/);
  });
});
