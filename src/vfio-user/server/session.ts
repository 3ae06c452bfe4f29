/** One connection of a client to the server: negotiation, dispatch of its requests, requests to it, and its end. */
import { Errno } from "../../core/errno.js";
import { BusyError, DeviceGoneError, IovaError, SysError } from "../../core/errors.js";
import { Signaller } from "../../sys/signaller.js";
import { UnixSocket } from "../../sys/unix-socket.js";
import { watchReadable } from "../../sys/watch.js";
import {
  VFIO_DEVICE_FLAGS_PCI,
  VFIO_DEVICE_FLAGS_RESET,
  vfio_irq_info,
  vfio_irq_set,
} from "../../vfio/uapi.js";
import { Channel, closeFds, type Message, VfioUserProtocolError } from "../protocol/channel.js";
import { Command, deviceInfo, PCI_IRQS, PCI_REGIONS } from "../protocol/protocol.js";
import { decodeVersion, encodeVersion, ourCapabilities } from "../protocol/version.js";
import { DmaAccessError } from "./client-dma.js";
import { EmulatedConfigSpace } from "./config-space.js";
import { callDevice, isOfDevice } from "./device-calls.js";
import { type DmaOptions, DmaRequests } from "./dma-requests.js";
import type { DeviceHost, EmulatedDevice } from "./emulated-device.js";
import { ServerFeatures } from "./features.js";
import { ServerInterrupts } from "./interrupts.js";
import { ServerMigration } from "./migration.js";
import { Refusal } from "./refusal.js";
import { ServerRegions } from "./regions.js";
import type { Reply } from "./reply.js";
import { bestKind, checkVector } from "./vectors.js";

/** Options of the server, with defaults. */
export interface SessionOptions extends DmaOptions {
  readonly sendTimeoutMs: number;
  readonly versionTimeoutMs: number;
}

/** Whom a session belongs to. */
export interface SessionHost {
  readonly device: EmulatedDevice;
  readonly options: SessionOptions;
  /** A client has sent its version. @returns whether the server serves it; false while it serves another client */
  claim(session: Session): boolean;
  ended(session: Session): void;
}

/** Messages of one client that are handled before others get their turn. */
const BATCH = 64;
/** Header and the largest payload besides data. */
const OVERHEAD_BYTES = 4096;

/** One client, from its connection to its end. */
export class Session {
  private readonly device: EmulatedDevice;
  private readonly channel: Channel;
  /** The socket for requests to the client, if it has one of its own. */
  private twin: Channel | undefined;
  private readonly dma: DmaRequests;
  private readonly config: EmulatedConfigSpace;
  private readonly interrupts: ServerInterrupts;
  private readonly migration: ServerMigration | undefined;
  private readonly features: ServerFeatures;
  private readonly regions: ServerRegions;
  /** Made for the first eventfd. */
  private signaller: Signaller | undefined;
  private readonly pending = new Map<
    number,
    { resolve: (reply: Uint8Array) => void; reject: (error: Error) => void }
  >();
  private nextId = 0;
  /** Bytes of data that the client takes with one message. */
  private maxTransferBytes = ourCapabilities.maxTransferBytes;
  /** Descriptors that the client takes with one message. */
  private maxMessageFds = 1;
  private isNegotiated = false;
  /** Ends a connection that says nothing. */
  private readonly silence: NodeJS.Timeout;
  /** The server is busy with another client: this one is told, and the connection ends. */
  private isTurnedAway = false;
  private hasEnded = false;

  constructor(
    socket: UnixSocket,
    private readonly server: SessionHost,
  ) {
    const { device, options } = server;
    this.device = device;
    this.channel = new Channel(
      socket,
      ourCapabilities.maxTransferBytes + OVERHEAD_BYTES,
      options.sendTimeoutMs,
    );
    this.dma = new DmaRequests(
      options,
      () => this.maxTransferBytes,
      (command, parts) => this.ask(command, parts),
    );
    this.config = new EmulatedConfigSpace(device.configSpace, device.bars);
    const { migration } = device;
    if (migration !== undefined) {
      this.migration = new ServerMigration(migration, this.config, () => {
        this.enableDma();
        // Another device's state may have come in.
        this.interrupts.tableChanged();
      });
    }
    this.features = new ServerFeatures(this.dma.table, this.migration, () => this.maxTransferBytes);
    this.enableDma();
    this.interrupts = new ServerInterrupts(device, this.config, (fd) => this.signaller?.signal(fd));
    this.regions = new ServerRegions(device, this.config, this.interrupts, () => this.enableDma());
    try {
      watchReadable(this.channel.fd, this.channel.lease, () => this.receive()).relinquish();
    } catch (error) {
      this.channel.close();
      throw error;
    }
    this.silence = setTimeout(() => this.end(), options.versionTimeoutMs).unref();
  }

  end(): void {
    if (this.hasEnded) return;
    this.hasEnded = true;
    clearTimeout(this.silence);
    if (this.isNegotiated) {
      this.device.disconnect();
      // The next client finds it running.
      this.migration?.reset();
    }
    this.interrupts.clear();
    this.regions.close();
    this.signaller?.close();
    this.dma.table.close();
    const gone = goneClient();
    for (const { reject } of this.pending.values()) reject(gone);
    this.pending.clear();
    this.twin?.close();
    this.channel.close();
    this.server.ended(this);
  }

  /** Before there is an eventfd to signal, so that no device's interrupt fails of a lack of descriptors. @throws SysError */
  private prepareSignals(): void {
    if (this.signaller !== undefined) return;
    this.signaller = new Signaller("interrupts of a vfio-user client");
    this.signaller.relinquish();
  }

  private ask(command: number, parts: readonly Uint8Array[]): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      if (this.hasEnded) {
        reject(goneClient());
        return;
      }
      // Only ids of our own requests have to differ: replies and requests are told apart by type.
      const id = this.nextId;
      if (this.pending.has(id)) {
        reject(
          new BusyError(`the vfio-user client owes ${this.pending.size} answers: wait for some of them`),
        );
        return;
      }
      this.nextId = (this.nextId + 1) & 0xffff;
      this.pending.set(id, { resolve, reject });
      try {
        (this.twin ?? this.channel).send({ id, command, parts });
      } catch (error) {
        reject(error);
        // Part of the message may have been sent: nothing can follow.
        this.end();
      }
    });
  }

  /** Handles what is here, at most one batch. */
  receive(): void {
    this.guarded(() => {
      for (let i = 0; i < BATCH && !this.hasEnded; i++) {
        const message = this.channel.receive();
        if (message === undefined) return;
        if (message.isReply) this.takeReply(message);
        else this.serve(message);
      }
    });
  }

  private guarded(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.end();
      // A client's mistake ends its connection; our own and the device's end the program.
      if (!(error instanceof IovaError) || isOfDevice(error)) throw error;
    }
  }

  /** What comes over the second socket: answers, and nothing else. */
  private receiveTwin(twin: Channel): void {
    this.guarded(() => {
      for (let i = 0; i < BATCH && !this.hasEnded; i++) {
        const message = twin.receive();
        if (message === undefined) return;
        if (!message.isReply) {
          closeFds(message.fds);
          throw new VfioUserProtocolError("the client sent a request on the socket for its replies");
        }
        this.takeReply(message);
      }
    });
  }

  private takeReply(message: Message): void {
    closeFds(message.fds);
    const waiting = this.pending.get(message.id);
    if (waiting === undefined)
      throw new VfioUserProtocolError(
        `the client sent a reply to request ${message.id}, which doesn't exist`,
      );
    this.pending.delete(message.id);
    if (message.errno > 0)
      waiting.reject(new SysError("VFIO_USER_DMA", message.errno, { object: "the memory of the client" }));
    else waiting.resolve(message.payload.slice());
  }

  private serve(message: Message): void {
    const fds = [...message.fds];
    let errno = 0;
    let parts: readonly Uint8Array[] = [];
    let replyFds: readonly number[] = [];
    let sent: (() => void) | undefined;
    try {
      const reply = this.answer(message, fds);
      parts = reply.parts ?? [];
      replyFds = reply.fds ?? [];
      sent = reply.sent;
    } catch (error) {
      errno = errnoOf(error);
    } finally {
      closeFds(fds);
    }
    try {
      if (message.noReply || this.hasEnded) return;
      const { id, command } = message;
      this.channel.send({ id, command, isReply: true, errno, parts: errno > 0 ? [] : parts, fds: replyFds });
    } finally {
      sent?.();
      if (this.isTurnedAway) this.end();
    }
  }

  /** @param fds removes those that it keeps @throws Refusal, or another error that errnoOf() knows */
  private answer({ command, payload }: Message, fds: number[]): Reply {
    if (command === Command.version) return this.negotiate(payload);
    if (!this.isNegotiated) throw new VfioUserProtocolError("the client didn't send its version first");
    switch (command) {
      case Command.dmaMap:
        return this.dma.map(payload, fds);
      case Command.dmaUnmap:
        return this.dma.unmap(payload);
      case Command.deviceGetInfo:
        return {
          parts: [
            deviceInfo.encode({
              argsz: deviceInfo.sizeBytes,
              flags: VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET,
              num_regions: PCI_REGIONS,
              num_irqs: PCI_IRQS,
            }),
          ],
        };
      case Command.deviceGetRegionInfo:
        return this.regions.info(payload);
      case Command.deviceGetRegionIoFds:
        return this.regions.ioFds(payload, this.maxMessageFds, (work) => this.guarded(work));
      case Command.deviceGetIrqInfo: {
        const { index } = vfio_irq_info.decode(payload);
        const irqs = this.interrupts.at(index);
        if (irqs === undefined) throw new Refusal(Errno.EINVAL);
        const { flags, count } = irqs;
        return { parts: [vfio_irq_info.encode({ flags, index, count })] };
      }
      case Command.deviceSetIrqs: {
        const { flags, index, start, count } = vfio_irq_set.decode(payload);
        const irqs = this.interrupts.at(index);
        if (irqs === undefined) throw new Refusal(Errno.EINVAL);
        if (fds.length > 0) this.prepareSignals();
        irqs.set(flags, start, count, payload.subarray(vfio_irq_set.sizeBytes), fds);
        return {};
      }
      case Command.regionRead:
        return this.regions.read(payload);
      case Command.regionWrite:
        return this.regions.write(payload);
      case Command.regionWriteMulti:
        return this.regions.writeMany(payload);
      case Command.deviceReset:
        // As with VFIO, configuration space survives the reset.
        callDevice(() => this.device.reset());
        this.interrupts.forget();
        this.migration?.reset();
        return {};
      case Command.deviceFeature:
        return { parts: this.features.answer(payload) };
      case Command.migDataRead:
        return this.migrationOrRefusal().answerRead(payload, this.maxTransferBytes);
      case Command.migDataWrite:
        return this.migrationOrRefusal().answerWrite(payload);
      default:
        throw new Refusal(Errno.ENOTTY);
    }
  }

  private negotiate(payload: Uint8Array): Reply {
    if (this.isNegotiated) throw new Refusal(Errno.EINVAL);
    const client = decodeVersion(payload, "the client");
    this.maxTransferBytes = client.maxTransferBytes;
    this.maxMessageFds = client.maxMessageFds;
    if (!this.server.claim(this)) {
      this.isTurnedAway = true;
      throw new Refusal(Errno.EBUSY);
    }
    clearTimeout(this.silence);
    this.isNegotiated = true;
    const host: DeviceHost = {
      memory: this.dma.table,
      raise: (vector, kind = bestKind(this.device.vectors)) => {
        checkVector(this.device.vectors, vector, kind);
        this.interrupts.raise(vector, kind);
      },
      disconnect: () => this.end(),
    };
    callDevice(() => this.device.connect(host));
    const { maxDmaMaps } = this.server.options;
    if (!client.twinSocket.supported) return { parts: [encodeVersion(client.minor, undefined, maxDmaMaps)] };
    const theirs = this.openTwin();
    return {
      parts: [encodeVersion(client.minor, { supported: true, fdIndex: 0 }, maxDmaMaps)],
      fds: [theirs.fd],
      sent: () => theirs.close(),
    };
  }

  /** @returns the client's end @throws SysError */
  private openTwin(): UnixSocket {
    const [ours, theirs] = UnixSocket.pair("connection for requests to the vfio-user client");
    const { sendTimeoutMs } = this.server.options;
    const twin = new Channel(ours, ourCapabilities.maxTransferBytes + OVERHEAD_BYTES, sendTimeoutMs);
    twin.relinquish();
    theirs.relinquish();
    try {
      watchReadable(twin.fd, twin.lease, () => this.receiveTwin(twin)).relinquish();
    } catch (error) {
      twin.close();
      theirs.close();
      throw error;
    }
    this.twin = twin;
    return theirs;
  }

  /** @throws Refusal: ENOTTY if the device can't be migrated */
  private migrationOrRefusal(): ServerMigration {
    if (this.migration === undefined) throw new Refusal(Errno.ENOTTY);
    return this.migration;
  }

  private enableDma(): void {
    this.dma.table.enable(this.config.busMaster && this.migration?.running !== false);
  }
}

function goneClient(): DeviceGoneError {
  return new DeviceGoneError("the vfio-user client", "has ended its connection: its memory can't be reached");
}

/** The errno to answer with. @throws errors that end the connection, and those of the device */
function errnoOf(error: unknown): number {
  if (isOfDevice(error)) throw error;
  if (error instanceof Refusal) return error.errno;
  if (error instanceof VfioUserProtocolError) throw error;
  if (error instanceof SysError) return error.errno;
  if (error instanceof DmaAccessError) return error.errno;
  if (error instanceof IovaError) return Errno.EINVAL;
  throw error;
}
