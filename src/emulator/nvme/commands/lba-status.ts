/** Get LBA Status and the LBA Status Information log: blocks that Write Uncorrectable has marked. */
import { AdminOpcode, LogPageId } from "../../../nvme/spec/opcodes.js";
import { NvmeStatus } from "../../../nvme/spec/status.js";
import type { Command } from "../host/command.js";
import type { Transfer } from "../host/transfer.js";
import type { Inventory } from "../medium/inventory.js";
import type { EmulatedNamespace } from "../medium/namespace.js";
import type { AdminService } from "./admin-service.js";

/** Action type: allocated blocks, those that a scan finds, those that are known. */
const Action = { allocated: 0x02, scan: 0x10, tracked: 0x11 } as const;
const Condition = { incomplete: 1, complete: 2 } as const;
/** Bytes of the header, of a descriptor and of the log's elements are multiples of these. */
const HEADER_BYTES = 8;
const ENTRY_BYTES = 16;
/** Most descriptors of a namespace in the log; more are left out, and the count of blocks says so. */
const MOST_LOGGED = 256;

/** What the service needs of its controller. */
interface LbaStatusContext {
  readonly command: Command;
  readonly transfer: Transfer;
  readonly inventory: Inventory;
  readonly config: { readonly maxTransferBytes: number };
}

/** Tells which blocks can't be read. */
export class LbaStatus implements AdminService {
  readonly commands = { [AdminOpcode.getLbaStatus]: { execute: () => this.execute() } };
  readonly logPages = { [LogPageId.lbaStatus]: { page: () => this.page() } };
  private generation = 0;
  private last = "";

  constructor(private readonly context: LbaStatusContext) {}

  private execute(): number {
    const { command, transfer, inventory, config } = this.context;
    const namespace = inventory.get(command.nsid);
    if (namespace?.attached !== true) return NvmeStatus.invalidNamespace;
    const first = command.slba;
    const range = command.cdw(13) & 0xffff;
    const action = command.cdw(13) >>> 24;
    const sizeBytes = (command.cdw(12) + 1) * 4;
    const blocks = range === 0 ? namespace.sizeBlocks - first : range;
    if (sizeBytes > config.maxTransferBytes) return NvmeStatus.invalidField;
    if (action !== Action.allocated && action !== Action.scan && action !== Action.tracked)
      return NvmeStatus.invalidField;
    if (blocks <= 0 || first + blocks > namespace.sizeBlocks) return NvmeStatus.lbaOutOfRange;
    const room = Math.floor((sizeBytes - HEADER_BYTES) / ENTRY_BYTES);
    // All blocks of a namespace are allocated.
    const found: readonly (readonly [number, number])[] =
      action === Action.allocated
        ? [[first, blocks]]
        : namespace.uncorrectable.ranges(first, blocks, Math.max(0, room) + 1);
    const told = found.slice(0, Math.max(0, room));
    const bytes = new Uint8Array(Math.max(sizeBytes, HEADER_BYTES));
    const view = new DataView(bytes.buffer);
    view.setUint32(0, told.length, true);
    view.setUint8(4, told.length < found.length ? Condition.incomplete : Condition.complete);
    putRanges(view, HEADER_BYTES, told);
    return transfer.send(command, bytes.subarray(0, sizeBytes));
  }

  private page(): Uint8Array {
    const marked = this.context.inventory.all.filter(({ uncorrectable }) => uncorrectable.size > 0);
    const elements = marked.map(element);
    const header = new DataView(new ArrayBuffer(16));
    const length = elements.reduce((sum, each) => sum + each.length, header.byteLength);
    const text = elements.map((each) => Buffer.from(each).toString("base64")).join();
    if (text !== this.last) this.generation = (this.generation + 1) & 0xffff;
    this.last = text;
    header.setUint32(0, length, true);
    header.setUint32(4, elements.length, true);
    const blocks = marked.reduce((sum, { uncorrectable }) => sum + uncorrectable.size, 0);
    header.setUint32(8, Math.min(blocks, 0xffff_ffff), true);
    header.setUint16(14, this.generation, true);
    return Buffer.concat([new Uint8Array(header.buffer), ...elements]);
  }
}

function element({ nsid, sizeBlocks, uncorrectable }: EmulatedNamespace): Uint8Array {
  const ranges = uncorrectable.ranges(0, sizeBlocks, MOST_LOGGED);
  const bytes = new Uint8Array(ENTRY_BYTES * (1 + ranges.length));
  const view = new DataView(bytes.buffer);
  view.setUint32(0, nsid, true);
  view.setUint32(4, ranges.length, true);
  view.setUint8(8, Action.tracked);
  putRanges(view, ENTRY_BYTES, ranges);
  return bytes;
}

/** Descriptors of the command and of the log begin alike: the first block, and how many. */
function putRanges(view: DataView, from: number, ranges: readonly (readonly [number, number])[]): void {
  for (const [i, [lba, count]] of ranges.entries()) {
    view.setBigUint64(from + i * ENTRY_BYTES, BigInt(lba), true);
    view.setUint32(from + i * ENTRY_BYTES + 8, count, true);
  }
}
