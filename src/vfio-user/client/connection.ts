/** One connection to a vfio-user server: requests and their answers, the server's own requests, and what both sides can do. */

import { fstatSync } from "node:fs";
import { Errno } from "../../core/errno.js";
import {
  BusyError,
  ClosedError,
  DeviceGoneError,
  SysError,
  TimeoutError,
  UnsupportedError,
} from "../../core/errors.js";
import { pollAnyReadable } from "../../sys/syscalls.js";
import { UnixSocket } from "../../sys/unix-socket.js";
import { watchReadable } from "../../sys/watch.js";
import { Channel, closeFds, type Message, VfioUserProtocolError } from "../protocol/channel.js";
import { Command, commandName, dmaAccess } from "../protocol/protocol.js";
import {
  decodeVersion,
  encodeVersion,
  ourCapabilities,
  type VfioUserCapabilities,
} from "../protocol/version.js";
import type { Answer, ClientDma } from "./exchange.js";

/** A request whose answer comes through the event loop. */
interface Pending {
  readonly command: number;
  resolve(message: Message): void;
  reject(error: Error): void;
}

/** Room for an answer of variable length at the first attempt. */
export const ANSWER_ROOM = 1024;
/** Most room for such an answer, if the server asks for more. */
export const MOST_ANSWER_ROOM = 64 * 1024;
/** Room in a message for its header and fixed parts, besides the data of a transfer. */
const OVERHEAD_BYTES = 64 * 1024;
/** Requests of the server that are handled in one turn of the event loop. */
const BATCH = 64;

/**
 * A connection never comes back: after its failure, or close(), {@link VfioUserClient} replaces it. It doesn't refer to the
 * client, whose lease holds it: a client that its user forgot must stay collectable.
 */
export class Connection {
  private readonly channel: Channel;
  /** The second socket, where the server has one for its own requests. */
  private twin: Channel | undefined;
  private agreed: VfioUserCapabilities = ourCapabilities;
  private nextId = 0;
  private isWaiting = false;
  /** By message id. */
  private readonly pending = new Map<number, Pending>();
  private receive: ((channel: Channel) => void) | undefined;
  private failed: Error | undefined;

  /**
   * Opens the socket. {@link negotiate} or {@link negotiateAsync} has to follow.
   * @throws SysError: no such socket, no listener, no permission
   */
  constructor(
    readonly path: string,
    private readonly timeoutMs: number,
  ) {
    this.channel = channelOf(UnixSocket.connect(path), timeoutMs);
  }

  /** What the server said that it can do. */
  get capabilities(): VfioUserCapabilities {
    return this.agreed;
  }

  /** The error that ended the connection; undefined while it works. */
  get failure(): Error | undefined {
    return this.failed;
  }

  private get label(): string {
    return `vfio-user server ${this.path}`;
  }

  close(): void {
    this.channel.close();
    this.twin?.close();
    const error = this.failed ?? new ClosedError(this.label);
    for (const { reject } of this.pending.values()) reject(error);
    this.pending.clear();
  }

  /** Ends the connection because of `error`. */
  fail(error: Error): void {
    this.failed ??= error;
    this.close();
  }

  /** VFIO_USER_VERSION, blocking the thread. @throws as {@link request}, VfioUserProtocolError, BusyError (serves another client) */
  negotiate(dma: ClientDma | undefined): void {
    this.agree(this.request(Command.version, [greeting()], [], dma));
  }

  /**
   * VFIO_USER_VERSION without blocking the thread: there may be no answer. close() ends the wait.
   * @throws as a rejection: TimeoutError, ClosedError, and as {@link negotiate}
   */
  async negotiateAsync(): Promise<void> {
    const id = this.takeId();
    this.channel.send({ id, command: Command.version, parts: [greeting()] });
    const message = await nextMessage(this.channel, this.timeoutMs);
    if (this.channel.closed) {
      closeFds(message.fds);
      throw new ClosedError(this.channel.lease.label);
    }
    this.checkReply(message, id, Command.version);
    this.agree(this.answerOf(message));
  }

  /** @throws BusyError while a request waits for its answer: the next answer would be taken for its own */
  assertIdle(): void {
    if (this.isWaiting || this.pending.size > 0) throw this.busy();
  }

  private busy(): BusyError {
    return new BusyError(`${this.label} still owes an answer: wait until the request before has ended`);
  }

  /**
   * Sends a request and blocks the thread until the answer is here; the server's own requests are answered meanwhile.
   * @param dma what the server's requests reach
   * @throws DeviceGoneError, TimeoutError, VfioUserProtocolError, SysError of a system call: the connection has then
   *   failed, since a late answer would be taken for the next one's. SysError with the errno that the server answered,
   *   UnsupportedError where it doesn't know the command, BusyError: the connection still works
   */
  request(
    command: number,
    parts: readonly Uint8Array[],
    fds: readonly number[],
    dma: ClientDma | undefined,
  ): Answer {
    if (this.isWaiting) throw this.busy();
    const id = this.takeId();
    this.isWaiting = true;
    try {
      return this.answerOf(
        this.guarded(() => {
          this.channel.send({ id, command, parts, fds });
          return this.awaitReply(id, command, dma);
        }),
      );
    } finally {
      this.isWaiting = false;
    }
  }

  /**
   * Sends a request whose answer comes through {@link serveAll}, or while another request waits for its own. Keeps the
   * process alive for as long.
   * @throws as a rejection: as {@link request}, and ClosedError if the connection is closed meanwhile
   */
  async requestAsync(command: number, parts: readonly Uint8Array[]): Promise<Answer> {
    const id = this.takeId();
    this.guarded(() => this.channel.send({ id, command, parts }));
    const timer = setTimeout(() => this.endPatience(id, command), this.timeoutMs);
    try {
      const answer = await new Promise<Message>((resolve, reject) => {
        this.pending.set(id, { command, resolve, reject });
      });
      return this.answerOf(answer);
    } finally {
      clearTimeout(timer);
    }
  }

  /** The time limit of an asynchronous request is over. */
  private endPatience(id: number, command: number): void {
    // The answer may be here: the event loop runs timers before it looks at descriptors.
    this.receive?.(this.channel);
    if (this.pending.has(id)) this.fail(this.timeout(command));
  }

  private timeout(command: number): TimeoutError {
    return timeout(command, this.label, this.timeoutMs);
  }

  /** @returns whether this is the answer to an asynchronous request */
  private settle(message: Message, channel: Channel): boolean {
    const pending = channel === this.channel ? this.pending.get(message.id) : undefined;
    if (pending === undefined || pending.command !== message.command) return false;
    this.pending.delete(message.id);
    // The channel reuses its buffer before the promise's reactions run.
    pending.resolve({ ...message, payload: message.payload.slice() });
    return true;
  }

  /**
   * Calls `receive` in the event loop when something came in while no request was waiting; it has to call {@link serveAll}.
   * Doesn't keep the process alive. @param receive is held for as long as the connection is open
   */
  watch(receive: (channel: Channel) => void): void {
    this.receive = receive;
    for (const channel of [this.channel, this.twin]) {
      if (channel === undefined) continue;
      watchReadable(channel.fd, channel.lease, () => receive(channel))
        .unref()
        .relinquish();
    }
  }

  /** Answers the requests of the server that are here, at most one batch. @throws as {@link request} */
  serveAll(channel: Channel, dma: ClientDma | undefined): void {
    this.guarded(() => {
      for (let i = 0; i < BATCH; i++) if (!this.serveNext(channel, dma)) return;
    });
  }

  /** Runs part of an exchange with the server: an error in it leaves the connection in doubt, which ends it. */
  private guarded<T>(exchange: () => T): T {
    try {
      return exchange();
    } catch (error) {
      const isDoubtful =
        error instanceof DeviceGoneError ||
        error instanceof VfioUserProtocolError ||
        error instanceof TimeoutError ||
        error instanceof SysError;
      if (isDoubtful) this.fail(error);
      throw error;
    }
  }

  private takeId(): number {
    let id: number;
    do {
      id = this.nextId;
      this.nextId = (this.nextId + 1) & 0xffff;
    } while (this.pending.has(id));
    return id;
  }

  private awaitReply(id: number, command: number, dma: ClientDma | undefined): Message {
    const end = performance.now() + this.timeoutMs;
    for (;;) {
      const message = this.channel.receive();
      if (message?.isReply === true) {
        if (!this.settle(message, this.channel)) return this.checkReply(message, id, command);
      } else if (message !== undefined) this.serve(message, this.channel, dma);
      const asked = this.twin !== undefined && this.serveNext(this.twin, dma);
      // Checked after each request of the server, too: it could send requests for ever instead of an answer.
      const left = Math.ceil(end - performance.now());
      if (left <= 0 || (message === undefined && !asked && !this.wait(left))) {
        throw this.timeout(command);
      }
    }
  }

  /** Blocks the thread until something may be there. @returns false if the time is up */
  private wait(timeoutMs: number): boolean {
    const { channel, twin } = this;
    return twin === undefined ? channel.wait(timeoutMs) : pollAnyReadable([channel.fd, twin.fd], timeoutMs);
  }

  /** @throws VfioUserProtocolError where the reply is to another request */
  private checkReply(message: Message, id: number, command: number): Message {
    if (message.id === id && message.command === command) return message;
    closeFds(message.fds);
    throw new VfioUserProtocolError(
      `${this.label} answered ${commandName(message.command)} ${message.id} instead of ${commandName(command)} ${id}`,
    );
  }

  /**
   * @throws SysError with the errno that the server answered, UnsupportedError where it doesn't know the command, BusyError
   *   where it serves another client
   */
  private answerOf({ command, errno, payload, fds }: Message): Answer {
    if (errno === 0) return { payload: payload.slice(), fds };
    closeFds(fds);
    const cause = new SysError(commandName(command), errno, { object: this.label });
    if (command === Command.version && errno === Errno.EBUSY) {
      throw new BusyError(
        `${this.path} is in use by another client: a server has one at a time. Close that one, or start another server`,
        { cause },
      );
    }
    if (errno === Errno.ENOTTY || errno === Errno.EOPNOTSUPP) {
      throw new UnsupportedError(`${this.label} has no ${commandName(command)}`, { cause });
    }
    throw cause;
  }

  /** @returns whether there was a request */
  private serveNext(channel: Channel, dma: ClientDma | undefined): boolean {
    const message = channel.receive();
    if (message === undefined) return false;
    if (message.isReply) {
      if (this.settle(message, channel)) return true;
      closeFds(message.fds);
      throw new VfioUserProtocolError(`${this.label} sent an answer without a request`);
    }
    this.serve(message, channel, dma);
    return true;
  }

  /** VFIO_USER_DMA_READ and DMA_WRITE: reach what is mapped, with the rights it is mapped with. */
  private serve(
    { id, command, payload, fds, noReply }: Message,
    channel: Channel,
    dma: ClientDma | undefined,
  ): void {
    closeFds(fds);
    const outcome = accessMemory(command, payload, dma);
    const [errno, parts] = typeof outcome === "number" ? [outcome, []] : [0, outcome];
    if (!noReply) channel.send({ id, command, isReply: true, errno, parts });
  }

  /** Takes the capabilities and the second socket from the server's version. @throws VfioUserProtocolError, SysError */
  private agree({ payload, fds }: Answer): void {
    let twin: number | undefined;
    try {
      const capabilities = decodeVersion(payload, this.label);
      const { supported, fdIndex } = capabilities.twinSocket;
      if (supported) {
        twin = fds.find((_, i) => i === fdIndex);
        if (twin === undefined || !fstatSync(twin).isSocket()) {
          twin = undefined;
          throw new VfioUserProtocolError(`${this.label} promises a second socket and sends none`);
        }
      }
      this.agreed = capabilities;
    } finally {
      closeFds(fds.filter((fd) => fd !== twin));
    }
    if (twin === undefined) return;
    const socket = new UnixSocket(twin, `connection to ${this.path} for requests of the server`);
    this.twin = channelOf(socket, this.timeoutMs);
  }
}

function timeout(command: number, label: string, timeoutMs: number): TimeoutError {
  const hint = "check that the server runs, and in another thread than its client, which waits";
  return new TimeoutError(`${commandName(command)} to ${label}`, timeoutMs, { hint });
}

/** @returns the parts of the answer, or the errno to answer with */
function accessMemory(
  command: number,
  payload: Uint8Array,
  dma: ClientDma | undefined,
): number | readonly Uint8Array[] {
  if (command !== Command.dmaRead && command !== Command.dmaWrite) return Errno.ENOTTY;
  if (payload.length < dmaAccess.sizeBytes) return Errno.EINVAL;
  const { addr, count } = dmaAccess.decode(payload);
  const header = payload.slice(0, dmaAccess.sizeBytes);
  if (count > BigInt(ourCapabilities.maxTransferBytes)) return Errno.EINVAL;
  if (command === Command.dmaWrite) {
    const data = payload.subarray(dmaAccess.sizeBytes);
    if (BigInt(data.length) !== count) return Errno.EINVAL;
    return dma?.write(addr, data) === true ? [header] : Errno.EFAULT;
  }
  const target = Buffer.alloc(Number(count));
  return dma?.read(addr, target) === true ? [header, target] : Errno.EFAULT;
}

function channelOf(socket: UnixSocket, timeoutMs: number): Channel {
  const channel = new Channel(socket, ourCapabilities.maxTransferBytes + OVERHEAD_BYTES, timeoutMs);
  channel.relinquish();
  return channel;
}

/** The version and capabilities that we propose. */
function greeting(): Uint8Array {
  return encodeVersion(undefined, ourCapabilities.twinSocket);
}

/** @throws as a rejection: TimeoutError, ClosedError, and as {@link Channel.receive} */
function nextMessage(channel: Channel, timeoutMs: number): Promise<Message> {
  return new Promise((resolve, reject) => {
    const { label } = channel.lease;
    const receive = (): void => {
      try {
        const message = channel.receive();
        if (message === undefined) return;
        resolve(message);
      } catch (error) {
        reject(error);
      }
      watch.close();
    };
    const watch = watchReadable(channel.fd, channel.lease, receive, () => {
      clearTimeout(timer);
      // No effect once the promise is settled.
      reject(new ClosedError(label));
    });
    watch.relinquish();
    const timer = setTimeout(() => {
      // As in endPatience(): it may be here.
      receive();
      reject(timeout(Command.version, label, timeoutMs));
      watch.close();
    }, timeoutMs);
  });
}
