/** Admin commands: Identify, logs, features, events, abort, power states, self-test. */
import { setTimeout as sleep } from "node:timers/promises";
import { hexDigits } from "../../../../core/hex-digits.js";
import { decodeBits, Oacs } from "../../../../nvme/spec/capabilities.js";
import { identifyNamespace } from "../../../../nvme/spec/identify.js";
import { CriticalWarning, selfTestLog, smartLog } from "../../../../nvme/spec/log-pages.js";
import { splitNamespaceDescriptors } from "../../../../nvme/spec/namespace-descriptors.js";
import {
  AdminOpcode,
  BROADCAST_NSID,
  FeatureId,
  IdentifyCns,
  LogPageId,
} from "../../../../nvme/spec/opcodes.js";
import { NvmeRegister } from "../../../../nvme/spec/registers.js";
import { NvmeStatus } from "../../../../nvme/spec/status.js";
import { PciRegister } from "../../../../pci/config-space.js";
import { type ConformBench, VERSION_1_1 } from "../bench.js";
import { subjectOf } from "../check.js";
import { expect, expectSame, needs } from "../findings.js";
import { feature, readLog, setFeature } from "./logs-and-features.js";

const IDENTIFY = "Base: Identify command";
const GET_LOG = "Base: Get Log Page command";
const GET_FEATURES = "Base: Get Features command";
const {
  identify,
  getLogPage,
  getFeatures,
  setFeatures,
  asyncEventRequest,
  abort,
  keepAlive,
  deviceSelfTest,
} = AdminOpcode;
const { invalidField, invalidNamespace, invalidOpcode, invalidLogPage } = NvmeStatus;
const VERSION_1_3 = 0x1_0300;
const KELVIN_MOST = 0xfffe;
/** A short self-test takes two minutes at most. */
const SELF_TEST_MS = 150_000;

/** Log pages that every I/O controller has. */
const logs = [
  ["Error Information", LogPageId.errorInformation, 64],
  ["SMART / Health Information", LogPageId.smart, 512],
  ["Firmware Slot Information", LogPageId.firmwareSlot, 512],
] as const;

/** Features that every I/O controller has. */
const features = [
  FeatureId.arbitration,
  FeatureId.powerManagement,
  FeatureId.temperatureThreshold,
  FeatureId.numberOfQueues,
  FeatureId.interruptCoalescing,
  FeatureId.interruptVectorConfiguration,
  FeatureId.writeAtomicityNormal,
  FeatureId.asyncEventConfiguration,
] as const;

export const admin = subjectOf("admin commands", [
  [
    "Identify Controller says the vendor id of configuration space",
    IDENTIFY,
    async (bench) => {
      const { vid } = await bench.controller();
      const wanted = bench.device.config.read16(PciRegister.vendorId);
      expect(vid === wanted, `VID ${hexDigits(vid, 4)}, and configuration space has ${hexDigits(wanted, 4)}`);
    },
  ],
  [
    "Identify Controller is the same twice, and writes all its 4096 bytes",
    IDENTIFY,
    async (bench) => {
      const pages = [bench.alloc(4096), bench.alloc(4096)] as const;
      for (const [i, data] of pages.entries()) {
        data.bytes.fill(i === 0 ? 0x55 : 0xaa);
        await bench.ok(await bench.admin(), { opcode: identify, data, cdw: [IdentifyCns.controller] });
      }
      expectSame(pages[0].bytes, pages[1].bytes);
    },
  ],
  [
    "serial number, model and firmware are ASCII",
    IDENTIFY,
    async (bench) => {
      const { sn, mn, fr } = await bench.controller();
      for (const text of [sn, mn, fr]) expect(/^[ -~]*$/.test(text), JSON.stringify(text));
      return `${mn.trim()}, ${sn.trim()}, ${fr.trim()}`;
    },
  ],
  [
    "VER of Identify Controller is the register VS",
    IDENTIFY,
    async (bench) => {
      const { ver } = await bench.controller();
      const vs = bench.bar.read32(NvmeRegister.VS);
      needs(vs >= 0x1_0200, "VER came with version 1.2");
      expect(ver === vs, `VER ${hexDigits(ver, 8)}, VS ${hexDigits(vs, 8)}`);
    },
  ],
  [
    "SQES and CQES allow entries of 64 and 16 bytes",
    IDENTIFY,
    async (bench) => {
      const { sqes, cqes } = await bench.controller();
      const allows = (value: number, log2: number): boolean => (value & 0xf) === log2 && value >>> 4 >= log2;
      expect(allows(sqes, 6) && allows(cqes, 4), `SQES ${hexDigits(sqes, 2)}h, CQES ${hexDigits(cqes, 2)}h`);
    },
  ],
  [
    "the list of active namespaces rises and stays within NN",
    IDENTIFY,
    async (bench) => {
      needs(bench.bar.read32(NvmeRegister.VS) >= VERSION_1_1, "the list came with version 1.1");
      const { nn } = await bench.controller();
      const page = await bench.identify(IdentifyCns.activeNamespaces);
      const ids = [...new Uint32Array(page.buffer, page.byteOffset, 1024)];
      const used = ids.slice(0, ids.indexOf(0));
      expect(
        used.every((id, i) => id > (used[i - 1] ?? 0) && id <= nn),
        used.join(),
      );
      const [first = 0] = used;
      const rest = await bench.identify(IdentifyCns.activeNamespaces, first);
      const next = new Uint32Array(rest.buffer, rest.byteOffset, 1)[0];
      expect(first === 0 || next === (used[1] ?? 0), `after ${first} comes ${next}`);
    },
  ],
  [
    "NCAP and NUSE of a namespace aren't above NSZE",
    "NVM: Identify Namespace data structure",
    async (bench) => {
      const { nsid } = await bench.blocks();
      const { nsze, ncap, nuse } = identifyNamespace.decode(
        await bench.identify(IdentifyCns.namespace, nsid),
      );
      expect(nsze >= ncap && ncap >= nuse, `NSZE ${nsze}, NCAP ${ncap}, NUSE ${nuse}`);
    },
  ],
  [
    "a namespace has identification descriptors",
    IDENTIFY,
    async (bench) => {
      needs(bench.bar.read32(NvmeRegister.VS) >= VERSION_1_3, "they came with version 1.3");
      const { nsid } = await bench.blocks();
      const list = splitNamespaceDescriptors(await bench.identify(IdentifyCns.namespaceDescriptors, nsid));
      expect(list.length > 0, "the list is empty");
    },
  ],
  [
    "an unknown structure of Identify is an Invalid Field",
    IDENTIFY,
    async (bench) =>
      await bench.fails(
        await bench.admin(),
        { opcode: identify, data: bench.alloc(4096), cdw: [0xbf] },
        invalidField,
      ),
  ],
  [
    "an impossible namespace is an Invalid Namespace or Format",
    IDENTIFY,
    async (bench) =>
      await bench.fails(
        await bench.admin(),
        { opcode: identify, nsid: 0xffff_fff0, data: bench.alloc(4096), cdw: [IdentifyCns.namespace] },
        invalidNamespace,
      ),
  ],
  [
    "an unknown opcode is an Invalid Command Opcode",
    "Base: Generic Command Status",
    async (bench) => {
      for (const opcode of [0x7f, 0x6b]) await bench.fails(await bench.admin(), { opcode }, invalidOpcode);
    },
  ],
  [
    "an admin command with an SGL is an Invalid Field",
    "Base: Common Command Format, PSDT",
    async (bench) => {
      const fields = {
        opcode: identify,
        flags: 0x40,
        data: bench.alloc(4096),
        cdw: [IdentifyCns.controller],
      };
      await bench.fails(await bench.admin(), fields, invalidField);
    },
  ],
  ...logs.map(
    ([name, id, bytes]) =>
      [
        `the log ${name} can be read, and no more is written than was asked for`,
        GET_LOG,
        async (bench: ConformBench) => {
          const whole = await readLog(bench, id, bytes);
          expect((await readLog(bench, id, 16)).length === 16 && whole.length === bytes, "it differs");
        },
      ] as const,
  ),
  [
    "SMART says a temperature and a used percentage that can be",
    "Base: SMART / Health Information log page",
    async (bench) => {
      const log = smartLog.decode(await readLog(bench, LogPageId.smart, 512));
      const kelvin = log.compositeTemperature;
      expect(kelvin === 0 || (kelvin > 200 && kelvin < 450), `${kelvin} K`);
      expect(log.availableSpare <= 100, `available spare ${log.availableSpare} %`);
      return `${kelvin - 273} °C`;
    },
  ],
  [
    "an unknown log page is an Invalid Log Page or an Invalid Field",
    GET_LOG,
    async (bench) => {
      const fields = {
        opcode: getLogPage,
        nsid: BROADCAST_NSID,
        data: bench.alloc(4096),
        cdw: [(15 << 16) | 0xbf],
      };
      await bench.fails(await bench.admin(), fields, invalidLogPage, invalidField);
    },
  ],
  [
    "an error counts in SMART and stands in the Error Information log, or there is none of it",
    "Base: Error Information log page",
    async (bench) => {
      const count = async () => smartLog.decode(await readLog(bench, LogPageId.smart, 512)).errorLogEntries;
      const before = await count();
      await bench.send(await bench.admin(), { opcode: 0x7f });
      const after = await count();
      expect(after === before || after === before + 1n, `${before}, then ${after}`);
      if (after === before) return "unknown opcodes aren't logged";
      const entry = await readLog(bench, LogPageId.errorInformation, 64);
      const newest = new DataView(entry.buffer, entry.byteOffset).getBigUint64(0, true);
      expect(newest === after, `the newest entry has number ${newest}, not ${after}`);
      return `entry ${newest}`;
    },
  ],
  ...features.map(
    (fid) =>
      [
        `the feature ${hexDigits(fid, 2)}h can be read`,
        GET_FEATURES,
        async (bench: ConformBench) => hexDigits(await feature(bench, fid), 8),
      ] as const,
  ),
  [
    "an unknown feature is an Invalid Field",
    GET_FEATURES,
    async (bench) =>
      await bench.fails(await bench.admin(), { opcode: getFeatures, cdw: [0xbf] }, invalidField),
  ],
  [
    "Asynchronous Event Configuration keeps what was set",
    "Base: Set Features command",
    async (bench) => {
      await bench.start();
      for (const value of [3, 0]) {
        await setFeature(bench, FeatureId.asyncEventConfiguration, value);
        const now = await feature(bench, FeatureId.asyncEventConfiguration);
        expect(now === value, `${value} was set, and it is ${now}`);
      }
    },
  ],
  [
    "a reset takes back what Set Features didn't save",
    "Base: Controller Level Reset",
    async (bench) => {
      await bench.start();
      const before = await feature(bench, FeatureId.asyncEventConfiguration);
      await setFeature(bench, FeatureId.asyncEventConfiguration, before ^ 1);
      await bench.start();
      expect((await feature(bench, FeatureId.asyncEventConfiguration)) === before, "it stayed");
    },
  ],
  [
    "65,536 queues are an Invalid Field",
    "Base: Number of Queues",
    async (bench) => {
      for (const value of [0xffff, 0xffff_0000]) {
        const fields = { opcode: setFeatures, cdw: [FeatureId.numberOfQueues, value] };
        await bench.start();
        await bench.fails(await bench.admin(), fields, invalidField);
      }
    },
  ],
  [
    "a temperature threshold above the temperature causes no warning",
    "Base: Temperature Threshold",
    async (bench) => {
      await bench.start();
      const before = await feature(bench, FeatureId.temperatureThreshold);
      const warns = async () =>
        (smartLog.decode(await readLog(bench, LogPageId.smart, 512)).criticalWarning &
          CriticalWarning.temperature) !==
        0;
      needs(!(await warns()), "there is a warning already");
      await setFeature(bench, FeatureId.temperatureThreshold, KELVIN_MOST);
      const isWarned = await warns();
      await setFeature(bench, FeatureId.temperatureThreshold, before);
      await bench.stop();
      expect(!isWarned, "SMART has the critical warning of temperatures");
    },
  ],
  [
    "the controller enters each of its power states",
    "Base: Power Management",
    async (bench) => {
      await bench.start();
      const { npss } = await bench.controller();
      needs(npss > 0, "there is one power state");
      const before = await feature(bench, FeatureId.powerManagement);
      for (let state = npss; state >= 0; state--) {
        await setFeature(bench, FeatureId.powerManagement, state);
        const now = await feature(bench, FeatureId.powerManagement);
        expect((now & 0x1f) === state, `state ${state} was set, and it is ${now & 0x1f}`);
        bench.status();
      }
      await setFeature(bench, FeatureId.powerManagement, before);
      return `${npss + 1} states`;
    },
  ],
  [
    "AERL + 1 Asynchronous Event Requests are taken, and no more",
    "Base: Asynchronous Event Request command",
    async (bench) => {
      const queue = await bench.start();
      const { aerl } = await bench.controller();
      needs(aerl < 24, `AERL ${aerl} is more than this run's admin queue holds`);
      for (let i = 0; i <= aerl; i++) bench.post(queue, { opcode: asyncEventRequest });
      await bench.fails(
        queue,
        { opcode: asyncEventRequest },
        NvmeStatus.asynchronousEventRequestLimitExceeded,
      );
      expect(queue.outstanding.size === aerl + 1, `${queue.outstanding.size} are outstanding`);
      return `${aerl + 1}`;
    },
  ],
  [
    "Abort of a command that there isn't succeeds, and says that it aborted nothing",
    "Base: Abort command",
    async (bench) => {
      const { dw0 } = await bench.ok(await bench.admin(), { opcode: abort, cdw: [0xfff0_0000] });
      expect((dw0 & 1) === 1, "it says that it aborted the command");
    },
  ],
  [
    "Keep Alive succeeds",
    "Base: Keep Alive command",
    async (bench) => {
      needs((await bench.controller()).kas > 0, "there is none (KAS 0)");
      await bench.ok(await bench.admin(), { opcode: keepAlive });
    },
  ],
  [
    "a short self-test ends without an error",
    "Base: Device Self-test command",
    async (bench) => {
      needs(decodeBits((await bench.controller()).oacs, Oacs).deviceSelfTest, "there is none (OACS)");
      await bench.ok(await bench.admin(), { opcode: deviceSelfTest, nsid: BROADCAST_NSID, cdw: [1] });
      const end = performance.now() + SELF_TEST_MS;
      const log = async () => selfTestLog.decode(await readLog(bench, LogPageId.deviceSelfTest, 564));
      while ((await log()).currentOperation !== 0) {
        expect(performance.now() < end, `it hasn't ended after ${SELF_TEST_MS} ms`);
        await sleep(50);
      }
      const result = (await log()).results[0]?.result;
      expect(result === 0, `result ${result}`);
    },
  ],
]);
