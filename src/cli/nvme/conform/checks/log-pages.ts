/** Log pages: offsets, lengths, and whether what they say of the controller is so. */
import { CommandEffects, commandEffectsLog, firmwareSlotLog } from "../../../../nvme/spec/log-pages.js";
import { AdminOpcode, BROADCAST_NSID, LogPageId } from "../../../../nvme/spec/opcodes.js";
import { NvmeStatus } from "../../../../nvme/spec/status.js";
import type { ConformBench } from "../bench.js";
import { subjectOf } from "../check.js";
import { expect, needs } from "../findings.js";
import { readLog } from "./logs-and-features.js";
import { promises, VERSION_2_0 } from "./promises.js";
import { refused } from "./refusals.js";

const GET_LOG = "Base: Get Log Page command";
const { getLogPage } = AdminOpcode;
const { invalidField, invalidLogPage, invalidOpcode } = NvmeStatus;

const logAt = (id: number, offset: number) => async (bench: ConformBench) => {
  needs(promises.lpa(await bench.controller(), "extendedData"), "logs have no offsets (LPA)");
  const cdw = [(3 << 16) | id, 0, offset];
  return { opcode: getLogPage, nsid: BROADCAST_NSID, data: bench.alloc(4096), cdw };
};

export const logPages = subjectOf("log pages", [
  refused("a log page from an offset within a dword", GET_LOG, logAt(LogPageId.smart, 2), invalidField),
  refused("a log page from beyond its end", GET_LOG, logAt(LogPageId.smart, 4096), invalidField),
  [
    "a log page has the same bytes when read from an offset",
    GET_LOG,
    async (bench) => {
      needs(promises.lpa(await bench.controller(), "extendedData"), "logs have no offsets (LPA)");
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
          const has = where === "lpa" ? promises.lpa(controller, bit) : promises.oacs(controller, bit);
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
      needs(promises.lpa(await bench.controller(), "commandEffects"), "there is none (LPA)");
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
      needs(has20 || promises.lpa(controller, "supportedLogPages"), "there is none (LPA)");
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
]);
