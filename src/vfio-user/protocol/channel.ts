/** Whole vfio-user messages over a socket, and the diagnostics channel `iova:vfio-user:message`. */

import type { Channel as DiagnosticsChannel } from "node:diagnostics_channel";
import { DeviceGoneError, IovaError } from "../../core/errors.js";
import { Lease } from "../../core/lifetime/lease.js";
import { Resource } from "../../core/lifetime/resource.js";
import { append } from "../../core/lists.js";
import { debugChannel } from "../../sys/debug-log.js";
import { close, pollReadable } from "../../sys/syscalls.js";
import type { UnixSocket } from "../../sys/unix-socket.js";
import { commandName, FLAG_ERROR, FLAG_NO_REPLY, HEADER_BYTES, TYPE_REPLY } from "./protocol.js";

/** The other side doesn't keep to the protocol. The connection is of no more use. */
export class VfioUserProtocolError extends IovaError {
  constructor(message: string, options?: ErrorOptions) {
    super("ERR_IOVA_VFIO_USER", message, options);
  }
}

/** One message, whole. Its descriptors are the receiver's to close. */
export interface Message {
  readonly id: number;
  readonly command: number;
  /** Whether it answers a command of the other side. */
  readonly isReply: boolean;
  /** The sender wants no answer. */
  readonly noReply: boolean;
  /** Errno of a reply that says no; 0 else. */
  readonly errno: number;
  /** A view that is valid until the next receive. */
  readonly payload: Uint8Array;
  readonly fds: readonly number[];
}

/** What {@link Channel.send} takes. */
export interface Outgoing {
  readonly id: number;
  readonly command: number;
  readonly isReply?: boolean;
  readonly noReply?: boolean;
  readonly errno?: number;
  readonly parts?: readonly Uint8Array[];
  readonly fds?: readonly number[];
}

/** Message of the diagnostics channel `iova:vfio-user:message`: a message that was sent or received, by client or server. */
export interface VfioUserMessageTrace {
  /** The socket, as errors name it. */
  readonly connection: string;
  /** Seen from this process. */
  readonly direction: "sent" | "received";
  /** Name in the protocol, e.g. `VFIO_USER_DMA_MAP`. */
  readonly command: string;
  /** Whether the message answers a command of the other side. */
  readonly isReply: boolean;
  /** A reply has the id of its command. */
  readonly id: number;
  /** Length with the header of 16 bytes. */
  readonly sizeBytes: number;
  /** Why the other side refused the command; undefined in commands and where it didn't. */
  readonly errno: number | undefined;
}

const messageChannel: DiagnosticsChannel = debugChannel("iova:vfio-user:message");

/** What has happened at the end of the stream, for who has a device there. */
const HUNG_UP =
  "was closed from the other side: the device was removed, or its server has ended. " +
  "A device in software that throws ends its server: look for an uncaught exception";

/** Descriptors that anybody may send with one message; more are nonsense. */
const MAX_FDS = 64;

/**
 * Whole messages over a socket. Reads exactly one message at a time, header first: descriptors come with a header, so it
 * is always clear whose they are.
 */
export class Channel extends Resource {
  private readonly headerBytes = Buffer.alloc(128);
  private outgoing = Buffer.alloc(4096);
  private incoming = Buffer.alloc(4096);
  /** Bytes of the current message that are here. */
  private have = 0;
  private size = 0;
  private fds: number[] = [];

  /**
   * @param maxMessageBytes a longer message is refused before memory is made for it
   * @param sendTimeoutMs how long the other side may take nothing
   */
  constructor(
    private readonly socket: UnixSocket,
    public maxMessageBytes: number,
    private readonly sendTimeoutMs: number,
  ) {
    const lease = socket.relinquish();
    super(
      new Lease(lease.label, () => {
        lease.close();
      }),
    );
  }

  get fd(): number {
    return this.socket.fd;
  }

  /** @throws DeviceGoneError where the other side has gone, TimeoutError where it takes nothing */
  send({ id, command, isReply = false, noReply = false, errno = 0, parts = [], fds = [] }: Outgoing): void {
    this.lease.assertOpen();
    let size = HEADER_BYTES;
    for (const part of parts) size += part.length;
    if (this.outgoing.length < size) this.outgoing = Buffer.alloc(size);
    const { outgoing } = this;
    outgoing.writeUInt16LE(id, 0);
    outgoing.writeUInt16LE(command, 2);
    outgoing.writeUInt32LE(size, 4);
    const flags = (isReply ? TYPE_REPLY : 0) | (noReply ? FLAG_NO_REPLY : 0) | (errno > 0 ? FLAG_ERROR : 0);
    outgoing.writeUInt32LE(flags, 8);
    outgoing.writeUInt32LE(errno, 12);
    let at = HEADER_BYTES;
    for (const part of parts) {
      outgoing.set(part, at);
      at += part.length;
    }
    try {
      this.socket.send(outgoing.subarray(0, size), fds, this.sendTimeoutMs);
    } catch (error) {
      if (error instanceof IovaError && (error.code === "EPIPE" || error.code === "ECONNRESET")) {
        throw new DeviceGoneError(this.lease.label, HUNG_UP, { cause: error });
      }
      throw error;
    }
    if (messageChannel.hasSubscribers) this.trace("sent", { id, command, isReply, errno }, size);
  }

  /**
   * The next message, if it is here as a whole.
   * @throws DeviceGoneError at the end of the stream, VfioUserProtocolError, SysError
   */
  receive(): Message | undefined {
    this.lease.assertOpen();
    if (this.have < HEADER_BYTES) {
      if (!this.fill(this.headerBytes, HEADER_BYTES)) return undefined;
      this.size = this.headerBytes.readUInt32LE(4);
      if (this.size < HEADER_BYTES || this.size > this.maxMessageBytes) {
        throw new VfioUserProtocolError(
          `${this.lease.label} got a message of ${this.size} bytes: ${HEADER_BYTES} to ${this.maxMessageBytes} are agreed`,
        );
      }
      if (this.incoming.length < this.size) this.incoming = Buffer.alloc(this.size);
    }
    if (!this.fill(this.incoming, this.size)) return undefined;
    this.have = 0;
    const { headerBytes, fds } = this;
    this.fds = [];
    const flags = headerBytes.readUInt32LE(8);
    const message: Message = {
      id: headerBytes.readUInt16LE(0),
      command: headerBytes.readUInt16LE(2),
      isReply: (flags & 0xf) === TYPE_REPLY,
      noReply: (flags & FLAG_NO_REPLY) !== 0,
      errno: (flags & FLAG_ERROR) !== 0 ? headerBytes.readUInt32LE(12) || 5 : 0,
      // No Buffer: slice() of one copies nothing.
      payload: new Uint8Array(
        this.incoming.buffer,
        this.incoming.byteOffset + HEADER_BYTES,
        this.size - HEADER_BYTES,
      ),
      fds,
    };
    if (messageChannel.hasSubscribers) this.trace("received", message, this.size);
    return message;
  }

  private trace(
    direction: "sent" | "received",
    { id, command, isReply, errno }: Pick<Message, "id" | "command" | "isReply" | "errno">,
    sizeBytes: number,
  ): void {
    messageChannel.publish({
      connection: this.lease.label,
      direction,
      command: commandName(command),
      isReply,
      id,
      sizeBytes,
      errno: errno > 0 ? errno : undefined,
    } satisfies VfioUserMessageTrace);
  }

  /** Blocks the thread until something may be there to receive. @returns false if the time is up */
  wait(timeoutMs: number): boolean {
    this.lease.assertOpen();
    return pollReadable(this.fd, timeoutMs);
  }

  override close(): void {
    for (const fd of this.fds.splice(0)) close(fd);
    super.close();
  }

  /** Receives until `target` holds `end` bytes of the message. */
  private fill(target: Buffer, end: number): boolean {
    while (this.have < end) {
      const received = this.socket.receive(target.subarray(this.have, end));
      if (received === undefined) return false;
      append(this.fds, received.fds);
      if (this.fds.length > MAX_FDS) {
        throw new VfioUserProtocolError(
          `${this.lease.label} got ${this.fds.length} descriptors with one message: at most ${MAX_FDS} make sense`,
        );
      }
      if (received.count === 0) {
        if (this.have > 0) {
          throw new VfioUserProtocolError(`${this.lease.label} ended in the middle of a message`);
        }
        throw new DeviceGoneError(this.lease.label, HUNG_UP);
      }
      this.have += received.count;
    }
    return true;
  }
}

/** Closes descriptors that have no use. */
export function closeFds(fds: readonly number[]): void {
  for (const fd of fds) close(fd);
}
