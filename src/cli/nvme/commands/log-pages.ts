/** Log pages by name, under nvme-cli's JSON keys. */
import type { NvmeController } from "../../../nvme/controller.js";
import {
  commandEffectsLog,
  enduranceGroupLog,
  errorLogEntry,
  firmwareSlotLog,
  sanitizeLog,
} from "../../../nvme/spec/log-pages.js";
import { AdminOpcode, BROADCAST_NSID, CommandSet, IoOpcode, LogPageId } from "../../../nvme/spec/opcodes.js";
import { statusName } from "../../../nvme/spec/status.js";
import { nameOf } from "../names.js";
import { hex, type Json, pairs } from "../output.js";
import { smartJson, smartText } from "./smart.js";

/** The part of a log to read. */
export interface LogRequest {
  readonly nsid: number | undefined;
  readonly lsi: number | undefined;
  readonly csi: number | undefined;
  readonly rae: boolean;
}

/** A log page as it is printed. */
export interface LogResult {
  readonly json: Json;
  readonly text: string;
}

/** A log page that has a name. */
export interface NamedLog {
  readonly title: string;
  read(nvme: NvmeController, request: LogRequest): Promise<LogResult>;
}

async function errors(nvme: NvmeController, { rae }: LogRequest): Promise<LogResult> {
  const count = nvme.identify.elpe + 1;
  const page = await nvme.logs.read(LogPageId.errorInformation, count * errorLogEntry.sizeBytes, { rae });
  const entries = Array.from({ length: count }, (_, index) =>
    errorLogEntry.decode(page.subarray(index * errorLogEntry.sizeBytes)),
  );
  const used = entries.filter(({ errorCount }) => errorCount !== 0n);
  const text = used.map((entry) => {
    const field = entry.status >>> 1;
    const location = entry.parameterErrorLocation;
    return pairs([
      ["error_count", String(entry.errorCount)],
      ["sqid", String(entry.sqid)],
      ["cmdid", hex(entry.cid)],
      ["status_field", `${hex(field)} (${statusName((field >>> 8) & 7, field & 0xff)})`],
      [
        "parm_error_location",
        location === 0xffff ? "none" : `byte ${location & 0xff}, bit ${(location >>> 8) & 7}`,
      ],
      ["lba", hex(entry.lba)],
      ["nsid", hex(entry.nsid)],
      ["opcode", hex(entry.opcode)],
    ]);
  });
  return {
    json: {
      errors: entries.map((entry) => ({
        error_count: entry.errorCount,
        sqid: entry.sqid,
        cmdid: entry.cid,
        status_field: entry.status >>> 1,
        phase_tag: entry.status & 1,
        parm_error_location: entry.parameterErrorLocation,
        lba: entry.lba,
        nsid: entry.nsid,
        vs: entry.vendorSpecific,
        trtype: entry.trtype,
        csi: entry.csi,
        opcode: entry.opcode,
        cs: entry.commandSpecific,
        trtype_spec_info: entry.transportSpecific,
        log_page_version: entry.logPageVersion,
      })),
    },
    text: used.length === 0 ? `no errors (room for ${count})` : text.join("\n\n"),
  };
}

async function health(nvme: NvmeController, { nsid }: LogRequest): Promise<LogResult> {
  const log = await nvme.logs.smart(nsid ?? BROADCAST_NSID);
  return { json: smartJson(log), text: smartText(log) };
}

async function firmware(nvme: NvmeController): Promise<LogResult> {
  const page = await nvme.logs.read(LogPageId.firmwareSlot, firmwareSlotLog.sizeBytes);
  const { afi } = firmwareSlotLog.decode(page);
  const view = new DataView(page.buffer, page.byteOffset);
  const slots = Array.from({ length: 7 }, (_, index) => {
    const at = 8 + index * 8;
    const bytes = page.subarray(at, at + 8);
    const text = [...bytes].map((byte) => (byte > 0x20 && byte < 0x7f ? String.fromCharCode(byte) : "."));
    return { slot: index + 1, word: view.getBigUint64(at, true), text: text.join("") };
  }).filter(({ word }) => word !== 0n);
  const revisions = slots.map(({ slot, word, text }) => [`Firmware Rev Slot ${slot}`, `${word} (${text})`]);
  const next = (afi >>> 4) & 7;
  return {
    json: { [nvme.bdf]: { "Active Firmware Slot (afi)": afi, ...Object.fromEntries(revisions) } },
    text: pairs([
      ["afi", `${hex(afi)} (slot ${afi & 7} is active${next === 0 ? "" : `, slot ${next} after a reset`})`],
      ...slots.map(({ slot, text }) => [`frs${slot}`, text.replace(/\.+$/, "")] as const),
    ]),
  };
}

async function changedNamespaces(nvme: NvmeController): Promise<LogResult> {
  const ids = await nvme.logs.changedNamespaces();
  const list = ids === "many" ? [BROADCAST_NSID] : ids;
  const entries = list.map((nsid, index) => [`[${String(index).padStart(4)}]`, `0x${nsid.toString(16)}`]);
  return {
    json: { "Changed Namespace List Log": nvme.bdf, [nvme.bdf]: Object.fromEntries(entries) },
    text:
      ids === "many"
        ? "more namespaces changed than the list has room for"
        : ids.length === 0
          ? "no namespace changed"
          : entries.map((entry) => entry.join(":")).join("\n"),
  };
}

const effectNotes = [
  [1, "changes data"],
  [2, "changes a namespace's capabilities"],
  [3, "changes the list of namespaces"],
  [4, "changes the controller's capabilities"],
] as const;

function effectsText(word: number): string {
  const notes = effectNotes.filter(([bit]) => (word & (1 << bit)) !== 0).map(([, note]) => note);
  return `${hex(word)}${notes.length === 0 ? "" : ` (${notes.join(", ")})`}`;
}

async function commandEffects(nvme: NvmeController, { csi }: LogRequest): Promise<LogResult> {
  const set = csi ?? CommandSet.nvm;
  const page = await nvme.logs.read(LogPageId.commandsSupported, commandEffectsLog.sizeBytes, { csi: set });
  const { acs, iocs } = commandEffectsLog.decode(page);
  const commands = (
    prefix: string,
    words: readonly number[],
    table: Readonly<Record<string, number>>,
  ): (readonly [string, number])[] =>
    words.flatMap((word, opcode) =>
      (word & 1) === 0
        ? []
        : [[`${prefix}_${opcode} (${nameOf(table, opcode) ?? "Unknown"})`, word] as const],
    );
  const admin = commands("ACS", acs, AdminOpcode);
  const io = commands("IOCS", iocs, IoOpcode);
  return {
    json: [
      {
        command_set_identifier: set,
        admin_cmd_set: Object.fromEntries(admin),
        io_cmd_set: Object.fromEntries(io),
      },
    ],
    text: pairs([...admin, ...io].map(([name, word]) => [name, effectsText(word)])),
  };
}

async function supportedPages(nvme: NvmeController): Promise<LogResult> {
  const pages = [...(await nvme.logs.supportedLogPages())].map(([lid]) => ({
    lid,
    name: nameOf(LogPageId, lid) ?? "Unknown",
  }));
  return {
    json: { supported_logs: pages },
    text: pages.map(({ lid, name }) => `0x${lid.toString(16).padStart(2, "0")} : ${name}`).join("\n"),
  };
}

async function selfTest(nvme: NvmeController): Promise<LogResult> {
  const { currentOperation, completionPercent, results } = await nvme.logs.selfTest();
  const json = {
    "Current Device Self-Test Operation": currentOperation,
    "Current Device Self-Test Completion": completionPercent,
    "List of Valid Reports": results.map((entry) => ({
      "Self test result": entry.result,
      "Self test code": entry.code,
      "Segment number": entry.segment,
      "Valid Diagnostic Information": entry.valid,
      "Power on hours": entry.powerOnHours,
      "Namespace Identifier": entry.nsid,
      "Failing LBA": entry.failingLba,
      "Status Code Type": entry.statusCodeType,
      "Status Code": entry.statusCode,
      "Vendor Specific": entry.vendorSpecific,
    })),
  };
  const reports = json["List of Valid Reports"].map((report, index) =>
    pairs(Object.entries(report).map(([name, value]) => [`[${index}] ${name}`, String(value)])),
  );
  const now = currentOperation === 0 ? "none runs" : `${currentOperation}, ${completionPercent} % done`;
  return { json, text: [pairs([["Current operation", now]]), ...reports].join("\n") };
}

async function enduranceGroup(nvme: NvmeController, { lsi = 1 }: LogRequest): Promise<LogResult> {
  const page = await nvme.logs.read(LogPageId.enduranceGroup, enduranceGroupLog.sizeBytes, { lsi });
  const log = enduranceGroupLog.decode(page);
  const json = {
    critical_warning: log.criticalWarning,
    endurance_group_features: log.features,
    avl_spare: log.availableSpare,
    avl_spare_threshold: log.availableSpareThreshold,
    percent_used: log.percentageUsed,
    domain_identifier: log.domainId,
    endurance_estimate: String(log.enduranceEstimate),
    data_units_read: String(log.dataUnitsRead),
    data_units_written: String(log.dataUnitsWritten),
    media_units_written: String(log.mediaUnitsWritten),
    host_read_cmds: String(log.hostReadCommands),
    host_write_cmds: String(log.hostWriteCommands),
    media_data_integrity_err: String(log.mediaErrors),
    num_err_info_log_entries: String(log.errorLogEntries),
    total_end_grp_cap: String(log.totalCapacity),
    unalloc_end_grp_cap: String(log.unallocatedCapacity),
  };
  return { json, text: pairs(Object.entries(json).map(([name, value]) => [name, String(value)])) };
}

async function sanitize(nvme: NvmeController): Promise<LogResult> {
  const page = await nvme.logs.read(LogPageId.sanitizeStatus, sanitizeLog.sizeBytes);
  const log = sanitizeLog.decode(page);
  const status = {
    media_verification_canceled: log.verificationCanceled,
    global_erased: log.globalDataErased,
    no_cmplted_passes: log.overwritePasses,
    status: log.status,
  };
  const rest = {
    cdw10_info: log.cdw10,
    time_over_write: log.overwriteTime,
    time_block_erase: log.blockEraseTime,
    time_crypto_erase: log.cryptoEraseTime,
    time_over_write_no_dealloc: log.overwriteNoDeallocateTime,
    time_block_erase_no_dealloc: log.blockEraseNoDeallocateTime,
    time_crypto_erase_no_dealloc: log.cryptoEraseNoDeallocateTime,
  };
  return {
    json: { [nvme.bdf]: { sprog: log.progress, sstat: status, ...rest } },
    text: pairs([
      ["sprog", `${log.progress} (${((log.progress * 100) / 65536).toFixed(1)} %)`],
      ...Object.entries({ ...status, ...rest }).map(([name, value]) => [name, String(value)] as const),
    ]),
  };
}

/** Log pages by the names that `iova nvme log` takes. */
export const namedLogs: Readonly<Record<string, NamedLog>> = {
  error: { title: "Error Information", read: errors },
  smart: { title: "SMART / Health Information", read: health },
  firmware: { title: "Firmware Slot Information", read: firmware },
  "changed-ns": { title: "Changed Namespaces", read: changedNamespaces },
  effects: { title: "Commands Supported and Effects", read: commandEffects },
  supported: { title: "Supported Log Pages", read: supportedPages },
  "self-test": { title: "Device Self-test", read: selfTest },
  endurance: { title: "Endurance Group Information", read: enduranceGroup },
  sanitize: { title: "Sanitize Status", read: sanitize },
};
