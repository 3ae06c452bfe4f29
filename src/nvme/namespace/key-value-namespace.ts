/** A key value namespace: values of any length under keys of up to 16 bytes (Key Value Command Set 1.x). */
import { isUint8Array } from "node:util/types";
import { checkBytes, checkInteger, checkKeys, checkName } from "../../core/check.js";
import { ArgumentError, UnsupportedError } from "../../core/errors.js";
import { largestOf } from "../../core/lists.js";
import type { NvmeCommand, NvmeCompletion } from "../command/command.js";
import { NvmeError, NvmeProtocolError } from "../command/error.js";
import { readIdentify } from "../command/identify.js";
import { assertNoQuirk } from "../quirks/quirks.js";
import {
  type IdentifyKeyValueNamespace,
  identifyKeyValueNamespace,
  type KeyValueFormat,
  KeyValueOpcode,
  MAX_KEY_BYTES,
} from "../spec/key-value.js";
import { BROADCAST_NSID, CommandSet, IdentifyCns, IoOpcode } from "../spec/opcodes.js";
import { NvmeStatus } from "../spec/status.js";
import type { CommandTarget } from "./command-target.js";
import { commandSetOf } from "./identify-blocks.js";
import { NvmeReservations } from "./reservations.js";

/** CDW11 bits 15:8 of Store: bits of its options. */
const StoreOption = { mustExist: 1 << 8, mustNotExist: 1 << 9, dontCompress: 1 << 10 } as const;
/** CDW11 of Retrieve: the value as it is stored, without decompression. */
const RAW = 1 << 8;
const whens = ["always", "new", "existing"] as const;
/** Bytes that a value is expected to have; a longer one takes a second command. */
const FIRST_BYTES = 4096;
const LIST_BYTES = 16_384;
/** Of a list: the number of keys, and of each key the length before it. */
const LIST_HEADER_BYTES = 4;
const KEY_LENGTH_BYTES = 2;

/** A key: 1 to 16 bytes, or a text whose UTF-8 has that many. */
export type NvmeKey = Uint8Array | string;

/** Options of {@link KeyValueNamespace.store}. */
export interface StoreOptions {
  /** `new`: only if there is no such key; `existing`: only if there is one; `always` (default). */
  readonly when?: (typeof whens)[number] | undefined;
  /** The controller doesn't compress the value. */
  readonly uncompressed?: boolean | undefined;
}

/** Options of {@link KeyValueNamespace.retrieve}. */
export interface RetrieveOptions {
  /** Bytes that the value is expected to have, 4096 by default: a longer one takes a second command. */
  readonly expectedBytes?: number | undefined;
  /** The value as it is stored, without decompression. */
  readonly raw?: boolean | undefined;
}

/** A namespace of the Key Value Command Set. */
export class KeyValueNamespace {
  /** Longest key, in bytes, of the namespace's formats. */
  readonly maxKeyBytes: number;
  /** Longest value, in bytes, of the namespace's formats, as far as one command carries it. */
  readonly maxValueBytes: number;
  /** No namespace has more keys: it says so, or has one byte for each. */
  private readonly mostKeys: number;

  private constructor(
    private readonly controller: CommandTarget,
    /** Namespace identifier (NSID). */
    readonly nsid: number,
    /** Identify Namespace of the Key Value Command Set, as read when this object was made. */
    readonly identify: IdentifyKeyValueNamespace,
  ) {
    const formats = identify.kvf.slice(0, identify.nkvf + 1);
    const longest = (of: (format: KeyValueFormat) => number): number => largestOf(formats.map(of), 0);
    this.maxKeyBytes = Math.min(
      MAX_KEY_BYTES,
      longest(({ kml }) => kml),
    );
    this.maxValueBytes = Math.min(
      longest(({ vml }) => vml),
      controller.maxTransferBytes,
    );
    this.mostKeys = longest(({ mnk }) => mnk) || Number(identify.nsze);
  }

  /** @internal Use {@link NvmeController.keyValueNamespace}. */
  static async open(controller: CommandTarget, nsid: number): Promise<KeyValueNamespace> {
    checkInteger("nsid", nsid, 1, BROADCAST_NSID - 1);
    for (const quirk of ["cns-0-and-1", "no-namespace-descriptors"] as const)
      assertNoQuirk(controller, quirk, "Identify of CNS 3, which tells key value namespaces");
    const csi = CommandSet.keyValue;
    if ((await commandSetOf(controller, nsid)) !== csi)
      throw new UnsupportedError(`namespace ${nsid} has no keys and values`);
    const page = await readIdentify(controller, IdentifyCns.namespaceForCommandSet, { nsid, csi });
    return new KeyValueNamespace(controller, nsid, identifyKeyValueNamespace.decode(page));
  }

  /**
   * Stores a value. One command carries it.
   * @returns whether it was stored: false if `when` kept it from being
   * @throws ArgumentError (key or value too long), NvmeError (Capacity Exceeded, ...), TimeoutError, DeviceGoneError, ClosedError
   */
  async store(key: NvmeKey, value: Uint8Array, options: StoreOptions = {}): Promise<boolean> {
    const words = this.words(key);
    checkBytes("value", value);
    checkKeys("options", options, ["when", "uncompressed"]);
    const when = checkName("when", options.when ?? "always", whens);
    if (value.length > this.maxValueBytes) {
      throw new ArgumentError(
        `value has ${value.length} bytes; namespace ${this.nsid} takes at most ${this.maxValueBytes}`,
      );
    }
    const flags =
      (when === "existing" ? StoreOption.mustExist : when === "new" ? StoreOption.mustNotExist : 0) |
      (options.uncompressed === true ? StoreOption.dontCompress : 0);
    const command = {
      ...words,
      name: "KV Store",
      opcode: KeyValueOpcode.store,
      cdw10: value.length,
      cdw11: words.cdw11 | flags,
    };
    const refusal =
      when === "new" ? NvmeStatus.keyExists : when === "existing" ? NvmeStatus.keyDoesNotExist : undefined;
    const stored = this.transfer(command, value.length, (bytes) => bytes.set(value));
    return (await unless(refusal, stored)) !== undefined;
  }

  /**
   * The value of a key; undefined if there is no such key.
   * @throws as store()
   */
  async retrieve(key: NvmeKey, options: RetrieveOptions = {}): Promise<Buffer | undefined> {
    const words = this.words(key);
    checkKeys("options", options, ["expectedBytes", "raw"]);
    const { expectedBytes = FIRST_BYTES } = options;
    checkInteger("expectedBytes", expectedBytes, 1, this.controller.maxTransferBytes);
    const most = this.controller.maxTransferBytes;
    // A value that has grown between two commands is read with all that one carries.
    for (let [sizeBytes, attempts] = [expectedBytes, 1]; ; attempts++) {
      const command = {
        ...words,
        name: "KV Retrieve",
        opcode: KeyValueOpcode.retrieve,
        cdw10: sizeBytes,
        cdw11: words.cdw11 | (options.raw === true ? RAW : 0),
      };
      let value: Buffer | undefined;
      const retrieving = this.transfer(command, sizeBytes, undefined, (bytes) => {
        value = Buffer.from(bytes);
      });
      const completion = await unless(NvmeStatus.keyDoesNotExist, retrieving);
      if (completion === undefined) return undefined;
      const { dw0 } = completion;
      if (dw0 <= sizeBytes) return value?.subarray(0, dw0);
      if (dw0 > most) {
        throw new NvmeProtocolError(
          `namespace ${this.nsid} has a value of ${dw0} bytes, more than one command can carry`,
        );
      }
      sizeBytes = attempts === 1 ? dw0 : most;
    }
  }

  /**
   * Deletes a key and its value.
   * @returns false if the controller reports that there was none; most report nothing (feature Key Value Configuration)
   * @throws as store()
   */
  async delete(key: NvmeKey): Promise<boolean> {
    const command = { ...this.words(key), name: "KV Delete", opcode: KeyValueOpcode.delete };
    return (await unless(NvmeStatus.keyDoesNotExist, this.controller.submitIo(command))) !== undefined;
  }

  /** Whether there is such a key. @throws as store() */
  async exist(key: NvmeKey): Promise<boolean> {
    const command = { ...this.words(key), name: "KV Exist", opcode: KeyValueOpcode.exist };
    return (await unless(NvmeStatus.keyDoesNotExist, this.controller.submitIo(command))) !== undefined;
  }

  /**
   * Yields keys in the controller's order. Keys that come and go meanwhile may be left out.
   * @param from the first key; all keys by default
   * @throws as store(); NvmeProtocolError if a list is malformed or repeats itself
   */
  async *keys(from?: NvmeKey): AsyncGenerator<Buffer, void, void> {
    let start = from === undefined ? undefined : this.bytesOf(from);
    let last: Buffer | undefined;
    for (let count = 0; ; ) {
      const listed: Buffer[] = await this.list(start);
      // A list begins with the key that it is asked for, which is the last one of the list before.
      const fresh: Buffer[] =
        last !== undefined && listed[0]?.equals(last) === true ? listed.slice(1) : listed;
      if (last !== undefined && fresh.some((key) => last?.equals(key) === true))
        throw new NvmeProtocolError(`namespace ${this.nsid} lists the same keys again and again`);
      count += fresh.length;
      if (count > this.mostKeys)
        throw new NvmeProtocolError(`namespace ${this.nsid} lists more than ${this.mostKeys} keys`);
      yield* fresh;
      last = fresh.at(-1);
      if (last === undefined) return;
      start = last;
    }
  }

  /** Waits until all values stored before are on the medium (Flush). @throws as store() */
  async flush(): Promise<void> {
    await this.controller.submitIo({ name: "flush", opcode: IoOpcode.flush, nsid: this.nsid });
  }

  /** Reservations of this namespace, for hosts that share it. */
  get reservations(): NvmeReservations {
    return new NvmeReservations(this.controller, this.nsid, this.identify.rescap);
  }

  private async list(from: Uint8Array | undefined): Promise<Buffer[]> {
    const words = from === undefined ? { nsid: this.nsid } : this.words(from);
    const sizeBytes = Math.min(LIST_BYTES, this.controller.maxTransferBytes);
    const command = { ...words, name: "KV List", opcode: KeyValueOpcode.list, cdw10: sizeBytes };
    let list = Buffer.alloc(0);
    await this.transfer(command, sizeBytes, undefined, (bytes) => {
      list = Buffer.from(bytes);
    });
    const count = list.readUInt32LE(0);
    const keys: Buffer[] = [];
    for (let at = LIST_HEADER_BYTES; keys.length < count; ) {
      const length = at + KEY_LENGTH_BYTES <= list.length ? list.readUInt16LE(at) : 0;
      const end = at + KEY_LENGTH_BYTES + length;
      if (length === 0 || length > MAX_KEY_BYTES || end > list.length) {
        throw new NvmeProtocolError(
          `namespace ${this.nsid} claims ${count} keys, of which number ${keys.length} has ${length} bytes`,
        );
      }
      keys.push(list.subarray(at + KEY_LENGTH_BYTES, end));
      at = Math.ceil(end / 4) * 4;
    }
    return keys;
  }

  /** The dwords that hold a key. @throws ArgumentError */
  private words(key: NvmeKey) {
    const bytes = this.bytesOf(key);
    const whole = new Uint32Array(MAX_KEY_BYTES / 4);
    new Uint8Array(whole.buffer).set(bytes);
    const [cdw2 = 0, cdw3 = 0, cdw14 = 0, cdw15 = 0] = whole;
    return { nsid: this.nsid, cdw2, cdw3, cdw11: bytes.length, cdw14, cdw15 };
  }

  private bytesOf(key: NvmeKey): Uint8Array {
    const bytes = typeof key === "string" ? Buffer.from(key) : key;
    if (!isUint8Array(bytes)) throw new ArgumentError("key must be a Uint8Array or a string");
    if (bytes.length === 0 || bytes.length > this.maxKeyBytes)
      throw new ArgumentError(`key must have 1 to ${this.maxKeyBytes} bytes, got ${bytes.length}`);
    return bytes;
  }

  /** Submits a command with data of so many bytes, which may be none. */
  private async transfer(
    command: Omit<NvmeCommand, "data">,
    sizeBytes: number,
    fill?: (bytes: Uint8Array) => void,
    take?: (bytes: Uint8Array) => void,
  ): Promise<NvmeCompletion> {
    if (sizeBytes === 0) return await this.controller.submitIo(command);
    const buffer = this.controller.dma.alloc(sizeBytes);
    try {
      const bytes = buffer.view(0, sizeBytes);
      fill?.(bytes);
      const completion = await this.controller.submitIo({ ...command, data: { buffer, length: sizeBytes } });
      take?.(bytes);
      return completion;
    } finally {
      buffer.close();
    }
  }
}

/** @returns undefined if the command ends with this status @throws any other error */
async function unless<T>(status: number | undefined, running: Promise<T>): Promise<T | undefined> {
  try {
    return await running;
  } catch (error) {
    if (error instanceof NvmeError && ((error.statusCodeType << 8) | error.statusCode) === status)
      return undefined;
    throw error;
  }
}
