/** Tests of Device Self-test. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { identifyController } from "../../../../../src/nvme/spec/identify.js";
import { SelfTestCode, SelfTestResult, selfTestLog } from "../../../../../src/nvme/spec/log-pages.js";
import { AdminOpcode, BROADCAST_NSID, IoOpcode, LogPageId } from "../../../../../src/nvme/spec/opcodes.js";
import { NvmeStatus } from "../../../../../src/nvme/spec/status.js";
import { eventually } from "../../../../support/eventually.js";
import { NvmeTestHost, SUCCESS, startedHost } from "../../../../support/nvme-host.js";

const LONG = 3_600_000;
const slow = { shortSelfTestMs: LONG, extendedSelfTestMs: LONG };
const quick = { shortSelfTestMs: 0, extendedSelfTestMs: 1 };

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

function file(): string {
  const folder = mkdtempSync(join(tmpdir(), "iova-self-test-"));
  folders.push(folder);
  return join(folder, "disk");
}

function begin(host: NvmeTestHost, code: number, nsid = BROADCAST_NSID): number {
  return host.admin.run({ opcode: AdminOpcode.deviceSelfTest, nsid, cdw10: code }).status;
}

function log(host: NvmeTestHost): ReturnType<typeof selfTestLog.decode> {
  const { status, page } = host.log(LogPageId.deviceSelfTest, selfTestLog.sizeBytes);
  expect(status).toBe(SUCCESS);
  return selfTestLog.decode(page);
}

/** The latest result, once nothing runs any more. */
function ended(host: NvmeTestHost): Promise<ReturnType<typeof log>["results"][number]> {
  return eventually(() => {
    host.freeAll();
    host.alloc(16384);
    const { currentOperation, results } = log(host);
    return currentOperation === 0 ? results[0] : undefined;
  });
}

describe("a self-test", () => {
  test("runs beside commands, and a second one is refused", () => {
    using started = startedHost(slow);
    const { host, io } = started;
    const identity = identifyController.decode(host.identify(1).page);
    expect(identity).toMatchObject({ edstt: 60, dsto: 1 });
    expect(identity.oacs & (1 << 4)).not.toBe(0);
    const before = log(host);
    expect(before.currentOperation).toBe(0);
    expect(before.results.every(({ result }) => result === SelfTestResult.unused)).toBe(true);
    expect(begin(host, SelfTestCode.extended)).toBe(SUCCESS);
    expect(log(host)).toMatchObject({ currentOperation: SelfTestCode.extended, completionPercent: 0 });
    for (const code of [SelfTestCode.short, SelfTestCode.extended]) {
      expect(begin(host, code)).toBe(NvmeStatus.deviceSelfTestInProgress);
    }
    const prp1 = host.iova(host.alloc(4096));
    expect(io.run({ opcode: IoOpcode.read, nsid: 1, prp1, cdw12: 7 }).status).toBe(SUCCESS);
    expect(begin(host, SelfTestCode.abort)).toBe(SUCCESS);
    const { currentOperation, results } = log(host);
    expect(currentOperation).toBe(0);
    expect(results[0]).toMatchObject({
      result: SelfTestResult.aborted,
      code: SelfTestCode.extended,
      valid: 0,
    });
    // Nothing runs: nothing is to be aborted, and nothing is recorded.
    expect(begin(host, SelfTestCode.abort)).toBe(SUCCESS);
    expect(log(host).results[1]?.result).toBe(SelfTestResult.unused);
  });

  test("succeeds, and the log has the latest twenty results", async () => {
    using host = new NvmeTestHost(quick);
    host.enable();
    for (let i = 0; i < 22; i++) {
      expect(begin(host, i === 21 ? SelfTestCode.extended : SelfTestCode.short, i % 2)).toBe(SUCCESS);
      expect(await ended(host)).toMatchObject({ result: SelfTestResult.success });
    }
    const { results } = log(host);
    expect(results).toHaveLength(20);
    expect(results.every(({ result }) => result === SelfTestResult.success)).toBe(true);
    expect(results.map(({ code }) => code)).toEqual([2, ...new Array<number>(19).fill(1)]);
  });

  test("finds a marked block if it is an extended test of that namespace", async () => {
    using started = startedHost({ ...quick, namespaces: 2 });
    const { host, io } = started;
    io.run({ opcode: IoOpcode.writeUncorrectable, nsid: 2, cdw10: 77 });
    for (const [code, nsid, result] of [
      [SelfTestCode.short, BROADCAST_NSID, SelfTestResult.success],
      [SelfTestCode.extended, 0, SelfTestResult.success],
      [SelfTestCode.extended, 1, SelfTestResult.success],
    ] as const) {
      begin(host, code, nsid);
      expect((await ended(host)).result).toBe(result);
    }
    host.admin.post({ opcode: AdminOpcode.asyncEventRequest });
    begin(host, SelfTestCode.extended);
    const expected = {
      result: SelfTestResult.segmentsFailed,
      segment: 3,
      valid: 0xf,
      nsid: 2,
      failingLba: 77n,
      statusCodeType: 2,
      statusCode: 0x81,
    };
    const event = await eventually(() => {
      host.device.pump();
      return host.admin.take();
    });
    // Error, diagnostic failure.
    expect(event).toMatchObject({ dw0: (LogPageId.errorInformation << 16) | (2 << 8), status: SUCCESS });
    expect(await ended(host)).toMatchObject(expected);
  });

  test("ends with a format or removal of its namespace, and with a reset unless it is extended", () => {
    using started = startedHost({ ...slow, namespaces: 2 });
    const { host } = started;
    const latest = (): number | undefined => log(host).results[0]?.result;
    begin(host, SelfTestCode.extended, 1);
    expect(host.admin.run({ opcode: AdminOpcode.formatNvm, nsid: 2 }).status).toBe(SUCCESS);
    expect(log(host).currentOperation).toBe(SelfTestCode.extended);
    host.admin.run({ opcode: AdminOpcode.formatNvm, nsid: 1 });
    expect(latest()).toBe(SelfTestResult.abortedByFormat);
    begin(host, SelfTestCode.short);
    host.admin.run({ opcode: AdminOpcode.namespaceManagement, nsid: 2, cdw10: 1 });
    expect(latest()).toBe(SelfTestResult.abortedByNamespaceRemoval);
    begin(host, SelfTestCode.short);
    host.device.reset();
    host.freeAll();
    host.enable();
    expect(latest()).toBe(SelfTestResult.abortedByReset);
    begin(host, SelfTestCode.extended);
    host.device.reset();
    host.freeAll();
    host.enable();
    expect(log(host).currentOperation).toBe(SelfTestCode.extended);
  });

  test("is refused for an unknown test or namespace", () => {
    using started = startedHost(slow);
    const { host } = started;
    for (const code of [0, 3, 4, 0xe]) expect(begin(host, code)).toBe(NvmeStatus.invalidField);
    expect(begin(host, SelfTestCode.short, 2)).toBe(NvmeStatus.invalidField);
    expect(begin(host, SelfTestCode.short, 129)).toBe(NvmeStatus.invalidNamespace);
    expect(log(host).currentOperation).toBe(0);
  });

  test("fails by a fault, and the next emulator of the file has its results", async () => {
    const path = file();
    {
      using host = new NvmeTestHost({
        ...quick,
        file: path,
        faults: [{ kind: "fail-later", opcode: AdminOpcode.deviceSelfTest, nth: 2 }],
      });
      host.enable();
      begin(host, SelfTestCode.short);
      expect((await ended(host)).result).toBe(SelfTestResult.success);
      begin(host, SelfTestCode.short);
      expect((await ended(host)).result).toBe(SelfTestResult.segmentsFailed);
    }
    using host = new NvmeTestHost({ file: path });
    host.enable();
    const results = log(host).results.slice(0, 3);
    expect(results.map(({ result }) => result)).toEqual([
      SelfTestResult.segmentsFailed,
      SelfTestResult.success,
      SelfTestResult.unused,
    ]);
  });

  test("goes on after a migration", async () => {
    using source = new NvmeTestHost(slow);
    source.enable();
    begin(source, SelfTestCode.extended, 1);
    using target = new NvmeTestHost({ ...slow, extendedSelfTestMs: 1 });
    target.takeOver(source);
    const before = target.device.migration.save();
    expect(Buffer.from(before).includes('"selfTest":{"code":2,"nsid":1')).toBe(true);
    target.device.migration.start();
    await eventually(() => {
      target.device.migration.stop();
      const text = Buffer.from(target.device.migration.save()).toString("latin1");
      target.device.migration.start();
      return text.includes('"selfTest":null') ? true : undefined;
    });
  });
});
