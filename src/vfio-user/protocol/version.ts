/** VFIO_USER_VERSION: two numbers, and JSON that says what each side can do. */
import { PAGE_SIZE } from "../../sys/syscalls.js";
import { VfioUserProtocolError } from "./channel.js";
import { MAJOR, MINOR } from "./protocol.js";

/** An object of JSON, read by hand: each program's first connection would wait for a schema to be made. */
class Fields {
  private readonly values: Map<string, unknown>;

  /** @throws TypeError where it is no object */
  constructor(value: unknown) {
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw new TypeError("this must be an object");
    }
    this.values = new Map(Object.entries(value));
  }

  /** @throws TypeError where it is no whole number from `min` on */
  count(name: string, min = 0): number | undefined {
    const value = this.values.get(name);
    if (value === undefined) return undefined;
    if (typeof value !== "number" || !Number.isSafeInteger(value) || value < min) {
      throw new TypeError(`${name} must be a whole number from ${min}`);
    }
    return value;
  }

  flag(name: string): boolean | undefined {
    const value = this.values.get(name);
    if (value === undefined || typeof value === "boolean") return value;
    throw new TypeError(`${name} must be true or false`);
  }

  /** Empty if there is none. */
  object(name: string): Fields {
    const value = this.values.get(name);
    return new Fields(value === undefined ? {} : value);
  }
}

/** What one side of a connection can do: its statement, or the default. Never more than is used here. */
export interface VfioUserCapabilities {
  /** Minor version it speaks. */
  readonly minor: number;
  /** Descriptors that it takes with one message. */
  readonly maxMessageFds: number;
  /** Bytes of data that it takes with one message. */
  readonly maxTransferBytes: number;
  /** Page sizes that DMA mappings are multiples of, one bit each. */
  readonly pageSizes: number;
  /** DMA mappings that the server takes at a time. */
  readonly maxDmaMaps: number;
  /** It knows VFIO_USER_REGION_WRITE_MULTI. */
  readonly writeMultiple: boolean;
  /** What the server asks and is answered may go over a second socket. */
  readonly twinSocket: TwinSocket;
}

/** The second socket, as a side speaks of it. */
export interface TwinSocket {
  readonly supported: boolean;
  /** Which of the descriptors that came along it is; only a server says that. */
  readonly fdIndex: number | undefined;
}

export const ourCapabilities: VfioUserCapabilities = {
  minor: MINOR,
  maxMessageFds: 16,
  maxTransferBytes: 1024 * 1024,
  pageSizes: PAGE_SIZE,
  maxDmaMaps: 65535,
  writeMultiple: true,
  twinSocket: { supported: true, fdIndex: undefined },
};

/**
 * Payload of VFIO_USER_VERSION and of its reply.
 * @param minor at most ours; a server answers with no more than the client asked for (QEMU asks for 0.0, and hangs up otherwise)
 */
export function encodeVersion(
  minor = MINOR,
  twinSocket?: TwinSocket,
  maxDmaMaps = ourCapabilities.maxDmaMaps,
): Uint8Array {
  const json = JSON.stringify({
    capabilities: {
      max_msg_fds: ourCapabilities.maxMessageFds,
      max_data_xfer_size: ourCapabilities.maxTransferBytes,
      pgsizes: ourCapabilities.pageSizes,
      max_dma_maps: maxDmaMaps,
      write_multiple: ourCapabilities.writeMultiple,
      ...(twinSocket === undefined
        ? {}
        : { twin_socket: { supported: twinSocket.supported, fd_index: twinSocket.fdIndex } }),
    },
  });
  const bytes = Buffer.alloc(4 + json.length + 1);
  bytes.writeUInt16LE(MAJOR, 0);
  bytes.writeUInt16LE(Math.min(minor, MINOR), 2);
  bytes.write(json, 4, "latin1");
  return bytes;
}

/** @throws VfioUserProtocolError: another major version, or JSON that isn't what it should be */
export function decodeVersion(payload: Uint8Array, who: string): VfioUserCapabilities {
  if (payload.length < 4) throw new VfioUserProtocolError(`${who} sent a version of ${payload.length} bytes`);
  const bytes = Buffer.from(payload.buffer, payload.byteOffset, payload.length);
  const major = bytes.readUInt16LE(0);
  if (major !== MAJOR) {
    throw new VfioUserProtocolError(
      `${who} speaks vfio-user ${major}.${bytes.readUInt16LE(2)}, not ${MAJOR}.${MINOR}`,
    );
  }
  const end = bytes.indexOf(0, 4);
  const text = bytes.toString("utf8", 4, end < 0 ? bytes.length : end);
  try {
    // No capabilities at all mean the defaults.
    return capabilitiesOf(bytes.readUInt16LE(2), new Fields(text === "" ? {} : JSON.parse(text)));
  } catch (cause) {
    throw new VfioUserProtocolError(`${who} sent invalid capabilities: ${text.slice(0, 200)}`, {
      cause,
    });
  }
}

/** @throws TypeError */
function capabilitiesOf(minor: number, whole: Fields): VfioUserCapabilities {
  const has = whole.object("capabilities");
  const twinSocket = has.object("twin_socket");
  const pageSizes = has.count("pgsizes");
  const pageSize = has.count("pgsize");
  // With 0 nothing could be read or written.
  const transferBytes = has.count("max_data_xfer_size", 1) ?? 1024 * 1024;
  // Not used here; but a wrong value ends the connection, as any other.
  const migration = has.object("migration");
  migration.count("pgsize");
  migration.count("max_bitmap_size");
  return {
    minor,
    maxMessageFds: Math.min(has.count("max_msg_fds") ?? 1, ourCapabilities.maxMessageFds),
    maxTransferBytes: Math.min(transferBytes, ourCapabilities.maxTransferBytes),
    pageSizes: pageSizes ?? pageSize ?? PAGE_SIZE,
    maxDmaMaps: has.count("max_dma_maps") ?? 65535,
    writeMultiple: has.flag("write_multiple") ?? false,
    twinSocket: {
      supported: twinSocket.flag("supported") ?? false,
      fdIndex: twinSocket.count("fd_index"),
    },
  };
}
