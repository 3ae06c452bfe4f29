/** Each structure of Identify, more of log pages and features, and admin commands with wrong fields. */
import { hexDigits } from "../../../../core/hex-digits.js";
import { Ctratt, decodeBits, Lpa, Oacs, Oncs, Vwc } from "../../../../nvme/spec/capabilities.js";
import type { IdentifyController } from "../../../../nvme/spec/identify.js";
import { CommandEffects, commandEffectsLog, firmwareSlotLog } from "../../../../nvme/spec/log-pages.js";
import {
  AdminOpcode,
  BROADCAST_NSID,
  CommandSet,
  FeatureId,
  FeatureSelect,
  IdentifyCns,
  LogPageId,
} from "../../../../nvme/spec/opcodes.js";
import { ControllerStatus, NvmeRegister } from "../../../../nvme/spec/registers.js";
import { NvmeStatus } from "../../../../nvme/spec/status.js";
import { type ConformBench, type Fields, VERSION_1_1 } from "../bench.js";
import { subjectOf } from "../check.js";
import { expect, expectSame, needs } from "../findings.js";
import { feature, readLog, setFeature } from "./logs-and-features.js";

const IDENTIFY = "Base: Identify command";
const GET_LOG = "Base: Get Log Page command";
const FEATURES = "Base: Feature Values";
const { identify, getLogPage, getFeatures, setFeatures, abort } = AdminOpcode;
const { invalidField, invalidNamespace, invalidOpcode, invalidLogPage, featureNotChangeable } = NvmeStatus;
const VERSION_1_2 = 0x1_0200;
const VERSION_1_3 = 0x1_0300;
const VERSION_2_0 = 0x2_0000;
/** SEL 3: what Get Features says of a feature. */
const SAVEABLE = 1;
const CHANGEABLE = 4;
const SAVE = 2 ** 31;

const flags = {
  oacs: ({ oacs }: IdentifyController, name: keyof typeof Oacs) => decodeBits(oacs, Oacs)[name] === true,
  oncs: ({ oncs }: IdentifyController, name: keyof typeof Oncs) => decodeBits(oncs, Oncs)[name] === true,
  lpa: ({ lpa }: IdentifyController, name: keyof typeof Lpa) => decodeBits(lpa, Lpa)[name] === true,
  ctratt: ({ ctratt }: IdentifyController, name: keyof typeof Ctratt) =>
    decodeBits(ctratt, Ctratt)[name] === true,
};
type Has = (controller: IdentifyController, version: number) => boolean;
const managed: Has = (controller, version) =>
  version >= VERSION_1_2 && flags.oacs(controller, "namespaceManagement");
const attribute =
  (name: keyof typeof Ctratt): Has =>
  (controller, version) =>
    version >= VERSION_1_3 && flags.ctratt(controller, name);
const virtual: Has = (controller, version) =>
  version >= VERSION_1_3 && flags.oacs(controller, "virtualizationManagement");
const since20: Has = (_, version) => version >= VERSION_2_0;
const never: Has = () => false;

/** Structures beyond those that admin.ts looks at: who must have them, and whether they are of a namespace. */
const structures: readonly (readonly [cns: keyof typeof IdentifyCns, has: Has, ofNamespace: boolean])[] = [
  ["nvmSets", attribute("nvmSets"), false],
  ["namespaceForCommandSet", since20, true],
  ["controllerForCommandSet", since20, false],
  ["activeNamespacesForCommandSet", since20, false],
  ["namespaceIndependent", since20, true],
  ["allocatedNamespaces", managed, false],
  ["allocatedNamespace", managed, true],
  ["controllersOfNamespace", managed, true],
  ["controllers", managed, false],
  ["primaryController", virtual, false],
  ["secondaryControllers", virtual, false],
  ["namespaceGranularity", attribute("namespaceGranularity"), false],
  ["uuids", attribute("uuidList"), false],
  ["domains", never, false],
  ["enduranceGroups", attribute("enduranceGroups"), false],
  ["commandSets", since20, false],
];

const words = (page: Uint8Array): Uint32Array => new Uint32Array(page.buffer, page.byteOffset, 1024);

/** Features whose value is a plain dword, and another value that any controller takes. */
const values: readonly (readonly [fid: number, value: number])[] = [
  [FeatureId.arbitration, 0x0302_0102],
  [FeatureId.interruptCoalescing, 0x0203],
  [FeatureId.writeAtomicityNormal, 1],
  [FeatureId.temperatureThreshold, 400],
];
const mandatory = [...values.map(([fid]) => fid), FeatureId.powerManagement, FeatureId.numberOfQueues];

async function selects(bench: ConformBench): Promise<void> {
  needs(flags.oncs(await bench.controller(), "saveFeatures"), "SEL and SV aren't supported (ONCS)");
}

/** A check of an admin command that must be refused. */
const refused = (
  what: string,
  section: string,
  fields: (bench: ConformBench) => Promise<Fields> | Fields,
  ...expected: readonly number[]
) =>
  [
    `${what} is refused`,
    section,
    async (bench: ConformBench) => {
      await bench.start();
      await bench.fails(await bench.admin(), await fields(bench), ...expected);
    },
  ] as const;

const page =
  (cns: number, nsid: number, since = 0) =>
  (bench: ConformBench) => {
    needs(bench.bar.read32(NvmeRegister.VS) >= since, "it came with a later version");
    return { opcode: identify, nsid, data: bench.alloc(4096), cdw: [cns] };
  };
const logAt = (id: number, offset: number) => async (bench: ConformBench) => {
  needs(flags.lpa(await bench.controller(), "extendedData"), "logs have no offsets (LPA)");
  const cdw = [(3 << 16) | id, 0, offset];
  return { opcode: getLogPage, nsid: BROADCAST_NSID, data: bench.alloc(4096), cdw };
};
const sets = (fid: number, value: number, nsid?: number) => () => ({
  opcode: setFeatures,
  ...(nsid !== undefined && { nsid }),
  cdw: [fid, value],
});

export const structuresAndFields = subjectOf("structures and fields", [
  ...structures.map(
    ([cns, has, ofNamespace]) =>
      [
        `Identify ${hexDigits(IdentifyCns[cns], 2)}h (${cns}) is whole and the same twice, or not there`,
        IDENTIFY,
        async (bench: ConformBench) => {
          const controller = await bench.controller();
          const must = has(controller, bench.bar.read32(NvmeRegister.VS));
          const nsid = ofNamespace ? (await bench.blocks()).nsid : 0;
          const pages = [bench.alloc(4096), bench.alloc(4096)] as const;
          for (const [i, data] of pages.entries()) {
            data.bytes.fill(i === 0 ? 0x55 : 0xaa);
            // FFFFh is this controller.
            const cdw = [(IdentifyCns[cns] | (cns === "commandSets" ? 0xffff_0000 : 0)) >>> 0];
            const fields = { opcode: identify, nsid, data, cdw };
            const { status } = await bench.send(await bench.admin(), fields);
            needs(must || status !== invalidField, "it isn't there");
            expect(status === 0, `status ${hexDigits(status, 3)}h`);
          }
          expectSame(pages[0].bytes, pages[1].bytes);
        },
      ] as const,
  ),
  [
    "each active namespace is among the allocated ones",
    IDENTIFY,
    async (bench) => {
      needs(
        managed(await bench.controller(), bench.bar.read32(NvmeRegister.VS)),
        "there is no namespace management (OACS)",
      );
      const active = words(await bench.identify(IdentifyCns.activeNamespaces));
      const allocated = words(await bench.identify(IdentifyCns.allocatedNamespaces));
      const missing = active.filter((id) => id !== 0 && !allocated.includes(id));
      expect(missing.length === 0, `${missing.join()} isn't allocated`);
    },
  ],
  [
    "this controller is among the controllers of the subsystem and of the namespace",
    IDENTIFY,
    async (bench) => {
      const controller = await bench.controller();
      needs(
        managed(controller, bench.bar.read32(NvmeRegister.VS)),
        "there is no namespace management (OACS)",
      );
      const { nsid } = await bench.blocks();
      for (const [cns, id] of [
        [IdentifyCns.controllers, 0],
        [IdentifyCns.controllersOfNamespace, nsid],
      ] as const) {
        const list = await bench.identify(cns, id);
        const [count = 0, ...ids] = new Uint16Array(list.buffer, list.byteOffset, 2048);
        const has = ids.slice(0, count).includes(controller.cntlid);
        expect(has, `CNS ${hexDigits(cns, 2)}h lacks ${controller.cntlid}`);
      }
    },
  ],
  refused("Identify of namespace 0", IDENTIFY, page(IdentifyCns.namespace, 0), invalidNamespace),
  refused(
    "a list of namespaces after FFFFFFFEh",
    IDENTIFY,
    page(IdentifyCns.activeNamespaces, BROADCAST_NSID - 1, VERSION_1_1),
    invalidNamespace,
  ),
  refused(
    "a list of namespaces after FFFFFFFFh",
    IDENTIFY,
    page(IdentifyCns.activeNamespaces, BROADCAST_NSID, VERSION_1_1),
    invalidNamespace,
  ),
  refused(
    "descriptors of namespace 0",
    IDENTIFY,
    page(IdentifyCns.namespaceDescriptors, 0, VERSION_1_3),
    invalidNamespace,
  ),
  refused(
    "a structure of an unknown command set",
    IDENTIFY,
    async (bench) => {
      needs(bench.bar.read32(NvmeRegister.VS) >= VERSION_2_0, "command sets came with version 2.0");
      return { ...page(IdentifyCns.controllerForCommandSet, 0)(bench), cdw: [6, 0x2f << 24] };
    },
    invalidField,
    NvmeStatus.invalidIoCommandSet,
  ),
  refused("a log page from an offset within a dword", GET_LOG, logAt(LogPageId.smart, 2), invalidField),
  refused("a log page from beyond its end", GET_LOG, logAt(LogPageId.smart, 4096), invalidField),
  [
    "a log page has the same bytes when read from an offset",
    GET_LOG,
    async (bench) => {
      needs(flags.lpa(await bench.controller(), "extendedData"), "logs have no offsets (LPA)");
      const whole = await readLog(bench, LogPageId.firmwareSlot, 512);
      for (const offset of [4, 64, 508]) {
        const rest = await readLog(bench, LogPageId.firmwareSlot, 512 - offset, offset);
        const at = rest.findIndex((byte, i) => byte !== whole[offset + i]);
        expect(at < 0, `byte ${at} from offset ${offset} on differs`);
      }
    },
  ],
  [
    "a dword of a log page can be read alone",
    GET_LOG,
    async (bench) => {
      const [first] = await readLog(bench, LogPageId.firmwareSlot, 4);
      expect(first === (await readLog(bench, LogPageId.firmwareSlot, 512))[0], "it differs");
    },
  ],
  ...(
    [
      ["Commands Supported and Effects", LogPageId.commandsSupported, 4096, "lpa", "commandEffects"],
      ["Supported Log Pages", LogPageId.supportedLogPages, 1024, "lpa", "supportedLogPages"],
      ["Device Self-test", LogPageId.deviceSelfTest, 564, "oacs", "deviceSelfTest"],
    ] as const
  ).map(
    ([name, id, bytes, where, bit]) =>
      [
        `the log ${name} can be read if Identify Controller has it`,
        GET_LOG,
        async (bench: ConformBench) => {
          const controller = await bench.controller();
          const has = where === "lpa" ? flags.lpa(controller, bit) : flags.oacs(controller, bit);
          needs(
            has || (id === LogPageId.supportedLogPages && controller.ver >= VERSION_2_0),
            `there is none (${where.toUpperCase()})`,
          );
          await readLog(bench, id, bytes);
        },
      ] as const,
  ),
  [
    "the Effects log has all mandatory commands, and opcodes that it lacks are refused",
    "Base: Commands Supported and Effects log page",
    async (bench) => {
      needs(flags.lpa(await bench.controller(), "commandEffects"), "there is none (LPA)");
      const { acs, iocs } = commandEffectsLog.decode(await readLog(bench, LogPageId.commandsSupported, 4096));
      const lacks = (list: readonly number[], opcode: number): boolean =>
        ((list[opcode] ?? 0) & CommandEffects.CSUPP) === 0;
      const missing = [0, 1, 2, 4, 5, 6, 8, 9, 0x0a, 0x0c].filter((opcode) => lacks(acs, opcode));
      expect(missing.length === 0, `it lacks admin opcodes ${missing.join()}`);
      expect(![0, 1, 2].some((opcode) => lacks(iocs, opcode)), "it lacks Flush, Write or Read");
      // Without data, so that no command of a vendor could do harm.
      const unknown = acs.flatMap((_, opcode) => (opcode < 0x80 && lacks(acs, opcode) ? [opcode] : []));
      for (const opcode of unknown.slice(0, 8))
        await bench.fails(await bench.admin(), { opcode }, invalidOpcode);
      const { nsid } = await bench.blocks();
      for (let opcode = 0x30; opcode < 0x38; opcode++)
        if (lacks(iocs, opcode)) await bench.fails(await bench.io(), { opcode, nsid }, invalidOpcode);
    },
  ],
  [
    "log pages that the Supported Log Pages log lacks are refused",
    "Base: Supported Log Pages log page",
    async (bench) => {
      const controller = await bench.controller();
      const has20 = controller.ver >= VERSION_2_0;
      needs(has20 || flags.lpa(controller, "supportedLogPages"), "there is none (LPA)");
      const list = new Uint32Array((await readLog(bench, LogPageId.supportedLogPages, 1024)).slice().buffer);
      const has = (id: number): boolean => ((list[id] ?? 0) & 1) !== 0;
      expect([0, 1, 2, 3].every(has), "it lacks a mandatory page");
      for (const id of [0x3f, 0x50, 0x60].filter((one) => !has(one))) {
        const fields = { opcode: getLogPage, nsid: BROADCAST_NSID, data: bench.alloc(4096), cdw: [id] };
        await bench.fails(await bench.admin(), fields, invalidLogPage, invalidField);
      }
    },
  ],
  [
    "the Firmware Slot log has the revision of Identify Controller in the active slot",
    "Base: Firmware Slot Information log page",
    async (bench) => {
      const { fr } = await bench.controller();
      const { afi, frs } = firmwareSlotLog.decode(await readLog(bench, LogPageId.firmwareSlot, 512));
      const slot = afi & 7;
      expect(slot > 0, "no slot is active");
      const there = frs[slot - 1]?.trim();
      expect(there === fr.trim(), `slot ${slot} has ${there}, Identify Controller ${fr.trim()}`);
      return `slot ${slot}`;
    },
  ],
  ...mandatory.map(
    (fid) =>
      [
        `the feature ${hexDigits(fid, 2)}h has its default or saved value after a reset`,
        FEATURES,
        async (bench: ConformBench) => {
          await selects(bench);
          await bench.start();
          const isSaveable = ((await feature(bench, fid, FeatureSelect.supported)) & SAVEABLE) !== 0;
          const wanted = await feature(bench, fid, isSaveable ? FeatureSelect.saved : FeatureSelect.default);
          const now = await feature(bench, fid);
          expect(now === wanted, `it is ${hexDigits(now, 8)}h, not ${hexDigits(wanted, 8)}h`);
        },
      ] as const,
  ),
  ...values.map(
    ([fid, value]) =>
      [
        `the feature ${hexDigits(fid, 2)}h keeps what was set, if it is changeable, and loses it by a reset`,
        FEATURES,
        async (bench: ConformBench) => {
          await selects(bench);
          await bench.start();
          const can = ((await feature(bench, fid, FeatureSelect.supported)) & CHANGEABLE) !== 0;
          needs(can, "it isn't changeable");
          const before = await feature(bench, fid);
          await setFeature(bench, fid, value);
          const now = await feature(bench, fid);
          await bench.start();
          const after = await feature(bench, fid);
          await setFeature(bench, fid, before);
          expect(now === value, `${hexDigits(value, 8)}h was set, and it is ${hexDigits(now, 8)}h`);
          expect(after === before, "it stayed");
        },
      ] as const,
  ),
  [
    "a feature that isn't saveable isn't saved",
    FEATURES,
    async (bench) => {
      await selects(bench);
      const fid = FeatureId.numberOfQueues;
      needs(((await feature(bench, fid, FeatureSelect.supported)) & SAVEABLE) === 0, "it is saveable");
      await bench.start();
      const fields = { opcode: setFeatures, cdw: [(fid | SAVE) >>> 0, 0] };
      await bench.fails(await bench.admin(), fields, NvmeStatus.featureIdentifierNotSaveable);
    },
  ],
  [
    "the number of queues can't be asked for when there are queues",
    "Base: Number of Queues",
    async (bench) => {
      await bench.start();
      await bench.pair();
      const fields = { opcode: setFeatures, cdw: [FeatureId.numberOfQueues, 0] };
      await bench.fails(await bench.admin(), fields, NvmeStatus.commandSequenceError);
      await bench.stop();
    },
  ],
  [
    "the volatile write cache can be switched off and on",
    "Base: Volatile Write Cache",
    async (bench) => {
      needs(decodeBits((await bench.controller()).vwc, Vwc).present, "there is none (VWC)");
      await bench.start();
      for (const value of [0, 1]) {
        await setFeature(bench, FeatureId.volatileWriteCache, value);
        const now = (await feature(bench, FeatureId.volatileWriteCache)) & 1;
        expect(now === value, `${value} was set, and it is ${now}`);
      }
    },
  ],
  [
    "the timestamp goes on from what was set",
    "Base: Timestamp",
    async (bench) => {
      needs(flags.oncs(await bench.controller(), "timestamp"), "there is none (ONCS)");
      const data = bench.alloc(4096);
      const view = new DataView(data.bytes.buffer, data.bytes.byteOffset);
      const wanted = 0x12_3456_789an;
      view.setBigUint64(0, wanted, true);
      const cdw = [FeatureId.timestamp];
      await bench.ok(await bench.admin(), { opcode: setFeatures, data, cdw });
      await bench.ok(await bench.admin(), { opcode: getFeatures, data, cdw });
      const [ms, attributes] = [view.getBigUint64(0, true) & 0xffff_ffff_ffffn, view.getUint8(6)];
      expect(ms >= wanted && ms < wanted + 3_600_000n, `${wanted} was set, and it is ${ms}`);
      expect(((attributes >> 1) & 7) === 1, `attributes ${hexDigits(attributes, 2)}h`);
    },
  ],
  refused(
    "an interrupt vector that there can't be",
    "Base: Interrupt Vector Configuration",
    sets(FeatureId.interruptVectorConfiguration, 0xffff),
    invalidField,
    featureNotChangeable,
  ),
  refused(
    "a power state above NPSS",
    "Base: Power Management",
    async (bench) => {
      const { npss } = await bench.controller();
      needs(npss < 31, "all 32 power states exist");
      return sets(FeatureId.powerManagement, npss + 1)();
    },
    invalidField,
    featureNotChangeable,
  ),
  refused(
    "a temperature threshold of a reserved type",
    "Base: Temperature Threshold",
    sets(FeatureId.temperatureThreshold, 2 << 20),
    invalidField,
  ),
  refused(
    "a feature of a namespace that there can't be",
    "Base: Error Recovery",
    async (bench) => {
      const of = await bench.send(await bench.admin(), {
        opcode: getFeatures,
        nsid: (await bench.blocks()).nsid,
        cdw: [FeatureId.errorRecovery],
      });
      needs(of.status === 0, "there is no Error Recovery");
      return sets(FeatureId.errorRecovery, 1, 0xffff_fff0)();
    },
    invalidNamespace,
  ),
  refused("Set Features of an unknown feature", "Base: Set Features command", sets(0xbf, 0), invalidField),
  [
    "ACL + 1 Aborts at once are all completed",
    "Base: Abort command",
    async (bench) => {
      const { acl } = await bench.controller();
      const queue = await bench.start();
      const count = Math.min(acl + 1, 16);
      const cids = Array.from({ length: count }, () =>
        bench.post(queue, { opcode: abort, cdw: [0xfff0_0000] }),
      );
      queue.sq.ringDoorbell();
      for (const cid of cids) if (queue.outstanding.has(cid)) await bench.completed(queue, cid);
      return `${count}`;
    },
  ],
  [
    "Abort of a command in a queue that there isn't aborts nothing",
    "Base: Abort command",
    async (bench) => {
      const { status, dw0 } = await bench.send(await bench.admin(), { opcode: abort, cdw: [0x1_fff0] });
      const isRight = status === invalidField || (status === 0 && (dw0 & 1) === 1);
      expect(isRight, `status ${hexDigits(status, 3)}h, DW0 ${dw0}`);
    },
  ],
  [
    "an Asynchronous Event Request can be aborted",
    "Base: Abort command",
    async (bench) => {
      const queue = await bench.start();
      const cid = bench.post(queue, { opcode: AdminOpcode.asyncEventRequest });
      queue.sq.ringDoorbell();
      await bench.controller();
      const { dw0 } = await bench.ok(queue, { opcode: abort, cdw: [((cid << 16) | 0) >>> 0] });
      if ((dw0 & 1) === 1) return "it wasn't";
      const { status } = queue.outstanding.has(cid) ? await bench.completed(queue, cid) : { status: 7 };
      expect(status === NvmeStatus.commandAbortRequested, `status ${hexDigits(status, 3)}h`);
      return undefined;
    },
  ],
  [
    "a Keep Alive Timer that runs out stops the controller",
    "Base: Keep Alive",
    async (bench) => {
      const { kas } = await bench.controller();
      needs(kas > 0 && kas <= 100, `KAS ${kas}`);
      await bench.start();
      await setFeature(bench, FeatureId.keepAliveTimer, kas * 100);
      const failed = (): boolean => (bench.bar.read32(NvmeRegister.CSTS) & ControllerStatus.CFS) !== 0;
      await bench.until("CSTS.CFS", failed, Math.max(bench.timeoutMs, kas * 1000));
      await bench.start();
    },
  ],
  [
    "the command sets of a namespace are NVM's",
    "Base: I/O Command Sets",
    async (bench) => {
      needs(bench.bar.read32(NvmeRegister.VS) >= VERSION_2_0, "command sets came with version 2.0");
      const { nsid } = await bench.blocks();
      const list = words(
        await bench.identify(IdentifyCns.activeNamespacesForCommandSet, nsid - 1, CommandSet.nvm),
      );
      expect(list[0] === nsid, `namespace ${list[0]} comes first`);
    },
  ],
]);
