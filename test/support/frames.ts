/** Ethernet frames for tests of network drivers: numbered ones, whose every byte follows from the number, and UDP and TCP ones. */
import { randomBytes } from "node:crypto";
import { parseMac } from "../../examples/drivers/igb/mac.js";

/** A type that IEEE 802 leaves to local experiments. */
const LOCAL_TYPE = 0x88b5;
export const LEAST_BYTES = 60;
export const MOST_BYTES = 1514;
const HEADER_BYTES = 14;
const NUMBER_BYTES = 4;
/** Of the random bytes that frames are cut from. */
const BLOCK_BYTES = 65_536;

/** A frame to `destination` with some data. */
export function plainFrame(destination: string, source: string, data: Uint8Array, type = LOCAL_TYPE): Buffer {
  const header = Buffer.concat([parseMac(destination), parseMac(source), Buffer.alloc(2)]);
  header.writeUInt16BE(type, 12);
  return Buffer.concat([header, data]);
}

/** Makes numbered frames, and tells whether one is as it was made. */
export class NumberedFrames {
  private readonly block = randomBytes(BLOCK_BYTES + MOST_BYTES);
  private readonly header: Buffer;

  constructor(destination: string, source: string) {
    this.header = plainFrame(destination, source, Buffer.alloc(0));
  }

  /** Lengths go through all from 60 to 1514. */
  lengthOf(number: number): number {
    return LEAST_BYTES + ((number * 769) % (MOST_BYTES - LEAST_BYTES + 1));
  }

  make(number: number): Buffer {
    const frame = Buffer.allocUnsafe(this.lengthOf(number));
    this.header.copy(frame);
    frame.writeUInt32BE(number, HEADER_BYTES);
    this.dataOf(number).copy(frame, HEADER_BYTES + NUMBER_BYTES);
    return frame;
  }

  numberOf(frame: Uint8Array): number {
    return Buffer.from(frame.buffer, frame.byteOffset, frame.length).readUInt32BE(HEADER_BYTES);
  }

  /** Compares every byte. */
  isAsMade(frame: Uint8Array, number: number): boolean {
    if (frame.length !== this.lengthOf(number)) return false;
    if (Buffer.compare(frame.subarray(0, HEADER_BYTES), this.header) !== 0) return false;
    if (this.numberOf(frame) !== number) return false;
    return Buffer.compare(frame.subarray(HEADER_BYTES + NUMBER_BYTES), this.dataOf(number)) === 0;
  }

  private dataOf(number: number): Buffer {
    const at = (number * 7919) % BLOCK_BYTES;
    return this.block.subarray(at, at + this.lengthOf(number) - HEADER_BYTES - NUMBER_BYTES);
  }
}

/** What an IP frame is made of. */
export interface IpFrame {
  readonly version: 4 | 6;
  readonly transport: "tcp" | "udp";
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly data: Uint8Array;
}

export const IP_SOURCE = { 4: "0a000001", 6: "fd000000000000000000000000000001" } as const;
export const IP_DESTINATION = { 4: "0a000002", 6: "fd000000000000000000000000000002" } as const;
const IP_TYPE = { 4: 0x0800, 6: 0x86dd } as const;
const PROTOCOL = { tcp: 6, udp: 17 } as const;
const IP_BYTES = { 4: 20, 6: 40 } as const;

/** Sum of big-endian words in ones' complement. */
export function onesSum(...parts: readonly Uint8Array[]): number {
  let sum = 0;
  for (const part of parts)
    for (let i = 0; i < part.length; i++) sum += (part[i] ?? 0) << (i % 2 === 0 ? 8 : 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x1_0000);
  return sum;
}

/** A frame with right checksums. */
export function ipFrame(destination: string, source: string, ip: IpFrame): Buffer {
  const { version, transport, data } = ip;
  const head = Buffer.alloc(transport === "tcp" ? 20 : 8);
  head.writeUInt16BE(ip.sourcePort, 0);
  head.writeUInt16BE(ip.destinationPort, 2);
  if (transport === "tcp") head.writeUInt16BE(0x5010, 12);
  else head.writeUInt16BE(head.length + data.length, 4);
  const segment = Buffer.concat([head, data]);
  const addresses = Buffer.from(IP_SOURCE[version] + IP_DESTINATION[version], "hex");
  const pseudo = Buffer.alloc(4);
  pseudo.writeUInt16BE(PROTOCOL[transport], 0);
  pseudo.writeUInt16BE(segment.length, 2);
  const sum = ~onesSum(addresses, pseudo, segment) & 0xffff;
  segment.writeUInt16BE(sum === 0 ? 0xffff : sum, transport === "tcp" ? 16 : 6);
  const header =
    version === 4 ? ipv4Header(transport, segment.length) : ipv6Header(transport, segment.length);
  addresses.copy(header, IP_BYTES[version] - addresses.length);
  if (version === 4) header.writeUInt16BE(~onesSum(header) & 0xffff, 10);
  return plainFrame(destination, source, Buffer.concat([header, segment]), IP_TYPE[version]);
}

function ipv4Header(transport: "tcp" | "udp", bytes: number): Buffer {
  const header = Buffer.alloc(IP_BYTES[4]);
  header[0] = 0x45;
  header.writeUInt16BE(header.length + bytes, 2);
  header[8] = 64;
  header[9] = PROTOCOL[transport];
  return header;
}

function ipv6Header(transport: "tcp" | "udp", bytes: number): Buffer {
  const header = Buffer.alloc(IP_BYTES[6]);
  header[0] = 0x60;
  header.writeUInt16BE(bytes, 4);
  header[6] = PROTOCOL[transport];
  header[7] = 64;
  return header;
}

/** Offset of the transport checksum in a frame of {@link ipFrame}. */
export function transportChecksumAt({ version, transport }: Pick<IpFrame, "version" | "transport">): number {
  return HEADER_BYTES + IP_BYTES[version] + (transport === "tcp" ? 16 : 6);
}

/** The hash that receive side scaling is made of (Toeplitz), of addresses and ports. */
export function toeplitz(key: Uint8Array, input: Uint8Array): number {
  let hash = 0;
  const bitOfKey = (i: number): number => ((key[i >> 3] ?? 0) >> (7 - (i & 7))) & 1;
  let window = 0;
  for (let i = 0; i < 32; i++) window = (window << 1) | bitOfKey(i);
  for (let i = 0; i < input.length * 8; i++) {
    if ((((input[i >> 3] ?? 0) >> (7 - (i & 7))) & 1) === 1) hash ^= window;
    window = (window << 1) | bitOfKey(i + 32);
  }
  return hash >>> 0;
}
