/** What the thread behind RawServer and those who order from it have in common. */

/** A descriptor that a server can attach to its answer. */
export type FdKind = "sealed" | "short" | "unsealed" | "eventfd" | "file" | "twin";

/** How one answer differs from an honest one. Each is used once, in order, for the command it names. */
export interface Lie {
  readonly command: number;
  /** Only for a request about this region, as deviceGetRegionInfo has it. */
  readonly region?: number;
  readonly silent?: boolean;
  /** Messages or rubbish ahead of the answer, and after it. */
  readonly before?: readonly Uint8Array[];
  readonly after?: readonly Uint8Array[];
  /** Messages over the second socket that was sent with an earlier answer (a descriptor "twin"). */
  readonly overTwin?: readonly Uint8Array[];
  /** Requests for memory ahead of the answer. */
  readonly flood?: number;
  /** These bytes instead of an answer. */
  readonly raw?: Uint8Array;
  readonly idShift?: number;
  readonly answersCommand?: number;
  readonly flags?: number;
  readonly errno?: number;
  /** What the header says of the size. */
  readonly size?: number;
  readonly payload?: Uint8Array;
  readonly flips?: readonly { readonly at: number; readonly xor: number }[];
  /** Bytes missing at the end. */
  readonly cut?: number;
  readonly fds?: readonly FdKind[];
  readonly hangUp?: boolean;
  /** Cuts the unsealed file short. */
  readonly truncate?: boolean;
}

/** What the client answered a request of the server's. */
export interface RawReport {
  readonly id: number;
  readonly command: number;
  readonly errno: number;
  readonly payload: Uint8Array;
}

export type RawOrder =
  | { readonly kind: "lie"; readonly lies: readonly Lie[] }
  | { readonly kind: "seen" }
  | { readonly kind: "close" };

/** A whole message with a header that may say anything. */
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
