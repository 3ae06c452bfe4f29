/** The headers of a frame, as far as checksums need them. */

const VLAN = 0x8100;
const IPV4 = 0x0800;
const IPV6 = 0x86dd;
const TCP = 6;
const UDP = 17;
const IPV6_BYTES = 40;
const IPV4_LEAST_BYTES = 20;
const ADDRESSES_V4 = { offset: 12, bytes: 8 } as const;
const ADDRESSES_V6 = { offset: 8, bytes: 32 } as const;
const FRAGMENT = 0x3fff;

/** The headers of an IPv4 or IPv6 frame. */
export interface Headers {
  /** Bytes before the IP header. */
  readonly macBytes: number;
  readonly ipBytes: number;
  readonly version: 4 | 6;
  /** The header after IP's; undefined if it is another one, or the frame is a fragment. */
  readonly transport: "tcp" | "udp" | undefined;
}

/** Where the checksum lies in the transport header. */
export const CHECKSUM_AT = { tcp: 16, udp: 6 } as const;
/** Where it lies in the IPv4 header. */
export const IP_CHECKSUM_AT = 10;
const LEAST_BYTES = { tcp: 20, udp: 8 } as const;

function word(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
}

/** @returns undefined if the frame is neither IPv4 nor IPv6, or too short */
export function headersOf(frame: Uint8Array): Headers | undefined {
  const macBytes = word(frame, 12) === VLAN ? 18 : 14;
  const type = word(frame, macBytes - 2);
  const first = frame[macBytes] ?? 0;
  if (type === IPV4 && first >> 4 === 4) {
    const ipBytes = (first & 0xf) * 4;
    if (ipBytes < IPV4_LEAST_BYTES || macBytes + ipBytes > frame.length) return undefined;
    const isFragment = (word(frame, macBytes + 6) & FRAGMENT) !== 0;
    const next = isFragment ? undefined : frame[macBytes + 9];
    return { macBytes, ipBytes, version: 4, transport: transportOf(next, frame, macBytes + ipBytes) };
  }
  if (type === IPV6 && first >> 4 === 6 && macBytes + IPV6_BYTES <= frame.length) {
    const transport = transportOf(frame[macBytes + 6], frame, macBytes + IPV6_BYTES);
    return { macBytes, ipBytes: IPV6_BYTES, version: 6, transport };
  }
  return undefined;
}

function transportOf(next: number | undefined, frame: Uint8Array, at: number): "tcp" | "udp" | undefined {
  const transport = next === TCP ? "tcp" : next === UDP ? "udp" : undefined;
  if (transport === undefined || at + LEAST_BYTES[transport] > frame.length) return undefined;
  return transport;
}

/** Adds big-endian words in ones' complement. */
export function sumWords(bytes: Uint8Array, from: number, to: number, start = 0): number {
  let sum = start;
  for (let at = from; at + 1 < to; at += 2) sum += word(bytes, at);
  if ((to - from) % 2 === 1) sum += (bytes[to - 1] ?? 0) << 8;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return sum;
}

/**
 * Prepares a frame for a device that computes the checksums: 0 in the IPv4 header, and in the transport header the sum of the
 * pseudo header, which the device doesn't see (82576 datasheet, section 7.2.5).
 */
export function prepareChecksums(frame: Uint8Array, headers: Headers): void {
  const { macBytes, ipBytes, version, transport } = headers;
  if (version === 4) frame.fill(0, macBytes + IP_CHECKSUM_AT, macBytes + IP_CHECKSUM_AT + 2);
  if (transport === undefined) return;
  const { offset, bytes } = version === 4 ? ADDRESSES_V4 : ADDRESSES_V6;
  const from = macBytes + offset;
  const packetBytes = version === 4 ? word(frame, macBytes + 2) - ipBytes : word(frame, macBytes + 4);
  const protocol = transport === "tcp" ? TCP : UDP;
  const sum = sumWords(frame, from, from + bytes, packetBytes + protocol);
  const at = macBytes + ipBytes + CHECKSUM_AT[transport];
  frame[at] = sum >> 8;
  frame[at + 1] = sum & 0xff;
}
