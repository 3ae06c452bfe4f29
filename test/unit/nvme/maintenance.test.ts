/** Commands that begin something and come back at once, on the emulated controller behind a socket. */
import { describe, expect, test } from "vitest";
import { NvmeStatus, SelfTestCode, SelfTestResult } from "../../../src/index.js";
import { caught } from "../../support/caught.js";
import { openController, useEmulatedNvme } from "../../support/emulated-nvme.js";
import { eventually } from "../../support/eventually.js";

useEmulatedNvme();
const LONG = 3_600_000;

describe("self-test", () => {
  test("runs, is there once, and can be ended", async () => {
    const nvme = await openController({ shortSelfTestMs: 10, extendedSelfTestMs: LONG });
    expect(nvme.identify.edstt).toBe(60);
    const { maintenance, logs } = nvme;
    await maintenance.selfTest("extended");
    expect(await logs.selfTest()).toEqual({
      currentOperation: SelfTestCode.extended,
      completionPercent: 0,
      results: [],
    });
    expect(await caught(maintenance.selfTest("short"))).toMatchObject({
      status: "Device Self-test In Progress",
    });
    await maintenance.selfTest("abort");
    await maintenance.selfTest("short", 1);
    const done = await eventually(async () => {
      const log = await logs.selfTest();
      return log.currentOperation === 0 ? log : undefined;
    });
    expect(done.results.map(({ code, result }) => [code, result])).toEqual([
      [SelfTestCode.short, SelfTestResult.success],
      [SelfTestCode.extended, SelfTestResult.aborted],
    ]);
    expect(await caught(maintenance.selfTest("short", 9))).toMatchObject({
      statusCode: NvmeStatus.invalidField,
    });
  });

  test("tells which block is bad", async () => {
    const nvme = await openController({ extendedSelfTestMs: 0 });
    const namespace = await nvme.namespace(1);
    await namespace.writeUncorrectable(1234n, 1);
    await nvme.maintenance.selfTest("extended");
    const [result] = await eventually(async () => {
      const { results } = await nvme.logs.selfTest();
      return results.length > 0 ? results : undefined;
    });
    expect(result).toMatchObject({ result: SelfTestResult.segmentsFailed, nsid: 1, failingLba: 1234n });
  });
});
