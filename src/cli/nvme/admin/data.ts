/** Commands that receive or send bytes of formats that the library has no types for, and the few of them that are decoded. */
import { ArgumentError } from "../../../core/errors.js";
import { adminRead, adminWrite } from "../../../nvme/command/admin-target.js";
import type { NvmeController } from "../../../nvme/controller.js";
import { AdminOpcode, IoOpcode, LogPageId } from "../../../nvme/spec/opcodes.js";
import { dataDescriptions } from "../../described/nvme/data.js";
import { type Arguments, commands, type Result } from "../command.js";
import { openSink, STANDARD } from "../commands/data-file.js";
import { namespaceId } from "../open.js";
import { hexDump, type Json } from "../output.js";

/** A log is read up to here, whatever length it claims. */
const MOST_LOG_BYTES = 4 << 20;
const MOST_BYTES = 64 << 20;
/** Most namespaces of NVMe. */
const NSIDS = 0xffff_fffe;
/** A boot partition's size is given in these. */
const BOOT_UNIT_BYTES = 128 << 10;
const BOOT_HEADER_BYTES = 16;
/** The message type of NVMe-MI in MCTP, bits 6:0 of its header. */
const MCTP_NVME_MI = 4;

export const bytesResult = (bytes: Uint8Array): Result => ({
  json: { length: bytes.length, data: Buffer.from(bytes).toString("hex") },
  text: hexDump(bytes),
  bytes,
});

/** Writes bytes to a file if there is one. @returns what to print */
export async function received(
  path: string | undefined,
  bytes: Uint8Array,
  shown = bytesResult(bytes),
): Promise<Result> {
  if (path === undefined) return shown;
  await using sink = await openSink(path);
  await sink.write(bytes);
  return { json: { length: bytes.length, file: path }, text: `wrote ${bytes.length} bytes to ${path}` };
}

function viewOf({ buffer, byteOffset, byteLength }: Uint8Array): DataView {
  return new DataView(buffer, byteOffset, byteLength);
}

/** What Get LBA Status returned. Descriptors that it counts but doesn't hold are left out. */
export function lbaStatusJson(bytes: Uint8Array): Record<string, Json> {
  const view = viewOf(bytes);
  const count = Math.min(view.getUint32(0, true), Math.floor((bytes.length - 8) / 16));
  const hex = (value: number | bigint, digits: number): string =>
    `0x${value.toString(16).padStart(digits, "0")}`;
  const entries = Array.from({ length: count }, (_, index): [string, Json] => {
    const at = 8 + 16 * index;
    return [
      `LSD entry ${index}`,
      {
        DSLBA: hex(view.getBigUint64(at, true), 16),
        NLB: hex(view.getUint32(at + 8, true), 8),
        status: hex(view.getUint8(at + 13), 2),
      },
    ];
  });
  return {
    "Number of LBA Status Descriptors (NLSD)": view.getUint32(0, true),
    "Completion Condition (CMPC)": view.getUint8(4),
    ...Object.fromEntries(entries),
  };
}

/** The LBA Status Information log. Elements beyond its bytes are left out. */
export function lbaStatusLogJson(bytes: Uint8Array): Record<string, Json> {
  const view = viewOf(bytes);
  const elements: Json[] = [];
  const count = view.getUint32(4, true);
  for (let at = 16; elements.length < count && at + 16 <= bytes.length; ) {
    const nlrd = view.getUint32(at + 4, true);
    const element = { neid: view.getUint32(at, true), nlrd, ratype: view.getUint8(at + 8) };
    at += 16;
    // All ones: the whole namespace should be looked at.
    const ranges = nlrd === 0xffff_ffff ? 0 : Math.min(nlrd, Math.floor((bytes.length - at) / 16));
    const descs = Array.from({ length: ranges }, (_, index) => ({
      rslba: view.getBigUint64(at + 16 * index, true),
      rnlb: view.getUint32(at + 16 * index + 8, true),
    }));
    at += 16 * ranges;
    elements.push({ ...element, descs });
  }
  return {
    lslplen: view.getUint32(0, true),
    nlslne: count,
    estulb: view.getUint32(8, true),
    lsgc: view.getUint16(14, true),
    ns_elements: elements,
  };
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
      return { json: lbaStatusJson(bytes), bytes };
    };
  },
  lbaStatusLog(args) {
    const rae = args.has("rae");
    return async (nvme) => {
      const head = await nvme.logs.read(LogPageId.lbaStatus, 16, { rae: true });
      const length = Math.max(16, Math.min(viewOf(head).getUint32(0, true), MOST_LOG_BYTES)) & ~3;
      const log = await nvme.logs.read(LogPageId.lbaStatus, length, { rae });
      return { json: lbaStatusLogJson(log), bytes: log };
    };
  },
  bootPartition(args) {
    const lsp = args.number("lsp", 1) ?? 0;
    const path = args.text("output-file");
    if (path === STANDARD) throw args.wrong("--output-file - : the content goes to a file");
    return async (nvme) => {
      const head = await nvme.logs.read(LogPageId.bootPartition, BOOT_HEADER_BYTES, { lsp });
      const info = viewOf(head).getUint32(4, true);
      const json = { count: head[0] ?? 0, abpid: info >>> 31, bpsz: info & 0x7fff };
      if (path === undefined) return { json };
      const length = json.bpsz * BOOT_UNIT_BYTES;
      if (length === 0) throw new ArgumentError(`boot partition ${lsp} of ${nvme.bdf} has no bytes`);
      await using sink = await openSink(path);
      const step = nvme.maxTransferBytes;
      for (let at = 0; at < length; at += step) {
        const offset = BOOT_HEADER_BYTES + at;
        await sink.write(
          await nvme.logs.read(LogPageId.bootPartition, Math.min(step, length - at), { lsp, offset }),
        );
      }
      return { json: { ...json, file: path }, text: `wrote ${length} bytes to ${path}` };
    };
  },
  managementReceive(args) {
    const words = managementCommand(args);
    const length = lengthOf(args);
    return async (nvme) => {
      const command = { name: "NVMe-MI Receive", opcode: AdminOpcode.nvmeMiReceive, ...words };
      return bytesResult((await adminRead(nvme, command, length)).bytes);
    };
  },
  async managementSend(args) {
    const words = managementCommand(args);
    const data = await args.file("input-file");
    return async (nvme, ask) => {
      await ask(`This sends NVMe-MI command ${words.cdw11}`);
      const command = { name: "NVMe-MI Send", opcode: AdminOpcode.nvmeMiSend, ...words };
      const { dw0 } = await (data === undefined ? nvme.admin(command) : adminWrite(nvme, command, data));
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
