/** VFIO_USER_VERSION: two numbers, and JSON that says what each side can do. It comes from outside, so zod reads it. */

import * as z from "zod/mini";
import { lazily } from "../sys/lazy.js";
import { integer, Problems, read } from "../sys/schema.js";
import { PAGE_SIZE } from "../sys/syscalls.js";
import { VfioUserProtocolError } from "./channel.js";
import { MAJOR, MINOR } from "./protocol.js";

const count = lazily(() => integer(0, Number.MAX_SAFE_INTEGER));

const schema = lazily(() =>
  z.looseObject({
    capabilities: z.optional(
      z.looseObject({
        max_msg_fds: z.optional(count()),
        // Nothing at all could be read or written with 0.
        max_data_xfer_size: z.optional(integer(1)),
        pgsize: z.optional(count()),
        pgsizes: z.optional(count()),
        max_dma_maps: z.optional(count()),
        write_multiple: z.optional(z.boolean()),
        twin_socket: z.optional(
          z.looseObject({ supported: z.optional(z.boolean()), fd_index: z.optional(count()) }),
        ),
        migration: z.optional(
          z.looseObject({ pgsize: z.optional(count()), max_bitmap_size: z.optional(count()) }),
        ),
      }),
    ),
  }),
);

/** What one side of a connection can do, with what counts where it says nothing; never more than is of use here. */
export interface VfioUserCapabilities {
  /** Minor version it speaks. */
  readonly minor: number;
  /** Descriptors that it takes with one message. */
  readonly maxMessageFds: number;
  /** Bytes of data that it takes with one message. */
  readonly maxTransferBytes: number;
  /** Page sizes that DMA mappings are multiples of, one bit each. */
  readonly pageSizes: number;
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
 * @param minor at most ours; a server answers a client with no more than it asked for, or the client goes (QEMU asks for 0.0)
 */
export function encodeVersion(minor = MINOR, twinSocket?: TwinSocket): Uint8Array {
  const json = JSON.stringify({
    capabilities: {
      max_msg_fds: ourCapabilities.maxMessageFds,
      max_data_xfer_size: ourCapabilities.maxTransferBytes,
      pgsizes: ourCapabilities.pageSizes,
      max_dma_maps: ourCapabilities.maxDmaMaps,
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
  const senseless = (cause: unknown): VfioUserProtocolError =>
    new VfioUserProtocolError(`${who} sent capabilities that make no sense: ${text.slice(0, 200)}`, {
      cause,
    });
  let json: unknown;
  try {
    // Nothing at all is allowed, and means what is usual.
    json = text === "" ? {} : JSON.parse(text);
  } catch (cause) {
    throw senseless(cause);
  }
  const parsed = read(schema(), json);
  if (parsed instanceof Problems) throw senseless(parsed.cause);
  const { capabilities = {} } = parsed;
  return {
    minor: bytes.readUInt16LE(2),
    maxMessageFds: Math.min(capabilities.max_msg_fds ?? 1, ourCapabilities.maxMessageFds),
    maxTransferBytes: Math.min(
      capabilities.max_data_xfer_size ?? 1024 * 1024,
      ourCapabilities.maxTransferBytes,
    ),
    pageSizes: capabilities.pgsizes ?? capabilities.pgsize ?? PAGE_SIZE,
    maxDmaMaps: capabilities.max_dma_maps ?? 65535,
    writeMultiple: capabilities.write_multiple ?? false,
    twinSocket: {
      supported: capabilities.twin_socket?.supported ?? false,
      fdIndex: capabilities.twin_socket?.fd_index,
    },
  };
}
