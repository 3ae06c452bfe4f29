/** Features: their values over resets, what is refused, and what some of them do. */
import { hexDigits } from "../../../../core/hex-digits.js";
import { decodeBits, Vwc } from "../../../../nvme/spec/capabilities.js";
import { AdminOpcode, FeatureId, FeatureSelect } from "../../../../nvme/spec/opcodes.js";
import { ControllerStatus, NvmeRegister } from "../../../../nvme/spec/registers.js";
import { NvmeStatus } from "../../../../nvme/spec/status.js";
import type { ConformBench } from "../bench.js";
import { subjectOf } from "../check.js";
import { expect, needs } from "../findings.js";
import { feature, setFeature } from "./logs-and-features.js";
import { promises } from "./promises.js";
import { refused } from "./refusals.js";

const FEATURES = "Base: Feature Values";
const { getFeatures, setFeatures } = AdminOpcode;
const { invalidField, invalidNamespace, featureNotChangeable } = NvmeStatus;
/** SEL 3: what Get Features says of a feature. */
const SAVEABLE = 1;
const CHANGEABLE = 4;
const SAVE = 2 ** 31;

/** Features whose value is a plain dword, and another value that any controller takes. */
const values: readonly (readonly [fid: number, value: number])[] = [
  [FeatureId.arbitration, 0x0302_0102],
  [FeatureId.interruptCoalescing, 0x0203],
  [FeatureId.writeAtomicityNormal, 1],
  [FeatureId.temperatureThreshold, 400],
];
const mandatory = [...values.map(([fid]) => fid), FeatureId.powerManagement, FeatureId.numberOfQueues];

async function selects(bench: ConformBench): Promise<void> {
  needs(promises.oncs(await bench.controller(), "saveFeatures"), "SEL and SV aren't supported (ONCS)");
}

const sets = (fid: number, value: number, nsid?: number) => () => ({
  opcode: setFeatures,
  ...(nsid !== undefined && { nsid }),
  cdw: [fid, value],
});

export const features = subjectOf("features", [
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
      needs(promises.oncs(await bench.controller(), "timestamp"), "there is none (ONCS)");
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
]);
