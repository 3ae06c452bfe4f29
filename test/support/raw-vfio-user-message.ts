/** Messages between RawServer and its thread. */

/** A descriptor that a server can attach to its answer. */
export type FdKind = "sealed" | "short" | "unsealed" | "eventfd" | "file" | "twin";

/** How one answer differs from a correct one. Each is used once, in order, for the command that it names. */
export interface Lie {
  readonly command: number;
  /** Only for a request about this region, as in deviceGetRegionInfo. */
  readonly region?: number;
  readonly silent?: boolean;
  /** Messages or invalid bytes before the answer, and after it. */
  readonly before?: readonly Uint8Array[];
  readonly after?: readonly Uint8Array[];
  /** Messages over the second socket, which an earlier answer sent (a descriptor "twin"). */
  readonly overTwin?: readonly Uint8Array[];
  /** Requests for memory without an end, in place of the answer. */
  readonly flood?: boolean;
  /** These bytes instead of an answer. */
  readonly raw?: Uint8Array;
  readonly idShift?: number;
  readonly answersCommand?: number;
  readonly flags?: number;
  readonly errno?: number;
  /** The size in the header. */
  readonly size?: number;
  readonly payload?: Uint8Array;
  readonly flips?: readonly { readonly at: number; readonly xor: number }[];
  /** Bytes that are missing at the end. */
  readonly cut?: number;
  readonly fds?: readonly FdKind[];
  readonly hangUp?: boolean;
  /** Truncates the unsealed file. */
  readonly truncate?: boolean;
}

/** The client's answer to a request of the server. */
export interface RawReport {
  readonly id: number;
  readonly command: number;
  readonly errno: number;
  readonly payload: Uint8Array;
}

export type RawOrder =
  | { readonly kind: "lie"; readonly lies: readonly Lie[] }
  | { readonly kind: "seen" }
  | { readonly kind: "left" }
  | { readonly kind: "close" };

/** A whole message with any header. */
export function header(message: {
  readonly id?: number;
  readonly command: number;
  readonly flags?: number;
  readonly errno?: number;
  readonly size?: number;
  readonly payload?: Uint8Array;
}): Buffer {
  const { id = 0, command, flags = 0, errno = 0, payload = new Uint8Array(0) } = message;
  const bytes = Buffer.alloc(Math.max(128, 16 + payload.length)).subarray(0, 16 + payload.length);
  bytes.writeUInt16LE(id, 0);
  bytes.writeUInt16LE(command, 2);
  bytes.writeUInt32LE(message.size ?? bytes.length, 4);
  bytes.writeUInt32LE(flags, 8);
  bytes.writeUInt32LE(errno, 12);
  bytes.set(payload, 16);
  return bytes;
}
