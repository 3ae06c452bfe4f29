/** Tests of asymmetric access, lockdown, security and persistent features. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { ConfigError } from "../../../../../src/core/errors.js";
import { identifyController, identifyNamespace } from "../../../../../src/nvme/spec/identify.js";
import { AdminOpcode, FeatureId, IoOpcode, LogPageId } from "../../../../../src/nvme/spec/opcodes.js";
import { NvmeStatus } from "../../../../../src/nvme/spec/status.js";
import { NvmeTestHost, SUCCESS, startedHost } from "../../../../support/nvme-host.js";

const SAVE = 2 ** 31;
const select = (which: number): number => which << 8;
const [DEFAULT, SAVED, SUPPORTED] = [1, 2, 3];

describe("asymmetric namespace access", () => {
  test("refuses commands to a group's namespaces with the status of its state", () => {
    using started = startedHost({ anaGroups: 2, namespaces: 3 });
    const { host, io } = started;
    const identity = identifyController.decode(host.identify(1).page);
    expect(identity).toMatchObject({ cmic: 8, anacap: 0x5f, anagrpmax: 2, nanagrpid: 2, anatt: 10 });
    expect(identity.oaes & (1 << 11)).not.toBe(0);
    const groups = [1, 2, 3].map((nsid) => identifyNamespace.decode(host.identify(0, nsid).page).anagrpid);
    expect(groups).toEqual([1, 2, 1]);
    const prp1 = host.iova(host.alloc(4096));
    const statuses = (): number[] =>
      [1, 2, 3].map((nsid) => io.run({ opcode: IoOpcode.read, nsid, prp1 }).status);
    for (const [state, status] of [
      ["nonOptimized", SUCCESS],
      ["inaccessible", NvmeStatus.asymmetricAccessInaccessible],
      ["persistentLoss", NvmeStatus.asymmetricAccessPersistentLoss],
      ["change", NvmeStatus.asymmetricAccessTransition],
      ["optimized", SUCCESS],
    ] as const) {
      host.device.setAnaState(1, state);
      expect(statuses()).toEqual([status, SUCCESS, status]);
      const format = { opcode: AdminOpcode.formatNvm, nsid: 3 };
      expect(host.admin.run(format).status).toBe(status);
      const feature = { opcode: AdminOpcode.getFeatures, cdw10: FeatureId.errorRecovery, nsid: 1 };
      expect(host.admin.run(feature).status).toBe(status);
      expect(host.identify(0, 1).status).toBe(SUCCESS);
    }
    for (const wrong of [0, 3, 1.5])
      expect(() => host.device.setAnaState(wrong, "change")).toThrow(ConfigError);
  });

  test("lists groups and their namespaces in its log, and reports a change by an event", () => {
    using started = startedHost({ anaGroups: 3, namespaces: 2 });
    const { host } = started;
    host.admin.run({
      opcode: AdminOpcode.setFeatures,
      cdw10: FeatureId.asyncEventConfiguration,
      cdw11: 1 << 11,
    });
    host.admin.post({ opcode: AdminOpcode.asyncEventRequest });
    host.device.setAnaState(2, "inaccessible");
    host.device.setAnaState(2, "inaccessible");
    host.device.pump();
    expect(host.admin.take()?.dw0).toBe((LogPageId.asymmetricNamespaceAccess << 16) | (3 << 8) | 2);
    const { page } = host.log(LogPageId.asymmetricNamespaceAccess, 16 + 2 * 36);
    const words = new Uint32Array(page.buffer, page.byteOffset, 22);
    expect([...words]).toEqual([
      ...[1, 0, 2, 0],
      ...[1, 1, 0, 0, 1, 0, 0, 0, 1],
      ...[2, 1, 1, 0, 3, 0, 0, 0, 2],
    ]);
    using plain = new NvmeTestHost();
    plain.enable();
    expect(plain.log(LogPageId.asymmetricNamespaceAccess, 16).status).toBe(NvmeStatus.invalidLogPage);
  });
});

describe("lockdown", () => {
  const lock = (host: NvmeTestHost, scope: number, identifier: number, prohibit = true, more = 0): number =>
    host.admin.run({
      opcode: AdminOpcode.lockdown,
      cdw10: scope | (prohibit ? 1 << 4 : 0) | (identifier << 8) | more,
    }).status;

  test("forbids commands and features, even after a reset, until they are allowed again", () => {
    using started = startedHost();
    const { host } = started;
    expect(lock(host, 0, AdminOpcode.formatNvm)).toBe(SUCCESS);
    expect(lock(host, 2, FeatureId.arbitration)).toBe(SUCCESS);
    host.device.reset();
    host.freeAll();
    host.enable();
    const format = { opcode: AdminOpcode.formatNvm, nsid: 1 };
    const set = (cdw10: number): number => host.admin.run({ opcode: AdminOpcode.setFeatures, cdw10 }).status;
    expect(host.admin.run(format).status).toBe(NvmeStatus.commandProhibitedByLockdown);
    expect(set(FeatureId.arbitration)).toBe(NvmeStatus.commandProhibitedByLockdown);
    expect(set(FeatureId.powerManagement)).toBe(SUCCESS);
    expect(lock(host, 0, AdminOpcode.formatNvm, false)).toBe(SUCCESS);
    expect(lock(host, 2, FeatureId.arbitration, false)).toBe(SUCCESS);
    expect(host.admin.run(format).status).toBe(SUCCESS);
    expect(set(FeatureId.arbitration)).toBe(SUCCESS);
  });

  test("is refused for commands that can't be locked", () => {
    using started = startedHost();
    const { host } = started;
    for (const opcode of [AdminOpcode.identify, AdminOpcode.lockdown, AdminOpcode.abort]) {
      expect(lock(host, 0, opcode)).toBe(NvmeStatus.prohibitionOfCommandExecutionNotSupported);
    }
    for (const scope of [1, 3, 4, 15]) expect(lock(host, scope, 0)).toBe(NvmeStatus.invalidField);
    expect(lock(host, 0, AdminOpcode.formatNvm, true, 1 << 5)).toBe(NvmeStatus.invalidField);
  });

  test("and asymmetric access move with the controller", () => {
    using source = new NvmeTestHost({ anaGroups: 1 });
    source.enable();
    lock(source, 0, AdminOpcode.formatNvm);
    source.device.setAnaState(1, "inaccessible");
    using target = new NvmeTestHost({ anaGroups: 1 });
    target.takeOver(source);
    target.device.migration.start();
    target.device.reset();
    target.freeAll();
    target.enable();
    const { status } = target.admin.run({ opcode: AdminOpcode.formatNvm, nsid: 1 });
    expect(status).toBe(NvmeStatus.commandProhibitedByLockdown);
    expect(target.createIo().run({ opcode: IoOpcode.flush, nsid: 1 }).status).toBe(
      NvmeStatus.asymmetricAccessInaccessible,
    );
  });
});

test("Security Receive returns as much of the list of protocols as was asked for, and nothing else", () => {
  using started = startedHost();
  const { host } = started;
  const at = host.alloc(4096);
  const receive = (protocol: number, specific: number, length: number): number => {
    host.bytes(at, 4096).fill(0xee);
    return host.admin.run({
      opcode: AdminOpcode.securityReceive,
      prp1: host.iova(at),
      cdw10: ((protocol << 24) | (specific << 8)) >>> 0,
      cdw11: length,
    }).status;
  };
  expect(receive(0, 0, 16)).toBe(SUCCESS);
  expect([...host.bytes(at, 18)]).toEqual([0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0xee, 0xee]);
  expect(receive(0, 0, 8)).toBe(SUCCESS);
  expect([host.bytes(at, 9)[7], host.bytes(at, 9)[8]]).toEqual([1, 0xee]);
  expect(receive(0, 1, 4)).toBe(SUCCESS);
  expect(receive(0, 0, 0)).toBe(SUCCESS);
  for (const [protocol, specific, length] of [
    [1, 0, 512],
    [0xea, 0, 512],
    [0, 2, 512],
    [0, 0, 0xffff_ffff],
  ] as const) {
    expect(receive(protocol, specific, length)).toBe(NvmeStatus.invalidField);
  }
  const send = { opcode: AdminOpcode.securitySend, prp1: host.iova(at), cdw11: 512 };
  expect(host.admin.run(send).status).toBe(NvmeStatus.invalidField);
});

describe("persistent features", () => {
  const set = (host: NvmeTestHost, id: number, value: number, nsid = 0): number =>
    host.admin.run({ opcode: AdminOpcode.setFeatures, cdw10: id, cdw11: value, nsid }).status;
  const get = (host: NvmeTestHost, id: number, which = 0, cdw11 = 0, nsid = 0): number => {
    const { status, dw0 } = host.admin.run({
      opcode: AdminOpcode.getFeatures,
      cdw10: id | select(which),
      cdw11,
      nsid,
    });
    expect(status).toBe(SUCCESS);
    return dw0;
  };

  test("have their values after a reset and in the next emulator of the file; others have defaults", () => {
    const folder = mkdtempSync(join(tmpdir(), "iova-features-"));
    try {
      const options = { file: join(folder, "disk"), sizeBytes: 1 << 20 };
      const look = (host: NvmeTestHost): void => {
        for (const which of [0, SAVED]) {
          expect(get(host, FeatureId.arbitration, which)).toBe(3);
          expect(get(host, FeatureId.interruptCoalescing, which)).toBe(0x0102);
          expect(get(host, FeatureId.temperatureThreshold, which)).toBe(333);
          expect(get(host, FeatureId.temperatureThreshold, which, 1 << 20)).toBe(100);
          expect(get(host, FeatureId.errorRecovery, which, 0, 1)).toBe(7);
          expect(get(host, FeatureId.interruptVectorConfiguration, which, 2)).toBe(0x1_0002);
          expect(get(host, FeatureId.interruptVectorConfiguration, which, 3)).toBe(3);
        }
        expect(get(host, FeatureId.asyncEventConfiguration)).toBe(0);
        expect(get(host, FeatureId.volatileWriteCache)).toBe(1);
        expect(get(host, FeatureId.arbitration, DEFAULT)).toBe(7);
        expect(get(host, FeatureId.temperatureThreshold, DEFAULT)).toBe(343);
        expect(get(host, FeatureId.errorRecovery, DEFAULT, 0, 1)).toBe(0);
      };
      {
        using host = new NvmeTestHost(options);
        host.enable();
        expect(get(host, FeatureId.arbitration, SAVED)).toBe(7);
        for (const [id, value, nsid] of [
          [FeatureId.arbitration, 5, 0],
          [FeatureId.arbitration, 3, 0],
          [FeatureId.interruptCoalescing, 0x0102, 0],
          [FeatureId.temperatureThreshold, 333, 0],
          [FeatureId.temperatureThreshold, 100 | (1 << 20), 0],
          [FeatureId.errorRecovery, 7, 1],
          [FeatureId.interruptVectorConfiguration, 0x1_0002, 0],
        ] as const) {
          expect(set(host, id + SAVE, value, nsid)).toBe(SUCCESS);
        }
        set(host, FeatureId.asyncEventConfiguration, 2);
        set(host, FeatureId.volatileWriteCache, 0);
        set(host, FeatureId.arbitration, 1);
        expect([get(host, FeatureId.arbitration), get(host, FeatureId.arbitration, SAVED)]).toEqual([1, 3]);
        host.device.reset();
        host.freeAll();
        host.enable();
        look(host);
      }
      using host = new NvmeTestHost(options);
      host.enable();
      look(host);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test("are reported as saveable; other features and invalid values are refused", () => {
    using started = startedHost();
    const { host } = started;
    expect(identifyController.decode(host.identify(1).page).oncs & (1 << 4)).not.toBe(0);
    expect(get(host, FeatureId.arbitration, SUPPORTED)).toBe(5);
    expect(get(host, FeatureId.errorRecovery, SUPPORTED, 0, 1)).toBe(7);
    expect(get(host, FeatureId.timestamp, SUPPORTED)).toBe(4);
    for (const id of [FeatureId.timestamp, FeatureId.keepAliveTimer, FeatureId.numberOfQueues]) {
      expect(set(host, id + SAVE, 0)).toBe(NvmeStatus.featureIdentifierNotSaveable);
    }
    expect(set(host, FeatureId.powerManagement + SAVE, 3)).toBe(NvmeStatus.invalidField);
    expect(get(host, FeatureId.powerManagement, SAVED)).toBe(0);
    expect(set(host, FeatureId.errorRecovery + SAVE, 3, 9)).toBe(NvmeStatus.invalidNamespace);
  });
});
