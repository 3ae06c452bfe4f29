import { fstatSync } from "node:fs";
import { Errno } from "../../core/errno.js";
import {
  BusyError,
  ClosedError,
  DeviceGoneError,
  IovaError,
  SysError,
  TimeoutError,
  UnsupportedError,
} from "../../core/errors.js";
import { Lease } from "../../core/lifetime/lease.js";
import { Resource } from "../../core/lifetime/resource.js";
import { pollAnyReadable } from "../../sys/syscalls.js";
import { UnixSocket } from "../../sys/unix-socket.js";
import { watchReadable } from "../../sys/watch.js";
import type { DevicePresence } from "../../vfio/device-io.js";
import { Channel, closeFds, type Message, VfioUserProtocolError } from "../protocol/channel.js";
import { Command, commandName, dmaAccess } from "../protocol/protocol.js";
import {
  decodeVersion,
  encodeVersion,
  ourCapabilities,
  type VfioUserCapabilities,
} from "../protocol/version.js";
import { parseVfioUserOptions, type ReconnectPlan, type VfioUserOptions } from "./options.js";

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

/** Whether the device behind a server begins anew, or is to be given the state of the one before. */
export type ServerState = "new" | "moved";

const OVERHEAD_BYTES = 64 * 1024;
/** Requests of the server's that are handled in one turn of the event loop. */
const BATCH = 64;

/** What the lease gives back: the connection that there is at the time, and the pause before the next attempt. */
interface Link {
  channel: Channel;
  /** Where the server asks, if it wants that apart. */
  twin: Channel | undefined;
  timer: NodeJS.Timeout | undefined;
}

/**
 * A connection to a vfio-user server. Requests block the thread until their answer is here, as ioctls do, and at most for
 * the time limit; whatever the server asks meanwhile is answered. A server that breaks the protocol is left. Where
 * `reconnect` was asked for, one that has gone or was left is looked for again.
 */
export class VfioUserClient extends Resource {
  /** Answers the server's DMA requests; set by the address space. */
  dma: ClientDma | undefined;
  private readonly link: Link;
  private readonly timeoutMs: number;
  private plan: ReconnectPlan | undefined;
  private capabilities: VfioUserCapabilities;
  private nextId = 0;
  private isWaiting = false;
  private isRestoring = false;
  private gone: Error | undefined;
  private readonly listeners = new Set<(event: DevicePresence) => void>();
  private readonly restorers: ((state: ServerState) => void)[] = [];

  private constructor(
    private where: string,
    /** Maps regions also from files that the server could cut short. */
    readonly trustServer: boolean,
    timeoutMs: number,
    plan: ReconnectPlan | undefined,
  ) {
    const path = where;
    const channel = openChannel(path, timeoutMs);
    const link: Link = { channel, twin: undefined, timer: undefined };
    super(
      new Lease(`vfio-user server ${path}`, () => {
        clearTimeout(link.timer);
        hangUp(link);
      }),
    );
    this.link = link;
    this.timeoutMs = timeoutMs;
    // Only from here on: whoever doesn't find the server at first is told at once.
    this.plan = undefined;
    this.capabilities = ourCapabilities;
    try {
      this.agree(this.request(Command.version, [greeting()]));
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
    this.plan = plan;
    this.watchAll();
  }

  /**
   * @throws ConfigError, ArgumentError, SysError (no such socket, nobody listens, no permission), TimeoutError (no answer),
   *   VfioUserProtocolError (it speaks something else); nothing stays open
   */
  static connect(path: string, options: VfioUserOptions = {}): VfioUserClient {
    const { timeoutMs, trustServer, reconnect } = parseVfioUserOptions(options);
    return new VfioUserClient(path, trustServer, timeoutMs, reconnect);
  }

  /** The socket it is connected to. */
  get path(): string {
    return this.where;
  }

  /** What the server said that it can do. One that comes back may say something else. */
  get server(): VfioUserCapabilities {
    return this.capabilities;
  }

  /** Whether the server is there. */
  get connected(): boolean {
    return this.gone === undefined && !this.closed;
  }

  /** Calls `listener`, from a microtask, when the server goes or comes back. @returns how to stop that */
  onPresence(listener: (event: DevicePresence) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /**
   * Calls `restore` when a server that came back, or another one, has told its version, before anybody is told: it sets up
   * again what the server before knew. What it throws ends that attempt.
   */
  onReconnect(restore: (state: ServerState) => void): void {
    this.restorers.push(restore);
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
      this.link.channel.send({ id, command, parts, fds });
      const end = performance.now() + this.timeoutMs;
      for (;;) {
        const message = this.link.channel.receive();
        if (message?.isReply === true) return this.take(message, id, command);
        if (message !== undefined) this.serve(message, this.link.channel);
        const asked = this.listenOnce(this.link.twin);
        // Looked at after each request of the server's, too: it could ask for ever instead of answering.
        const left = Math.ceil(end - performance.now());
        if (left <= 0 || (message === undefined && !asked && !this.wait(left))) {
          throw new TimeoutError(`${commandName(command)} to ${this.lease.label}`, this.timeoutMs);
        }
      }
    } catch (error) {
      throw this.judge(error);
    } finally {
      this.isWaiting = false;
    }
  }

  /**
   * Goes on with another server, under whoever uses this: what the one before knew is set up there first. In one go, and where
   * it fails, with the one before as if nothing had been.
   * @param bring called then, with the new server in place of the old: it brings the device's state there
   * @throws as {@link connect} and request(), and what `bring` throws
   */
  moveTo(path: string, bring: () => void): void {
    this.assertConnected();
    if (this.isWaiting) throw new BusyError(`${this.lease.label} is waiting for another answer`);
    const { link, capabilities } = this;
    const { channel, twin } = link;
    link.channel = openChannel(path, this.timeoutMs);
    link.twin = undefined;
    // An error that ends the new connection is no end of the old.
    this.isRestoring = true;
    try {
      this.agree(this.request(Command.version, [greeting()]));
      this.restoreAll("moved");
      bring();
    } catch (error) {
      hangUp(link);
      link.channel = channel;
      link.twin = twin;
      this.capabilities = capabilities;
      this.gone = undefined;
      this.isRestoring = false;
      this.restoreAll("moved");
      throw error;
    } finally {
      this.isRestoring = false;
    }
    channel.close();
    twin?.close();
    this.where = path;
    this.watchAll();
  }

  private restoreAll(state: ServerState): void {
    for (const restore of this.restorers) restore(state);
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
  private listen(channel: Channel): void {
    try {
      for (let i = 0; i < BATCH; i++) if (!this.listenOnce(channel)) return;
    } catch (error) {
      const judged = this.judge(error);
      if (!(judged instanceof IovaError)) throw judged;
    }
  }

  /** @returns whether there was something */
  private listenOnce(channel: Channel | undefined): boolean {
    const message = channel?.receive();
    if (channel === undefined || message === undefined) return false;
    if (message.isReply) {
      closeFds(message.fds);
      throw new VfioUserProtocolError(`${this.lease.label} answered what nobody asked`);
    }
    this.serve(message, channel);
    return true;
  }

  /** Blocks the thread until something may be there. @returns false where the time is up */
  private wait(timeoutMs: number): boolean {
    const { channel, twin } = this.link;
    return twin === undefined ? channel.wait(timeoutMs) : pollAnyReadable([channel.fd, twin.fd], timeoutMs);
  }

  /** VFIO_USER_DMA_READ and DMA_WRITE: only what is mapped, with the rights it is mapped with. */
  private serve({ id, command, payload, fds, noReply }: Message, channel: Channel): void {
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
    if (!noReply) channel.send({ id, command, isReply: true, errno, parts });
  }

  /** An error that leaves the connection in doubt ends it. */
  private judge(error: unknown): unknown {
    const isFatal =
      error instanceof DeviceGoneError ||
      error instanceof VfioUserProtocolError ||
      error instanceof TimeoutError ||
      (error instanceof SysError && !error.syscall.startsWith("VFIO_USER"));
    if (isFatal && this.gone === undefined) {
      this.leave(error);
      const { plan } = this;
      if (this.isRestoring) return error;
      this.tell({ kind: "gone", error, retrying: plan !== undefined });
      if (plan !== undefined) void this.reconnect(plan);
    }
    return error;
  }

  private leave(error: Error): void {
    this.gone = error;
    hangUp(this.link);
  }

  /** Takes what the server says of itself. @throws VfioUserProtocolError, SysError */
  private agree({ payload, fds }: Answer): void {
    let twin: number | undefined;
    try {
      const capabilities = decodeVersion(payload, this.lease.label);
      const { supported, fdIndex } = capabilities.twinSocket;
      if (supported) {
        twin = fds.find((_, i) => i === fdIndex);
        if (twin === undefined || !fstatSync(twin).isSocket()) {
          twin = undefined;
          throw new VfioUserProtocolError(`${this.lease.label} promises a second socket and sends none`);
        }
      }
      this.capabilities = capabilities;
    } finally {
      closeFds(fds.filter((fd) => fd !== twin));
    }
    if (twin === undefined) return;
    const socket = new UnixSocket(twin, `second connection to ${this.where}`);
    this.link.twin = channelOf(socket, this.timeoutMs);
  }

  /** Never in the middle of the access that found it out. */
  private tell(event: DevicePresence): void {
    queueMicrotask(() => {
      for (const listener of [...this.listeners]) if (!this.closed) listener(event);
    });
  }

  private watchAll(): void {
    // What is watched is held for good, and this must be found by the garbage collector where it was forgotten.
    const client = new WeakRef(this);
    for (const channel of [this.link.channel, this.link.twin]) {
      if (channel === undefined) continue;
      watchReadable(channel.fd, channel.lease, () => client.deref()?.listen(channel))
        .unref()
        .entrust();
    }
  }

  /** Tries until the server is back or the time is up. */
  private async reconnect({ timeoutMs, firstPauseMs, longestPauseMs }: ReconnectPlan): Promise<void> {
    const { link } = this;
    const start = performance.now();
    for (let pause = firstPauseMs; ; pause = Math.min(2 * pause, longestPauseMs)) {
      // Closing the client ends it here: nobody continues.
      await new Promise<void>((resolve) => {
        link.timer = setTimeout(resolve, pause);
      });
      try {
        await this.attempt();
        this.tell({ kind: "back" });
        return;
      } catch (error) {
        if (this.closed) return;
        if (!(error instanceof IovaError)) throw error;
        if (performance.now() - start < timeoutMs) continue;
        this.tell({ kind: "lost", error });
        return;
      }
    }
  }

  /** One attempt. The wait for the version leaves the thread alone: nobody may be there who answers. */
  private async attempt(): Promise<void> {
    this.lease.assertOpen();
    const channel = openChannel(this.where, this.timeoutMs);
    this.link.channel = channel;
    try {
      channel.send({ id: 0, command: Command.version, parts: [greeting()] });
      const answer = this.take(await nextMessage(channel, this.timeoutMs), 0, Command.version);
      if (this.closed) closeFds(answer.fds);
      this.lease.assertOpen();
      this.agree(answer);
      this.nextId = 1;
      this.watchAll();
      this.gone = undefined;
    } catch (error) {
      hangUp(this.link);
      throw error;
    }
    // An error that ends the connection must not start another round of this.
    this.isRestoring = true;
    try {
      this.restoreAll("new");
    } catch (error) {
      this.leave(error instanceof Error ? error : new Error(String(error)));
      throw error;
    } finally {
      this.isRestoring = false;
    }
  }

  private assertConnected(): void {
    this.lease.assertOpen();
    if (this.gone !== undefined)
      throw this.gone instanceof DeviceGoneError ? this.gone : new DeviceGoneError(this.lease.label);
  }
}

function openChannel(path: string, timeoutMs: number): Channel {
  return channelOf(UnixSocket.connect(path), timeoutMs);
}

function channelOf(socket: UnixSocket, timeoutMs: number): Channel {
  const channel = new Channel(socket, ourCapabilities.maxTransferBytes + OVERHEAD_BYTES, timeoutMs);
  channel.entrust();
  return channel;
}

function hangUp(link: Link): void {
  link.channel.close();
  link.twin?.close();
  link.twin = undefined;
}

/** What a client proposes. */
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
      // Too late where something was decided.
      reject(new ClosedError(label));
    });
    watch.entrust();
    const timer = setTimeout(() => {
      reject(new TimeoutError(`${commandName(Command.version)} to ${label}`, timeoutMs));
      watch.close();
    }, timeoutMs);
  });
}
