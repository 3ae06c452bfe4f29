/** Tests of the telemetry logs. */
import { expect, test } from "vitest";
import { type TelemetryHeader, telemetryHeader } from "../../../../../src/nvme/spec/log-pages.js";
import { AdminOpcode, FeatureId, LogPageId } from "../../../../../src/nvme/spec/opcodes.js";
import { NvmeStatus } from "../../../../../src/nvme/spec/status.js";
import { NvmeTestHost, SUCCESS, startedHost } from "../../../../support/nvme-host.js";

const [HOST, CONTROLLER] = [LogPageId.telemetryHost, LogPageId.telemetryController];
const TELEMETRY = 1 << 10;

function read(
  host: NvmeTestHost,
  lid: number,
  options: { create?: boolean; retain?: boolean } = {},
): TelemetryHeader {
  const at = host.alloc(512);
  const { status } = host.admin.run({
    opcode: AdminOpcode.getLogPage,
    nsid: 0xffff_ffff,
    prp1: host.iova(at),
    cdw10:
      (127 << 16) | (options.retain === true ? 1 << 15 : 0) | (options.create === true ? 1 << 8 : 0) | lid,
  });
  expect(status).toBe(SUCCESS);
  return telemetryHeader.decode(host.bytes(at, 512));
}

/** What an area holds. */
function area(host: NvmeTestHost, lid: number, first: number, last: number): Record<string, unknown> {
  const { status, page } = host.log(lid, (last - first + 1) * 512, { offset: first * 512, retain: true });
  expect(status).toBe(SUCCESS);
  return JSON.parse(Buffer.from(page).toString("latin1").replace(/\0+$/, ""));
}

test("the host's log is captured on request, with its areas and generation", () => {
  using started = startedHost({ serial: "TELE" });
  const { host } = started;
  expect(read(host, HOST)).toMatchObject({ lid: HOST, lastBlock1: 0, lastBlock3: 0, hostGeneration: 0 });
  const header = read(host, HOST, { create: true });
  const { lastBlock1, lastBlock2, lastBlock3 } = header;
  expect(header).toMatchObject({ hostGeneration: 1, lastBlock4: 0, controllerAvailable: 0 });
  expect(lastBlock1).toBeGreaterThan(0);
  expect(lastBlock2).toBeGreaterThan(lastBlock1);
  expect(lastBlock3).toBeGreaterThan(lastBlock2);
  expect(area(host, HOST, 1, lastBlock1)).toMatchObject({
    controller: { serial: "TELE" },
    registers: { csts: 1 },
  });
  expect(area(host, HOST, lastBlock1 + 1, lastBlock2)).toMatchObject({
    queues: { sqs: [{ id: 0 }, { id: 1 }] },
  });
  expect(area(host, HOST, lastBlock2 + 1, lastBlock3)).toMatchObject({ errorCount: 0, errors: [] });
  expect(read(host, HOST).hostGeneration).toBe(1);
  expect(read(host, HOST, { create: true }).hostGeneration).toBe(2);
  expect(host.log(HOST, 512, { offset: 4 }).status).toBe(NvmeStatus.invalidField);
  expect(host.log(HOST, 516).status).toBe(NvmeStatus.invalidField);
});

test("the controller's log is captured after an error, and an event reports it", () => {
  using started = startedHost();
  const { host } = started;
  host.device.captureTelemetry("not told");
  host.admin.post({ opcode: AdminOpcode.asyncEventRequest });
  host.device.pump();
  expect(host.admin.take()).toBe(undefined);
  host.admin.run({
    opcode: AdminOpcode.setFeatures,
    cdw10: FeatureId.asyncEventConfiguration,
    cdw11: TELEMETRY,
  });
  host.device.captureTelemetry("ordered by a test");
  host.device.pump();
  expect(host.admin.take()?.dw0).toBe((CONTROLLER << 16) | (2 << 8) | 2);
  expect(read(host, HOST)).toMatchObject({ controllerAvailable: 1, controllerGeneration: 2 });
  const header = read(host, CONTROLLER, { retain: true });
  expect(header).toMatchObject({ controllerAvailable: 1, controllerGeneration: 2 });
  expect(Buffer.from(header.reason).toString("latin1").replace(/\0+$/, "")).toBe("ordered by a test");
  read(host, CONTROLLER);
  expect(read(host, CONTROLLER).controllerAvailable).toBe(0);
  // Fatal: after the reset it can be read what the controller was like.
  host.device.inject({ kind: "fatal", count: 1 });
  host.admin.post({ opcode: AdminOpcode.identify });
  host.device.pump();
  expect(host.status & 2).toBe(2);
  host.device.reset();
  host.freeAll();
  host.enable();
  const after = read(host, CONTROLLER, { retain: true });
  expect(after).toMatchObject({ controllerAvailable: 1, controllerGeneration: 3 });
  expect(area(host, CONTROLLER, 1, after.lastBlock1)).toMatchObject({ registers: { csts: 3 } });
});

test("both logs move with the controller", () => {
  using source = new NvmeTestHost();
  source.enable();
  read(source, HOST, { create: true });
  source.device.captureTelemetry("moved");
  using target = new NvmeTestHost();
  target.takeOver(source);
  target.device.migration.start();
  target.device.reset();
  target.freeAll();
  target.enable();
  const header = read(target, CONTROLLER, { retain: true });
  expect(header).toMatchObject({ controllerAvailable: 1, controllerGeneration: 1 });
  expect(area(target, CONTROLLER, 1, header.lastBlock1)).toMatchObject({ registers: { csts: 1 } });
  expect(read(target, HOST)).toMatchObject({ hostGeneration: 1 });
});
