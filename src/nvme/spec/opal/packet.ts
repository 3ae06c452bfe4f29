/** The encoding of methods and their results as tokens, and of these in ComPackets (TCG Core 2.01, sections 3.2.2 and 3.2.3). */

/** A value with a name, as parameters and columns have. */
export class OpalNamed {
  constructor(
    readonly name: number,
    readonly value: OpalValue,
  ) {}
}
/** What tokens can say here. */
export type OpalValue = number | Uint8Array | OpalNamed | readonly OpalValue[];

/** A method call, its result, or the end of a session. */
export interface OpalMessage {
  /** UIDs of a call's object and method; empty in a result. */
  readonly object: string;
  readonly method: string;
  readonly values: readonly OpalValue[];
  readonly status: number;
  readonly endsSession: boolean;
}

/** A message isn't what the specification says. */
export class OpalFormatError extends Error {}

const Control = {
  startList: 0xf0,
  endList: 0xf1,
  startName: 0xf2,
  endName: 0xf3,
  call: 0xf8,
  endOfData: 0xf9,
  endOfSession: 0xfa,
  empty: 0xff,
} as const;
const MOST_DEPTH = 8;
const UID_BYTES = 8;

const COM_PACKET_BYTES = 20;
const PACKET_BYTES = 24;
const HEADER_BYTES = 56;
/** What the lengths of messages are multiples of. */
const BLOCK_BYTES = 512;

/** The token that ends a session. */
export const endOfSession: Uint8Array = Uint8Array.of(Control.endOfSession);

function push(out: number[], value: OpalValue): void {
  if (typeof value === "number") {
    if (value < 0x40) out.push(value);
    else {
      const digits = value.toString(16);
      const bytes = Buffer.from(digits.padStart(digits.length + (digits.length % 2), "0"), "hex");
      out.push(0x80 | bytes.length);
      for (const byte of bytes) out.push(byte);
    }
  } else if (value instanceof Uint8Array) {
    if (value.length < 0x10) out.push(0xa0 | value.length);
    else out.push(0xd0 | (value.length >>> 8), value.length & 0xff);
    for (const byte of value) out.push(byte);
  } else if (value instanceof OpalNamed) {
    out.push(Control.startName);
    push(out, value.name);
    push(out, value.value);
    out.push(Control.endName);
  } else {
    out.push(Control.startList);
    for (const each of value) push(out, each);
    out.push(Control.endList);
  }
}

/** Encodes a call, or without `target` a result. */
export function encodeOpal(
  values: readonly OpalValue[],
  status = 0,
  target?: { readonly object: string; readonly method: string },
): Uint8Array {
  const out: number[] = [];
  if (target !== undefined) {
    out.push(Control.call);
    push(out, Buffer.from(target.object, "hex"));
    push(out, Buffer.from(target.method, "hex"));
  }
  push(out, values);
  out.push(Control.endOfData);
  push(out, [status, 0, 0]);
  return Uint8Array.from(out);
}

/** Reads tokens from the first to the last. */
class Reader {
  private at = 0;

  constructor(private readonly bytes: Uint8Array) {}

  /** Passes a control token if it is the next one. */
  takes(control: number): boolean {
    while (this.bytes[this.at] === Control.empty) this.at++;
    if (this.bytes[this.at] !== control) return false;
    this.at++;
    return true;
  }

  expect(control: number): void {
    if (!this.takes(control))
      throw new OpalFormatError(`token 0x${control.toString(16)} is missing at byte ${this.at}`);
  }

  list(depth = 0): readonly OpalValue[] {
    this.expect(Control.startList);
    const values: OpalValue[] = [];
    while (!this.takes(Control.endList)) values.push(this.value(depth + 1));
    return values;
  }

  uid(): string {
    const value = this.value(0);
    if (!(value instanceof Uint8Array) || value.length !== UID_BYTES)
      throw new OpalFormatError(`a UID is missing before byte ${this.at}`);
    return Buffer.from(value).toString("hex");
  }

  private value(depth: number): OpalValue {
    if (depth > MOST_DEPTH) throw new OpalFormatError(`values are nested deeper than ${MOST_DEPTH}`);
    if (this.takes(Control.startName)) {
      const name = this.value(depth + 1);
      if (typeof name !== "number") throw new OpalFormatError(`a name before byte ${this.at} is no number`);
      const value = this.value(depth + 1);
      this.expect(Control.endName);
      return new OpalNamed(name, value);
    }
    if (this.bytes[this.at] === Control.startList) return this.list(depth);
    return this.atom();
  }

  private atom(): number | Uint8Array {
    const first = this.byte();
    if (first < 0x40) return first;
    const isShort = first >= 0x80 && first < 0xc0;
    const isMedium = first >= 0xc0 && first < 0xe0;
    const isLong = first >= 0xe0 && first < 0xe4;
    if (!isShort && !isMedium && !isLong)
      throw new OpalFormatError(`token 0x${first.toString(16)} stands before byte ${this.at}`);
    const flags = isShort ? first >>> 4 : isMedium ? first >>> 3 : first;
    if ((flags & 1) !== 0) throw new OpalFormatError(`a signed number stands before byte ${this.at}`);
    const length = isShort
      ? first & 0xf
      : isMedium
        ? ((first & 7) << 8) | this.byte()
        : (this.byte() << 16) | (this.byte() << 8) | this.byte();
    if (this.at + length > this.bytes.length)
      throw new OpalFormatError(`it is cut short: ${length} bytes should follow byte ${this.at}`);
    const bytes = this.bytes.subarray(this.at, this.at + length);
    this.at += length;
    if ((flags & 2) !== 0) return bytes;
    const number = bytes.reduce((sum, byte) => sum * 256 + byte, 0);
    if (number > Number.MAX_SAFE_INTEGER) throw new OpalFormatError("a number is above 2^53");
    return number;
  }

  private byte(): number {
    const byte = this.bytes[this.at];
    if (byte === undefined) throw new OpalFormatError(`it is cut short after ${this.at} bytes`);
    this.at++;
    return byte;
  }
}

/** @throws OpalFormatError */
export function decodeOpal(tokens: Uint8Array): OpalMessage {
  const reader = new Reader(tokens);
  const nothing = { object: "", method: "", values: [], status: 0 };
  if (reader.takes(Control.endOfSession)) return { ...nothing, endsSession: true };
  const isCall = reader.takes(Control.call);
  const object = isCall ? reader.uid() : "";
  const method = isCall ? reader.uid() : "";
  const values = reader.list();
  reader.expect(Control.endOfData);
  const [status] = reader.list();
  if (typeof status !== "number") throw new OpalFormatError("it has no status");
  return { object, method, values, status, endsSession: false };
}

/** Numbers of a session: the controller's and the host's; 0 for the session manager. */
export interface OpalSessionNumbers {
  readonly tsn: number;
  readonly hsn: number;
}

/** A ComPacket with one packet and one subpacket, in whole blocks. */
export function wrapOpal(comId: number, { tsn, hsn }: OpalSessionNumbers, tokens: Uint8Array): Uint8Array {
  const padded = Math.ceil(tokens.length / 4) * 4;
  const bytes = new Uint8Array(Math.ceil((HEADER_BYTES + padded) / BLOCK_BYTES) * BLOCK_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint16(4, comId);
  view.setUint32(16, HEADER_BYTES - COM_PACKET_BYTES + padded);
  view.setUint32(20, tsn);
  view.setUint32(24, hsn);
  view.setUint32(40, HEADER_BYTES - COM_PACKET_BYTES - PACKET_BYTES + padded);
  view.setUint32(52, tokens.length);
  bytes.set(tokens, HEADER_BYTES);
  return bytes;
}

/** A ComPacket that says that there is no answer. */
export function emptyComPacket(comId: number): Uint8Array {
  const bytes = new Uint8Array(BLOCK_BYTES);
  new DataView(bytes.buffer).setUint16(4, comId);
  return bytes;
}

/** What a ComPacket holds. @returns undefined if it is empty @throws OpalFormatError */
export function unwrapOpal(
  bytes: Uint8Array,
): (OpalSessionNumbers & { readonly tokens: Uint8Array }) | undefined {
  if (bytes.length < COM_PACKET_BYTES) throw new OpalFormatError(`it has only ${bytes.length} bytes`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const whole = view.getUint32(16);
  if (whole === 0) return undefined;
  if (COM_PACKET_BYTES + whole > bytes.length || whole < HEADER_BYTES - COM_PACKET_BYTES)
    throw new OpalFormatError(`its length is ${whole}, but ${bytes.length - COM_PACKET_BYTES} bytes follow`);
  const length = view.getUint32(52);
  if (HEADER_BYTES + length > COM_PACKET_BYTES + whole)
    throw new OpalFormatError(`${length} bytes of tokens are beyond its end`);
  const tokens = bytes.subarray(HEADER_BYTES, HEADER_BYTES + length);
  return { tsn: view.getUint32(20), hsn: view.getUint32(24), tokens };
}
