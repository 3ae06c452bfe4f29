import { checkInteger } from "../sys/check.js";
import { Errno } from "../sys/errno.js";
import {
  BusyError,
  DeviceGoneError,
  IovaError,
  SysError,
  TimeoutError,
  UnsupportedError,
} from "../sys/errors.js";
import { Lease, Resource } from "../sys/resource.js";
import { UnixSocket } from "../sys/unix-socket.js";
import { watchReadable } from "../sys/watch.js";
import { Channel, closeFds, type Message, VfioUserProtocolError } from "./channel.js";
import { Command, commandName, dmaAccess } from "./protocol.js";
import { decodeVersion, encodeVersion, ourCapabilities, type VfioUserCapabilities } from "./version.js";

/** Options of {@link VfioUserClient.connect}. */
export interface VfioUserOptions {
  /** How long the server may take for any one answer, in milliseconds. 10,000 by default. */
  readonly timeoutMs?: number | undefined;
  /**
   * Maps regions also from files that the server could cut short under us, which would end this process (SIGBUS). Left
   * out, only sealed memfds are mapped, and the rest is reached by messages.
   */
  readonly trustServer?: boolean | undefined;
}

/** Memory of ours that the server asks for by message. */
export interface ClientDma {
  /** @returns false where we haven't mapped that for reading */
  read(iova: bigint, target: Uint8Array): boolean;
  write(iova: bigint, source: Uint8Array): boolean;
}

/** A reply. */
export interface Answer {
  readonly payload: Uint8Array;
  /** The caller's to close. */
  readonly fds: readonly number[];
}

const OVERHEAD_BYTES = 64 * 1024;
/** Requests of the server's that are handled in one turn of the event loop. */
const BATCH = 64;
/** What poll(2) takes. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

/**
 * A connection to a vfio-user server. Requests block the thread until their answer is here, as ioctls do, and at most for
 * the time limit; whatever the server asks meanwhile is answered. A server that breaks the protocol is left.
 */
export class VfioUserClient extends Resource {
  /** What the server said that it can do. */
  readonly server: VfioUserCapabilities;
  /** Answers the server's DMA requests; set by the address space. */
  dma: ClientDma | undefined;
  private readonly channel: Channel;
  private readonly timeoutMs: number;
  private nextId = 0;
  private isWaiting = false;
  private gone: Error | undefined;
  private readonly listeners = new Set<(error: Error) => void>();

  private constructor(
    socket: UnixSocket,
    readonly path: string,
    readonly options: VfioUserOptions,
    timeoutMs: number,
  ) {
    const channel = new Channel(socket, ourCapabilities.maxTransferBytes + OVERHEAD_BYTES, timeoutMs);
    const lease = channel.entrust();
    super(new Lease(`vfio-user server ${path}`, () => channel.close()));
    this.channel = channel;
    this.timeoutMs = timeoutMs;
    try {
      const { payload, fds } = this.request(Command.version, [encodeVersion()]);
      closeFds(fds);
      this.server = decodeVersion(payload, this.lease.label);
    } catch (error) {
      this.close();
      if (error instanceof DeviceGoneError) {
        throw new VfioUserProtocolError(
          `${path}: whoever listens there hung up instead of telling its version`,
          {
            cause: error,
          },
        );
      }
      throw error;
    }
    watchReadable(channel.fd, lease, () => this.listen())
      .unref()
      .entrust();
  }

  /**
   * @throws ArgumentError, SysError (no such socket, nobody listens, no permission), TimeoutError (no answer),
   *   VfioUserProtocolError (it speaks something else); nothing stays open
   */
  static connect(path: string, options: VfioUserOptions = {}): VfioUserClient {
    const timeoutMs = checkInteger("timeoutMs", options.timeoutMs ?? 10_000, 1, MAX_TIMEOUT_MS);
    return new VfioUserClient(UnixSocket.connect(path), path, options, timeoutMs);
  }

  /** Calls `listener` once when the server goes, or has to be left. @returns how to stop that */
  onGone(listener: (error: Error) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Whether the server is there. */
  get connected(): boolean {
    return this.gone === undefined && !this.closed;
  }

  /**
   * Asks and waits for the answer.
   * @throws DeviceGoneError, TimeoutError (the connection is closed: a late answer would be taken for the next one's),
   *   SysError with what the server says, UnsupportedError where it doesn't know the command, ClosedError
   */
  request(command: number, parts: readonly Uint8Array[] = [], fds: readonly number[] = []): Answer {
    this.assertConnected();
    // From a handler of the server's own request: there is no telling whose the next answer is.
    if (this.isWaiting) throw new BusyError(`${this.lease.label} is waiting for another answer`);
    const id = this.nextId;
    this.nextId = (this.nextId + 1) & 0xffff;
    this.isWaiting = true;
    try {
      this.channel.send({ id, command, parts, fds });
      const end = performance.now() + this.timeoutMs;
      for (;;) {
        const message = this.channel.receive();
        if (message?.isReply === true) return this.take(message, id, command);
        if (message !== undefined) this.serve(message);
        // Looked at after each request of the server's, too: it could ask for ever instead of answering.
        const left = Math.ceil(end - performance.now());
        if (left <= 0 || (message === undefined && !this.channel.wait(left))) {
          throw new TimeoutError(`${commandName(command)} to ${this.lease.label}`, this.timeoutMs);
        }
      }
    } catch (error) {
      throw this.judge(error);
    } finally {
      this.isWaiting = false;
    }
  }

  private take(message: Message, id: number, command: number): Answer {
    if (message.id !== id || message.command !== command) {
      closeFds(message.fds);
      throw new VfioUserProtocolError(
        `${this.lease.label} answered ${commandName(message.command)} ${message.id}, asked was ${commandName(command)} ${id}`,
      );
    }
    if (message.errno === 0) return { payload: message.payload.slice(), fds: message.fds };
    closeFds(message.fds);
    const cause = new SysError(commandName(command), message.errno, { object: this.lease.label });
    if (message.errno === Errno.ENOTTY || message.errno === Errno.EOPNOTSUPP) {
      throw new UnsupportedError(`${this.lease.label} has no ${commandName(command)}`, { cause });
    }
    throw cause;
  }

  /** What comes while nobody waits: requests of the server's, or its end. */
  private listen(): void {
    try {
      for (let i = 0; i < BATCH; i++) {
        const message = this.channel.receive();
        if (message === undefined) return;
        if (message.isReply) {
          closeFds(message.fds);
          throw new VfioUserProtocolError(`${this.lease.label} answered what nobody asked`);
        }
        this.serve(message);
      }
    } catch (error) {
      const judged = this.judge(error);
      if (!(judged instanceof IovaError)) throw judged;
    }
  }

  /** VFIO_USER_DMA_READ and DMA_WRITE: only what is mapped, with the rights it is mapped with. */
  private serve({ id, command, payload, fds, noReply }: Message): void {
    closeFds(fds);
    let errno = 0;
    let parts: readonly Uint8Array[] = [];
    const isDma = command === Command.dmaRead || command === Command.dmaWrite;
    if (!isDma) errno = Errno.ENOTTY;
    else if (payload.length < dmaAccess.sizeBytes) errno = Errno.EINVAL;
    else {
      const { addr, count } = dmaAccess.decode(payload);
      const header = payload.slice(0, dmaAccess.sizeBytes);
      const data = payload.subarray(dmaAccess.sizeBytes);
      const limit = BigInt(ourCapabilities.maxTransferBytes);
      if (count > limit || (command === Command.dmaWrite && BigInt(data.length) !== count))
        errno = Errno.EINVAL;
      else if (command === Command.dmaWrite) {
        if (this.dma?.write(addr, data) === true) parts = [header];
        else errno = Errno.EFAULT;
      } else {
        const target = Buffer.alloc(Number(count));
        if (this.dma?.read(addr, target) === true) parts = [header, target];
        else errno = Errno.EFAULT;
      }
    }
    if (!noReply) this.channel.send({ id, command, isReply: true, errno, parts });
  }

  /** An error that leaves the connection in doubt ends it. */
  private judge(error: unknown): unknown {
    const isFatal =
      error instanceof DeviceGoneError ||
      error instanceof VfioUserProtocolError ||
      error instanceof TimeoutError ||
      (error instanceof SysError && !error.syscall.startsWith("VFIO_USER"));
    if (isFatal && this.gone === undefined) {
      this.gone = error;
      this.channel.close();
      for (const listener of this.listeners) listener(error);
      this.listeners.clear();
    }
    return error;
  }

  private assertConnected(): void {
    this.lease.assertOpen();
    if (this.gone !== undefined)
      throw this.gone instanceof DeviceGoneError ? this.gone : new DeviceGoneError(this.lease.label);
  }
}
