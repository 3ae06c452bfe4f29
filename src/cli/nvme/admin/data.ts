/** Commands that receive or send bytes of formats that the library has no types for, and the few of them that are decoded. */
import { ArgumentError, IovaError } from "../../../core/errors.js";
import { adminRead, adminWrite } from "../../../nvme/command/admin-target.js";
import { decodeLbaStatus, type LbaStatusList, type LbaStatusLog } from "../../../nvme/command/lba-status.js";
import type { NvmeController } from "../../../nvme/controller.js";
import { AdminOpcode, IoOpcode, LogPageId } from "../../../nvme/spec/opcodes.js";
import { BOOT_PARTITION_UNIT_BYTES } from "../../../nvme/spec/registers.js";
import { dataDescriptions } from "../../described/nvme/data.js";
import { type Arguments, commands, type Result } from "../command.js";
import { openSink, STANDARD } from "../commands/data-file.js";
import { namespaceId } from "../open.js";
import { hexDump, type Json } from "../output.js";

const MOST_BYTES = 64 << 20;
/** Most namespaces of NVMe. */
const NSIDS = 0xffff_fffe;
const BOOT_HEADER_BYTES = 16;
/** What is read at a time by registers. */
const BOOT_STEP_BYTES = 1 << 20;
/** The message type of NVMe-MI in MCTP, bits 6:0 of its header. */
const MCTP_NVME_MI = 4;

export const bytesResult = (bytes: Uint8Array) => ({
  json: { length: bytes.length, data: Buffer.from(bytes).toString("hex") },
  text: hexDump(bytes),
  bytes,
});

/** Writes bytes to a file if there is one. @returns what to print */
export async function received(
  path: string | undefined,
  bytes: Uint8Array,
  shown: Result = bytesResult(bytes),
): Promise<Result> {
  if (path === undefined) return shown;
  await using sink = await openSink(path);
  await sink.write(bytes);
  return { json: { length: bytes.length, file: path }, text: `wrote ${bytes.length} bytes to ${path}` };
}

/** What Get LBA Status returned, under nvme-cli's keys. */
export function lbaStatusJson({ count, condition, descriptors }: LbaStatusList): Record<string, Json> {
  const hex = (value: number | bigint, digits: number): string =>
    `0x${value.toString(16).padStart(digits, "0")}`;
  const entries = descriptors.map(({ lba, blocks, status }, index): [string, Json] => [
    `LSD entry ${index}`,
    { DSLBA: hex(lba, 16), NLB: hex(blocks, 8), status: hex(status, 2) },
  ]);
  return {
    "Number of LBA Status Descriptors (NLSD)": count,
    "Completion Condition (CMPC)": condition,
    ...Object.fromEntries(entries),
  };
}

/** The LBA Status Information log, under nvme-cli's keys. */
export function lbaStatusLogJson(log: LbaStatusLog): Record<string, Json> {
  return {
    lslplen: log.sizeBytes,
    nlslne: log.count,
    estulb: log.unrecoverable,
    lsgc: log.generation,
    ns_elements: log.elements.map(({ nsid, count, action, ranges }) => ({
      neid: nsid,
      nlrd: count,
      ratype: action,
      descs: ranges.map(({ lba, blocks }) => ({ rslba: lba, rnlb: blocks })),
    })),
  };
}

/** What there is of boot partitions, by BPINFO. */
function registersOf({ bootPartitions }: NvmeController) {
  const { sizeBytes, active } = bootPartitions.properties;
  return { sizeBytes, json: { abpid: active, bpsz: sizeBytes / BOOT_PARTITION_UNIT_BYTES } };
}

/** The same, by the log page. */
async function logOf(nvme: NvmeController, lsp: number) {
  const head = await nvme.logs.read(LogPageId.bootPartition, BOOT_HEADER_BYTES, { lsp });
  const info = new DataView(head.buffer, head.byteOffset).getUint32(4, true);
  const json = { count: head[0] ?? 0, abpid: info >>> 31, bpsz: info & 0x7fff };
  return { sizeBytes: json.bpsz * BOOT_PARTITION_UNIT_BYTES, json };
}

/** Response message statuses of NVMe-MI. */
const managementStatus: Readonly<Record<number, string>> = {
  1: "more processing required",
  2: "internal error",
  3: "invalid command opcode",
  4: "invalid parameter",
  5: "invalid command size",
  6: "invalid command input data size",
  7: "access denied",
};

/** @throws IovaError if the response message has another status than success */
function assertDone(opcode: number, dw0: number): void {
  const status = dw0 & 0xff;
  if (status === 0) return;
  const meaning = managementStatus[status] ?? "an error of its own";
  throw new IovaError(
    "ERR_IOVA_NVME",
    `NVMe-MI command ${opcode} failed: ${meaning} (response message status 0x${status.toString(16)})`,
  );
}

/** A controller whose I/O commands transfer bytes as admin commands do. */
const ofIo = (nvme: NvmeController): Parameters<typeof adminRead>[0] => ({
  dma: nvme.dma,
  admin: (command, limits) => nvme.io(command, limits),
});

function managementCommand(args: Arguments<"opcode" | "namespace-id" | "nmimt" | "nmd0" | "nmd1">) {
  return {
    nsid: args.number("namespace-id") ?? 0,
    cdw10: ((args.number("nmimt", 15) ?? 1) << 11) | MCTP_NVME_MI,
    cdw11: args.needed("opcode", 0xff),
    cdw12: args.number("nmd0"),
    cdw13: args.number("nmd1"),
  };
}

function operationOf(args: Arguments<"mo" | "mos">): { readonly cdw10: number } {
  return { cdw10: ((args.number("mo", 0xff) ?? 0) | ((args.number("mos", 0xffff) ?? 0) << 16)) >>> 0 };
}

/** Bytes to receive: whole dwords. */
function lengthOf(args: Arguments<"data-len">): number {
  const length = args.number("data-len", MOST_BYTES, 4) ?? 4096;
  if (length % 4 !== 0) throw args.wrong(`--data-len ${length}: expected a multiple of 4`);
  return length;
}

export const dataCommands = commands(dataDescriptions, {
  lbaStatus(args) {
    const nsid = args.number("namespace-id", NSIDS, 1);
    const first = args.big("start-lba") ?? 0n;
    const dwords = args.number("max-dw", MOST_BYTES / 4 - 1, 1) ?? 1023;
    const action = args.number("action", 0xff) ?? 0x11;
    const range = args.number("range-len", 0xffff) ?? 0;
    return async (nvme) => {
      const command = {
        name: "Get LBA Status",
        opcode: AdminOpcode.getLbaStatus,
        nsid: await namespaceId(nvme, nsid),
        cdw10: Number(first & 0xffff_ffffn),
        cdw11: Number(first >> 32n),
        cdw12: dwords,
        cdw13: ((action << 24) | range) >>> 0,
      };
      const { bytes } = await adminRead(nvme, command, 4 * (dwords + 1));
      return { json: lbaStatusJson(decodeLbaStatus(bytes)), bytes };
    };
  },
  lbaStatusLog(args) {
    const rae = args.has("rae");
    return async (nvme) => ({ json: lbaStatusLogJson(await nvme.logs.lists.lbaStatus({ rae })) });
  },
  bootPartition(args) {
    const lsp = args.number("lsp", 1) ?? 0;
    const path = args.text("output-file");
    if (path === STANDARD) throw args.wrong("--output-file - : the content goes to a file");
    const byRegisters = args.has("registers");
    return async (nvme) => {
      const { sizeBytes, json } = byRegisters ? registersOf(nvme) : await logOf(nvme, lsp);
      if (path === undefined) return { json };
      if (sizeBytes === 0) throw new ArgumentError(`boot partition ${lsp} of ${nvme.bdf} has no bytes`);
      await using sink = await openSink(path);
      const step = byRegisters ? BOOT_STEP_BYTES : nvme.maxTransferBytes;
      for (let at = 0; at < sizeBytes; at += step) {
        const length = Math.min(step, sizeBytes - at);
        await sink.write(
          byRegisters
            ? await nvme.bootPartitions.read(lsp === 1 ? 1 : 0, { offset: at, length })
            : await nvme.logs.read(LogPageId.bootPartition, length, { lsp, offset: BOOT_HEADER_BYTES + at }),
        );
      }
      return { json: { ...json, file: path }, text: `wrote ${sizeBytes} bytes to ${path}` };
    };
  },
  managementReceive(args) {
    const words = managementCommand(args);
    const length = lengthOf(args);
    return async (nvme) => {
      const command = { name: "NVMe-MI Receive", opcode: AdminOpcode.nvmeMiReceive, ...words };
      const { bytes, completion } = await adminRead(nvme, command, length);
      assertDone(words.cdw11, completion.dw0);
      const shown = bytesResult(bytes);
      return { ...shown, json: { ...shown.json, response: completion.dw0 >>> 8 } };
    };
  },
  async managementSend(args) {
    const words = managementCommand(args);
    const data = await args.file("input-file");
    return async (nvme, ask) => {
      await ask(`This sends NVMe-MI command ${words.cdw11}`);
      const command = { name: "NVMe-MI Send", opcode: AdminOpcode.nvmeMiSend, ...words };
      const { dw0 } = await (data === undefined ? nvme.admin(command) : adminWrite(nvme, command, data));
      assertDone(words.cdw11, dw0);
      return { json: { result: dw0 }, text: `done, result ${dw0}` };
    };
  },
  ioReceive(args) {
    const [id, words, length] = [args.number("namespace-id", NSIDS, 1), operationOf(args), lengthOf(args)];
    const path = args.text("data");
    if (path === STANDARD) throw args.wrong("--data - : use --raw-binary for standard output");
    return async (nvme) => {
      const command = {
        name: "I/O Management Receive",
        opcode: IoOpcode.ioManagementReceive,
        nsid: await namespaceId(nvme, id),
        ...words,
        cdw11: length / 4 - 1,
      };
      return await received(path, (await adminRead(ofIo(nvme), command, length)).bytes);
    };
  },
  async ioSend(args) {
    const [id, words] = [args.number("namespace-id", NSIDS, 1), operationOf(args)];
    const whole = await args.file("data");
    const length = args.number("data-len", MOST_BYTES, 1);
    if (length !== undefined && length > (whole?.length ?? 0))
      throw args.wrong(`--data-len ${length}: --data has ${whole?.length ?? 0} bytes`);
    const data = whole?.subarray(0, length);
    return async (nvme, ask) => {
      const nsid = await namespaceId(nvme, id);
      await ask(`This sends management operation ${words.cdw10 & 0xff} to namespace ${nsid}`);
      const command = { name: "I/O Management Send", opcode: IoOpcode.ioManagementSend, nsid, ...words };
      const { dw0 } = await (data === undefined ? nvme.io(command) : adminWrite(ofIo(nvme), command, data));
      return { json: { nsid, result: dw0 }, text: `done, result ${dw0}` };
    };
  },
});
