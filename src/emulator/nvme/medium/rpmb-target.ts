/** A target of the Replay Protected Memory Block: its memory, its key, and its answers to frames. */
import { createHmac } from "node:crypto";
import * as z from "zod/mini";
import { lazily } from "../../../core/lazy.js";
import {
  RPMB_COUNTER_EXPIRED,
  RPMB_MAC_FROM,
  RPMB_SECTOR_BYTES,
  RPMB_UNIT_BYTES,
  RpmbRequest,
  RpmbResult,
  rpmbConfiguration,
  rpmbFrame,
  rpmbSupport,
} from "../../../nvme/spec/rpmb.js";
import { u32 } from "./state-schema.js";

const hex = (bytes: number) => z.string().check(z.regex(new RegExp(`^([0-9a-f]{2}){${bytes}}$`)));

/** The targets in a migration state, and in a file beside the medium. */
export const rpmbState = lazily(() =>
  z
    .array(
      z.strictObject({
        key: z.nullable(hex(32)),
        counter: u32(),
        configuration: hex(2),
        configurationCounter: u32(),
        /** Without the zeros at its end, base64. */
        data: z.base64().check(z.maxLength(RPMB_UNIT_BYTES * 2)),
      }),
    )
    .check(z.maxLength(7)),
);
export type RpmbState = z.output<ReturnType<typeof rpmbState>>;

/** Sectors of one access. */
const ACCESS_SECTORS = 16;
const LAST_COUNTER = 0xffff_ffff;
/** Byte 1 of the Device Configuration Block: both boot partitions are locked. */
const ALL_LOCKED = 3;

/** RPMBS of Identify Controller. */
export function rpmbsOf(targets: number): number {
  if (targets === 0) return 0;
  const word = rpmbSupport.encode({ targets, access: ACCESS_SECTORS - 1 });
  return new DataView(word.buffer).getUint32(0, true);
}

type Frame = ReturnType<typeof rpmbFrame.decode>;

/** One target. Its state moves with the emulator. */
export class RpmbTarget {
  private key: Uint8Array | undefined;
  private counter = 0;
  private configurationCounter = 0;
  /** Bytes 0 and 1 of the Device Configuration Block: protection, and locks. */
  private settings = new Uint8Array(2);
  private data = new Uint8Array(RPMB_UNIT_BYTES);
  /** The response to be received. */
  private response: Uint8Array | undefined;
  /** The response to a key or a write, until its result is asked for. */
  private result: Uint8Array | undefined;

  /** @param keep makes the state of all targets outlive the emulator; false if that failed */
  constructor(
    private readonly number: number,
    private readonly keep: () => boolean,
  ) {}

  /** Boot partitions that its configuration locks; undefined while it doesn't protect them. */
  get lockedBootPartitions(): readonly boolean[] | undefined {
    const [protection = 0, locks = 0] = this.settings;
    return (protection & 1) === 0 ? undefined : [(locks & 1) !== 0, (locks & 2) !== 0];
  }

  /** Takes a frame with its data. @returns false if it is malformed */
  send(message: Uint8Array): boolean {
    const data = message.subarray(rpmbFrame.sizeBytes);
    if (message.length < rpmbFrame.sizeBytes || data.length % RPMB_SECTOR_BYTES !== 0) return false;
    const frame = rpmbFrame.decode(message);
    if (frame.target !== this.number) return false;
    switch (frame.type) {
      case RpmbRequest.programKey:
        this.result = this.answer(frame, this.programKey(frame));
        return true;
      case RpmbRequest.writeData:
      case RpmbRequest.writeConfiguration:
        this.result = this.answer(frame, this.write(frame, message, data));
        return true;
      case RpmbRequest.readCounter:
        this.response = this.answer(frame, this.unlessKeyless());
        return true;
      case RpmbRequest.readData:
      case RpmbRequest.readConfiguration:
        this.response = this.read(frame);
        return true;
      case RpmbRequest.readResult:
        this.response = this.result ?? this.answer(frame, RpmbResult.generalFailure);
        this.result = undefined;
        return true;
      default:
        return false;
    }
  }

  /** The response; undefined if nothing was asked. */
  receive(): Uint8Array | undefined {
    const { response } = this;
    this.response = undefined;
    return response;
  }

  /** What was asked before a reset is forgotten, and boot partitions that are protected are locked again. */
  reset(): void {
    this.response = undefined;
    this.result = undefined;
    const [protection = 0] = this.settings;
    if ((protection & 1) !== 0) this.settings = Uint8Array.of(protection, ALL_LOCKED);
  }

  save(): RpmbState[number] {
    const { key, counter, configurationCounter, data } = this;
    const end = data.findLastIndex((byte) => byte !== 0) + 1;
    return {
      key: key === undefined ? null : Buffer.from(key).toString("hex"),
      counter,
      configuration: Buffer.from(this.settings).toString("hex"),
      configurationCounter,
      data: Buffer.from(data.subarray(0, end)).toString("base64"),
    };
  }

  load({ key, counter, configuration, configurationCounter, data }: RpmbState[number]): void {
    this.response = undefined;
    this.result = undefined;
    this.key = key === null ? undefined : Buffer.from(key, "hex");
    this.counter = counter;
    this.settings = Uint8Array.from(Buffer.from(configuration, "hex"));
    this.configurationCounter = configurationCounter;
    this.data = new Uint8Array(RPMB_UNIT_BYTES);
    this.data.set(Buffer.from(data, "base64").subarray(0, RPMB_UNIT_BYTES));
  }

  private unlessKeyless(): number {
    return this.key === undefined ? RpmbResult.keyNotProgrammed : RpmbResult.success;
  }

  private programKey({ mac }: Frame): number {
    // The key can be programmed once.
    if (this.key !== undefined) return RpmbResult.writeFailure;
    this.key = mac;
    if (this.keep()) return RpmbResult.success;
    this.key = undefined;
    return RpmbResult.writeFailure;
  }

  private read(frame: Frame): Uint8Array {
    const { address, sectors } = frame;
    const isData = frame.type === RpmbRequest.readData;
    let result = this.unlessKeyless();
    if (result !== RpmbResult.success) return this.answer(frame, result);
    if (!isData) {
      if (this.number !== 0 || sectors !== 1) return this.answer(frame, RpmbResult.generalFailure);
      const block = new Uint8Array(RPMB_SECTOR_BYTES);
      block.set(this.settings);
      return this.answer(frame, result, block);
    }
    result = this.judgeRange(address, sectors);
    const start = address * RPMB_SECTOR_BYTES;
    const data =
      result === RpmbResult.success
        ? this.data.subarray(start, start + sectors * RPMB_SECTOR_BYTES)
        : undefined;
    return this.answer(frame, result, data);
  }

  private write(frame: Frame, message: Uint8Array, data: Uint8Array): number {
    const { key } = this;
    if (key === undefined) return RpmbResult.keyNotProgrammed;
    const isData = frame.type === RpmbRequest.writeData;
    const counter = isData ? this.counter : this.configurationCounter;
    if (counter === LAST_COUNTER) return RpmbResult.writeFailure | RPMB_COUNTER_EXPIRED;
    if (data.length !== frame.sectors * RPMB_SECTOR_BYTES) return RpmbResult.generalFailure;
    if (!macOf(key, message).equals(frame.mac)) return RpmbResult.authenticationFailure;
    if (frame.writeCounter !== counter) return RpmbResult.counterFailure;
    if (!isData) return this.configure(data, frame.sectors);
    const result = this.judgeRange(frame.address, frame.sectors);
    if (result !== RpmbResult.success) return result;
    const start = frame.address * RPMB_SECTOR_BYTES;
    const before = this.data.slice(start, start + data.length);
    this.data.set(data, start);
    this.counter++;
    if (this.keep()) return RpmbResult.success;
    this.data.set(before, start);
    this.counter--;
    return RpmbResult.writeFailure;
  }

  private configure(block: Uint8Array, sectors: number): number {
    if (this.number !== 0 || sectors !== 1) return RpmbResult.generalFailure;
    const { bootPartitionProtection } = rpmbConfiguration.decode(block);
    const isReserved = block.some((byte, i) => (i === 0 ? byte > 1 : i === 1 ? byte > 3 : byte !== 0));
    // Protection stays once it is there.
    if (isReserved || (this.settings[0] === 1 && bootPartitionProtection === 0))
      return RpmbResult.invalidConfiguration;
    const before = this.settings;
    this.settings = block.slice(0, 2);
    this.configurationCounter++;
    if (this.keep()) return RpmbResult.success;
    this.settings = before;
    this.configurationCounter--;
    return RpmbResult.writeFailure;
  }

  private judgeRange(address: number, sectors: number): number {
    if (sectors === 0 || sectors > ACCESS_SECTORS) return RpmbResult.generalFailure;
    const end = (address + sectors) * RPMB_SECTOR_BYTES;
    return end > this.data.length ? RpmbResult.addressFailure : RpmbResult.success;
  }

  private answer(request: Frame, result: number, data: Uint8Array = new Uint8Array(0)): Uint8Array {
    const isConfiguration =
      request.type === RpmbRequest.writeConfiguration || request.type === RpmbRequest.readConfiguration;
    const isKey = request.type === RpmbRequest.programKey;
    const frame = rpmbFrame.encode({
      target: this.number,
      nonce: request.nonce,
      writeCounter: isKey ? 0 : isConfiguration ? this.configurationCounter : this.counter,
      address: request.address,
      sectors: data.length / RPMB_SECTOR_BYTES,
      result,
      type: request.type << 8,
    });
    const message = Buffer.concat([frame, data]);
    if (this.key !== undefined && !isKey) message.set(macOf(this.key, message), rpmbFrame.fields.mac.offset);
    return message;
  }
}

const macOf = (key: Uint8Array, message: Uint8Array): Buffer =>
  createHmac("sha256", key).update(message.subarray(RPMB_MAC_FROM)).digest();
