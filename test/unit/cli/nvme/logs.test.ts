/** `iova nvme telemetry-log`, `ana-log`, ... on an emulated controller, and the decoded persistent events. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { persistentEventsJson } from "../../../../src/cli/nvme/admin/persistent-events.js";
import { ConfigError } from "../../../../src/core/errors.js";
import type { RunningEmulator } from "../../../../src/emulator/worker.js";
import { PersistentEventType, persistentEventHeader, smartLog } from "../../../../src/nvme/spec/log-pages.js";
import { emulate } from "../../../support/emulators.js";
import { iova, iovaJson } from "../../../support/nvme-cli.js";

const folder = mkdtempSync(join(tmpdir(), "iova-logs-"));
let emulator: RunningEmulator;
beforeAll(async () => {
  emulator = await emulate({ device: "nvme", options: { sizeBytes: 16 << 20, namespaces: 2, anaGroups: 2 } });
});
afterAll(async () => {
  await emulator.close();
  rmSync(folder, { recursive: true, force: true });
});

test("telemetry-log writes the header and the data areas to a file", async () => {
  const file = join(folder, "telemetry");
  const { address } = emulator;
  const shown = await iovaJson("telemetry-log", address, "-O", file);
  const bytes = readFileSync(file);
  expect(shown).toEqual({ lid: 7, bytes: bytes.length, generation: expect.any(Number), file });
  expect(bytes[0]).toBe(7);
  expect(bytes.length % 512).toBe(0);
  expect(bytes.toString("latin1")).toContain("IOVA0001");
  expect(await iovaJson("telemetry-log", address, "-O", file, "-g", "0", "-d", "1")).toMatchObject({
    lid: 7,
  });
  expect(await iovaJson("telemetry-log", address, "-O", file, "-c")).toMatchObject({ lid: 8 });
});

test("ana-log lists groups with their states and namespaces", async () => {
  const { address } = emulator;
  const log = await iovaJson("ana-log", address);
  expect(log).toMatchObject({
    "Asymmetric Namespace Access Log for NVMe device": address,
    ngrps: 2,
    "ANA DESC LIST ": [
      { grpid: 1, nnsids: 1, state: "optimized", NSIDS: [{ nsid: 1 }] },
      { grpid: 2, nnsids: 1, state: "optimized", NSIDS: [{ nsid: 2 }] },
    ],
  });
  expect(await iovaJson("ana-log", address, "-g")).toMatchObject({
    "ANA DESC LIST ": [{ NSIDS: [] }, { NSIDS: [] }],
  });
  expect(await iova("ana-log", address)).toMatch(/^ngrps +: 2$/m);
});

test("events prints what the controller reports, and ends after so many", async () => {
  let isDone = false;
  const printed = iova("events", emulator.address, "--count", "1", "--json").finally(() => {
    isDone = true;
  });
  // The controller may still be starting: it reports the changes after that.
  for (let turn = 0; !isDone; turn++) {
    const state = turn % 2 === 0 ? "inaccessible" : "optimized";
    await emulator.order({ kind: "setAnaState", group: 2, state });
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  expect(JSON.parse(await printed)).toEqual({
    type: "notice",
    name: "asymmetricNamespaceAccessChange",
    info: 3,
    log_page: 12,
    parameter: 0,
  });
});

test.each([
  "persistent-event-log",
  "fid-support-effects-log",
  "mi-cmd-support-effects-log",
  "media-unit-stat-log",
  "predictable-lat-log",
  "pred-lat-event-agg-log",
  "endurance-event-agg-log",
  "rotational-media-info-log",
  "changed-alloc-ns-list-log",
  "dispersed-ns-participating-nss-log",
  "mgmt-addr-list-log",
  "power-measurement-log",
])("%s says that a controller lacks the page", async (name) => {
  await expect(iova(name, emulator.address)).rejects.toThrow(/Invalid Log Page/);
});

test("supported-cap-config-log has nvme-cli's keys", async () => {
  expect(await iovaJson("supported-cap-config-log", emulator.address)).toEqual({
    sccn: 1,
    "Capacity Descriptor": [
      {
        cap_config_id: 1,
        domainid: 0,
        egcn: 1,
        "Endurance Descriptor": [
          {
            endgid: 1,
            cap_adj_factor: 100,
            tegcap: 16 << 20,
            segcap: 0,
            egsets: 0,
            egchans: 0,
            "Channel Descriptor": [],
            "NVM Set IDs": [],
          },
        ],
      },
    ],
  });
  await expect(iova("supported-cap-config-log", emulator.address, "-d", "1")).rejects.toThrow(
    /Invalid Field/,
  );
});

test("reachability logs have nvme-cli's keys, with a list where nvme-cli repeats a key", async () => {
  expect(await iovaJson("reachability-groups-log", emulator.address)).toEqual({
    chngc: 0,
    nrgd: 1,
    "rgid: 1": { nnid: 2, chngc: 0, nsid: [1, 2] },
  });
  expect(await iovaJson("reachability-groups-log", emulator.address, "-g")).toMatchObject({
    "rgid: 1": { nsid: [] },
  });
  expect(await iovaJson("reachability-associations-log", emulator.address)).toEqual({
    chngc: 0,
    nrad: 1,
    "rasid: 1": { nrid: 1, chngc: 0, rac: 0, rgid: [1] },
  });
});

test("endurance-log takes nvme-cli's name of the group", async () => {
  expect(await iovaJson("endurance-log", emulator.address, "-g", "1")).toMatchObject({ avl_spare: 100 });
});

test.each([
  [["telemetry-log"], "needs --output-file FILE"],
  [["telemetry-log", "-O", "x", "-d", "5"], "--data-area 5"],
  [["predictable-lat-log", "-i", "0"], "--nvmset-id 0"],
  [["media-unit-stat-log", "-d", "0x10000"], "--domain-id"],
  [["supported-cap-config-log", "-d", "0x10000"], "--domain-id"],
  [["pred-lat-event-agg-log", "-e", "few"], "--log-entries"],
  [["dispersed-ns-participating-nss-log", "-n", "0"], "--namespace-id 0"],
] as const)("nvme %j is refused before anything is opened", async ([name, ...args], reason) => {
  const refusal = iova(name, "vfio-user:/nowhere", ...args);
  await expect(refusal).rejects.toThrow(ConfigError);
  await expect(refusal).rejects.toThrow(reason);
});

test("each type of persistent event is decoded, and data that is too short is no error", () => {
  const header = persistentEventHeader.decode(
    persistentEventHeader.encode({
      lid: 13,
      events: 3,
      supportedEvents: Uint8Array.of(0b110, ...new Uint8Array(31)),
    }),
  );
  const event = (type: number, data: Uint8Array) => ({
    type,
    revision: 1,
    cntlid: 7,
    time: new Date(1000),
    portId: 0,
    vendorInfo: new Uint8Array(4),
    data,
  });
  const reset = Buffer.alloc(8 + 36);
  reset.write("1.0     ", "latin1");
  reset.writeUInt16LE(5, 8);
  reset.writeBigUInt64LE(77n, 8 + 20);
  const feature = Buffer.alloc(12);
  feature.writeUInt32LE(6, 4);
  feature.writeUInt32LE(1, 8);
  const types = PersistentEventType;
  const events = [
    event(types.smart, smartLog.encode({ compositeTemperature: 300 })),
    event(types.powerOnOrReset, reset),
    event(types.setFeature, feature),
    event(types.thermalExcursion, Uint8Array.of(3, 1)),
    event(types.changeNamespace, new Uint8Array(4)),
    event(0xde, Uint8Array.of(0xab)),
  ];
  const json = persistentEventsJson({ header, events });
  expect(json).toMatchObject({
    log_id: 13,
    bitmap_1: "Support Smart Event",
    bitmap_2: "Support Firmware Commit Event",
    list_of_event_entries: [
      {
        event_number: 0,
        event_type: "Smart Event(0x1)",
        ctrl_id: 7,
        event_time_stamp: 1000,
        temperature: 300,
      },
      {
        fw_rev: expect.stringContaining("(1.0"),
        ctrl_id: 5,
        power_on_ml_secs: 77n,
        vu_info_len: 4,
        event_len: 48,
      },
      { feature: 6, name: "Volatile Write Cache", value: 1 },
      { over_temp: 3, threshold: 1 },
      { nsmgt_cdw10: 0 },
      { event_type: "Vendor Event(0xde)", data: "ab" },
    ],
  });
  for (const type of Object.values(types))
    expect(() => persistentEventsJson({ header, events: [event(type, new Uint8Array(0))] })).not.toThrow();
});
