/** The commands of the Key Value Command Set. */
import { KeyValueOpcode, MAX_KEY_BYTES } from "../../../../nvme/spec/key-value.js";
import { NvmeStatus } from "../../../../nvme/spec/status.js";
import type { KeyValues } from "../../medium/key-values.js";
import type { IoContext } from "./io-context.js";

/** CDW11 bits 15:8 of Store. */
const StoreOption = { mustExist: 1 << 8, mustNotExist: 1 << 9 } as const;
const LIST_HEADER_BYTES = 4;
const KEY_LENGTH_BYTES = 2;

/** Store, Retrieve, Delete, Exist and List. */
export class KeyValueCommands {
  constructor(private readonly context: IoContext) {}

  execute(values: KeyValues): number {
    const { command, allCommandSets } = this.context;
    if (!allCommandSets) return NvmeStatus.invalidOpcode;
    const { opcode } = command;
    const length = command.cdw(11) & 0xff;
    const isList = opcode === KeyValueOpcode.list;
    if (!Object.values<number>(KeyValueOpcode).includes(opcode)) return NvmeStatus.invalidOpcode;
    // A list without a key begins with the first one.
    if (length > MAX_KEY_BYTES || (length === 0 && !isList)) return NvmeStatus.invalidKeySize;
    const words = Uint32Array.of(command.cdw(2), command.cdw(3), command.cdw(14), command.cdw(15));
    const key = Buffer.from(words.buffer).toString("hex", 0, length);
    switch (opcode) {
      case KeyValueOpcode.store:
        return this.store(values, key);
      case KeyValueOpcode.retrieve:
        return this.retrieve(values, key);
      case KeyValueOpcode.list:
        return this.list(values, key);
      case KeyValueOpcode.delete:
        // Key Value Configuration doesn't ask for an error where there is no such key.
        values.delete(key);
        return NvmeStatus.success;
      default:
        return values.get(key) === undefined ? NvmeStatus.keyDoesNotExist : NvmeStatus.success;
    }
  }

  private store(values: KeyValues, key: string): number {
    const { command, transfer, maxTransferBytes } = this.context;
    const size = command.cdw(10);
    const options = command.cdw(11);
    if (size > maxTransferBytes) return NvmeStatus.invalidValueSize;
    const isThere = values.get(key) !== undefined;
    if ((options & StoreOption.mustExist) !== 0 && !isThere) return NvmeStatus.keyDoesNotExist;
    if ((options & StoreOption.mustNotExist) !== 0 && isThere) return NvmeStatus.keyExists;
    const value = new Uint8Array(size);
    if (size > 0) {
      const status = transfer.fetch(command, value);
      if (status !== NvmeStatus.success) return status;
    }
    return values.set(key, value) ? NvmeStatus.success : NvmeStatus.capacityExceeded;
  }

  private retrieve(values: KeyValues, key: string): number {
    const { command, transfer, maxTransferBytes } = this.context;
    const size = command.cdw(10);
    const value = values.get(key);
    if (size > maxTransferBytes) return NvmeStatus.invalidField;
    if (value === undefined) return NvmeStatus.keyDoesNotExist;
    // The whole length, also where the host has no room for it.
    command.dw0 = value.length;
    return transfer.send(command, value.subarray(0, size));
  }

  private list(values: KeyValues, from: string): number {
    const { command, transfer, maxTransferBytes } = this.context;
    const size = command.cdw(10);
    if (size > maxTransferBytes || size < LIST_HEADER_BYTES) return NvmeStatus.invalidField;
    const list = Buffer.alloc(size);
    let at = LIST_HEADER_BYTES;
    let count = 0;
    for (const key of values.from(from)) {
      const bytes = Buffer.from(key, "hex");
      if (at + KEY_LENGTH_BYTES + bytes.length > size) break;
      list.writeUInt16LE(bytes.length, at);
      list.set(bytes, at + KEY_LENGTH_BYTES);
      at = Math.ceil((at + KEY_LENGTH_BYTES + bytes.length) / 4) * 4;
      count++;
    }
    list.writeUInt32LE(count, 0);
    return transfer.send(command, list);
  }
}
