import { Errno } from "../../core/errno.js";
import { BusyError, DeviceGoneError, IovaError, SysError } from "../../core/errors.js";
import { append } from "../../core/lists.js";
import { Signaller } from "../../sys/signaller.js";
import { PAGE_SIZE, sealAgainstShrinking } from "../../sys/syscalls.js";
import { UnixSocket } from "../../sys/unix-socket.js";
import { watchReadable } from "../../sys/watch.js";
import {
  VFIO_DEVICE_FLAGS_PCI,
  VFIO_DEVICE_FLAGS_RESET,
  VFIO_REGION_INFO_CAP_SPARSE_MMAP,
  VFIO_REGION_INFO_FLAG_CAPS,
  VFIO_REGION_INFO_FLAG_MMAP,
  VFIO_REGION_INFO_FLAG_READ,
  VFIO_REGION_INFO_FLAG_WRITE,
  vfio_irq_info,
  vfio_irq_set,
  vfio_region_info,
  vfio_region_info_cap_sparse_mmap,
  vfio_region_sparse_mmap_area,
} from "../../vfio/uapi.js";
import { Channel, closeFds, type Message, VfioUserProtocolError } from "../protocol/channel.js";
import {
  CONFIG_REGION,
  Command,
  DMA_READ,
  DMA_WRITE,
  deviceInfo,
  dmaAccess,
  dmaMap,
  dmaUnmap,
  migrationData,
  PCI_IRQS,
  PCI_REGIONS,
  regionAccess,
  regionIoFds,
  UNMAP_ALL,
  UNMAP_DIRTY_BITMAP,
  unmapBitmap,
  WRITE_MULTI_DATA_BYTES,
  WRITE_MULTI_MAX,
  writeMulti,
} from "../protocol/protocol.js";
import { decodeVersion, encodeVersion, ourCapabilities } from "../protocol/version.js";
import { readBar, writeBar } from "./bar-access.js";
import { DmaAccessError, DmaTable, type MessageDma } from "./client-dma.js";
import { EmulatedConfigSpace } from "./config-space.js";
import type { DeviceHost, EmulatedBar, EmulatedDevice } from "./emulated-device.js";
import { ServerFeatures } from "./features.js";
import { ServerInterrupts } from "./interrupts.js";
import { ServerIoEvents } from "./io-events.js";
import { ServerMigration } from "./migration.js";
import { Refusal } from "./refusal.js";

/** Options of the server with what was left out. */
export interface SessionOptions {
  readonly trustClients: boolean;
  readonly sendTimeoutMs: number;
  readonly versionTimeoutMs: number;
}

/** What a request is answered with. */
interface Reply {
  readonly parts?: readonly Uint8Array[];
  readonly fds?: readonly number[];
  /** Called once the descriptors are the client's. */
  readonly sent?: () => void;
}

/** Whom a session belongs to. */
export interface SessionHost {
  readonly device: EmulatedDevice;
  readonly options: SessionOptions;
  /** A session has told its version. @returns whether it is to be served */
  claim(session: Session): boolean;
  ended(session: Session): void;
}

/** Messages of one client that are handled before others get their turn. */
const BATCH = 64;
/** Header and the largest payload besides data. */
const OVERHEAD_BYTES = 4096;

/** One client, from its connection to its end. */
export class Session implements MessageDma {
  private readonly device: EmulatedDevice;
  private readonly channel: Channel;
  /** Where the client is asked, if it wants that apart. */
  private twin: Channel | undefined;
  private readonly memory: DmaTable;
  private readonly config: EmulatedConfigSpace;
  private readonly interrupts: ServerInterrupts;
  private readonly migration: ServerMigration | undefined;
  private readonly features: ServerFeatures;
  private readonly ioEvents = new ServerIoEvents();
  /** Made for the first interrupt. */
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
    this.memory = new DmaTable(this, ourCapabilities.maxDmaMaps);
    this.config = new EmulatedConfigSpace(device.configSpace, device.bars);
    const { migration } = device;
    if (migration !== undefined) {
      this.migration = new ServerMigration(migration, this.config, () => {
        this.enableDma();
        // Another device's state may have come in.
        this.interrupts.tableChanged();
      });
    }
    this.features = new ServerFeatures(this.memory, this.migration, () => this.maxTransferBytes);
    this.enableDma();
    this.interrupts = new ServerInterrupts(device, this.config, (fd) => this.signal(fd));
    try {
      watchReadable(this.channel.fd, this.channel.lease, () => this.receive()).entrust();
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
    this.ioEvents.close();
    this.signaller?.close();
    this.memory.unmapAll();
    const gone = new DeviceGoneError("the vfio-user client");
    for (const { reject } of this.pending.values()) reject(gone);
    this.pending.clear();
    this.twin?.close();
    this.channel.close();
    this.server.ended(this);
  }

  async dmaRead(iova: number, target: Uint8Array): Promise<void> {
    for (let done = 0; done < target.length; ) {
      const count = Math.min(target.length - done, this.maxTransferBytes);
      const request = dmaAccess.encode({ addr: BigInt(iova + done), count: BigInt(count) });
      const reply = await this.ask(Command.dmaRead, [request]);
      const data = reply.subarray(dmaAccess.sizeBytes);
      if (data.length !== count) throw new VfioUserProtocolError("a DMA read came back with another length");
      target.set(data, done);
      done += count;
    }
  }

  async dmaWrite(iova: number, source: Uint8Array): Promise<void> {
    for (let done = 0; done < source.length; ) {
      const part = source.subarray(done, done + this.maxTransferBytes);
      const request = dmaAccess.encode({ addr: BigInt(iova + done), count: BigInt(part.length) });
      await this.ask(Command.dmaWrite, [request, part]);
      done += part.length;
    }
  }

  private signal(fd: number): void {
    if (this.signaller === undefined) {
      this.signaller = new Signaller("interrupts of a vfio-user client");
      this.signaller.entrust();
    }
    this.signaller.signal(fd);
  }

  private ask(command: number, parts: readonly Uint8Array[]): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      if (this.hasEnded) {
        reject(new DeviceGoneError("the vfio-user client"));
        return;
      }
      // Ids of ours are told from the client's by who asks; they only need to differ among themselves.
      const id = this.nextId;
      if (this.pending.has(id)) {
        reject(new BusyError("the vfio-user client leaves too many requests unanswered"));
        return;
      }
      this.nextId = (this.nextId + 1) & 0xffff;
      this.pending.set(id, { resolve, reject });
      try {
        (this.twin ?? this.channel).send({ id, command, parts });
      } catch (error) {
        reject(error);
        // Part of it may have gone: nothing can follow.
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
      // What a client does wrong is its own end; what we do wrong is ours.
      if (!(error instanceof IovaError)) throw error;
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
          throw new VfioUserProtocolError("a request where only answers belong");
        }
        this.takeReply(message);
      }
    });
  }

  private takeReply(message: Message): void {
    closeFds(message.fds);
    const waiting = this.pending.get(message.id);
    if (waiting === undefined) throw new VfioUserProtocolError("a reply to nothing that was asked");
    this.pending.delete(message.id);
    if (message.errno > 0) waiting.reject(new SysError("VFIO_USER_DMA", message.errno));
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
    }
  }

  /** @param fds what is kept is taken out @throws Refusal, or whatever errnoOf() knows */
  private answer({ command, payload }: Message, fds: number[]): Reply {
    if (command === Command.version) return this.negotiate(payload);
    if (!this.isNegotiated) throw new VfioUserProtocolError("the client didn't begin with its version");
    switch (command) {
      case Command.dmaMap:
        return this.mapDma(payload, fds);
      case Command.dmaUnmap:
        return this.unmapDma(payload);
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
        return this.regionInfo(payload);
      case Command.deviceGetRegionIoFds:
        return this.regionIoFds(payload);
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
        irqs.set(flags, start, count, payload.subarray(vfio_irq_set.sizeBytes), fds);
        return {};
      }
      case Command.regionRead:
        return this.readRegion(payload);
      case Command.regionWrite: {
        const { offset, region, count } = regionAccess.decode(payload);
        const data = payload.subarray(regionAccess.sizeBytes);
        if (data.length !== count) throw new Refusal(Errno.EINVAL);
        this.writeRegion(region, offset, data);
        return { parts: [payload.slice(0, regionAccess.sizeBytes)] };
      }
      case Command.regionWriteMulti:
        return this.writeMany(payload);
      case Command.deviceReset:
        // As VFIO does it: configuration space is afterwards as it was.
        this.device.reset();
        this.interrupts.forget();
        this.migration?.reset();
        return {};
      case Command.deviceFeature:
        return { parts: this.features.answer(payload) };
      case Command.migDataRead:
        return this.readMigration(payload);
      case Command.migDataWrite:
        return this.writeMigration(payload);
      default:
        throw new Refusal(Errno.ENOTTY);
    }
  }

  private negotiate(payload: Uint8Array): Reply {
    if (this.isNegotiated) throw new Refusal(Errno.EINVAL);
    const client = decodeVersion(payload, "the client");
    this.maxTransferBytes = client.maxTransferBytes;
    this.maxMessageFds = client.maxMessageFds;
    if (!this.server.claim(this)) throw new VfioUserProtocolError("somebody else is served");
    clearTimeout(this.silence);
    this.isNegotiated = true;
    const host: DeviceHost = {
      memory: this.memory,
      raise: (vector, kind = "msix") => this.interrupts.raise(vector, kind),
    };
    this.device.connect(host);
    if (!client.twinSocket.supported) return { parts: [encodeVersion(client.minor)] };
    const theirs = this.openTwin();
    return {
      parts: [encodeVersion(client.minor, { supported: true, fdIndex: 0 })],
      fds: [theirs.fd],
      sent: () => theirs.close(),
    };
  }

  /** @returns the client's end @throws SysError */
  private openTwin(): UnixSocket {
    const [ours, theirs] = UnixSocket.pair("vfio-user twin socket");
    const { sendTimeoutMs } = this.server.options;
    const twin = new Channel(ours, ourCapabilities.maxTransferBytes + OVERHEAD_BYTES, sendTimeoutMs);
    twin.entrust();
    theirs.entrust();
    try {
      watchReadable(twin.fd, twin.lease, () => this.receiveTwin(twin)).entrust();
    } catch (error) {
      twin.close();
      theirs.close();
      throw error;
    }
    this.twin = twin;
    return theirs;
  }

  private mapDma(payload: Uint8Array, fds: readonly number[]): Record<string, never> {
    const { flags, offset, addr, size } = dmaMap.decode(payload);
    const [fd, ...more] = fds;
    if (more.length > 0) throw new Refusal(Errno.EINVAL);
    if (((offset | addr | size) & (BigInt(PAGE_SIZE) - 1n)) !== 0n) throw new Refusal(Errno.EINVAL);
    if (fd !== undefined && !this.server.options.trustClients && !sealAgainstShrinking(fd)) {
      throw new Refusal(Errno.EPERM);
    }
    this.memory.map({
      iova: addr,
      sizeBytes: size,
      readable: (flags & DMA_READ) !== 0,
      writable: (flags & DMA_WRITE) !== 0,
      ...(fd === undefined ? {} : { fd }),
      fdOffset: offset,
      who: "the client",
    });
    return {};
  }

  private unmapDma(payload: Uint8Array): { readonly parts: readonly Uint8Array[] } {
    const { flags, addr, size } = dmaUnmap.decode(payload);
    const parts: Uint8Array[] = [payload.slice(0, dmaUnmap.sizeBytes)];
    switch (flags) {
      case UNMAP_ALL:
        if (addr !== 0n || size !== 0n) throw new Refusal(Errno.EINVAL);
        this.memory.unmapAll();
        return { parts };
      case UNMAP_DIRTY_BITMAP:
        append(parts, this.unmapDirty(payload));
        return { parts };
      case 0:
        if (this.memory.unmap(addr, size) === 0) throw new Refusal(Errno.ENOENT);
        return { parts };
      default:
        throw new Refusal(Errno.EOPNOTSUPP);
    }
  }

  /** Unmaps one mapping. @returns what was written to it, as long as the client has room for */
  private unmapDirty(payload: Uint8Array): readonly Uint8Array[] {
    const { argsz, addr, size } = dmaUnmap.decode(payload);
    const { pgsize, size: roomBytes } = unmapBitmap.decode(payload, dmaUnmap.sizeBytes);
    const headerBytes = dmaUnmap.sizeBytes + unmapBitmap.sizeBytes;
    const most = Math.min(argsz, this.maxTransferBytes) - headerBytes;
    if (roomBytes > BigInt(most)) throw new Refusal(Errno.EINVAL);
    if (!this.memory.isMapping(addr, size)) throw new Refusal(Errno.ENOENT);
    const bitmap = this.memory.reportLog(addr, size, pgsize, Number(roomBytes));
    this.memory.unmap(addr, size);
    const header = payload.slice(dmaUnmap.sizeBytes, headerBytes);
    return [header, bitmap, new Uint8Array(Number(roomBytes) - bitmap.length)];
  }

  private regionInfo(payload: Uint8Array): { parts: readonly Uint8Array[]; fds?: readonly number[] } {
    const { argsz, index } = vfio_region_info.decode(payload);
    if (index >= PCI_REGIONS) throw new Refusal(Errno.EINVAL);
    const bar = this.device.bars[index];
    const size = index === CONFIG_REGION ? this.config.sizeBytes : (bar?.sizeBytes ?? 0);
    const access = size === 0 ? 0 : VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
    const areas = bar?.mappable ?? [];
    const [first] = areas;
    if (first === undefined) {
      const plain = { argsz: vfio_region_info.sizeBytes, flags: access, index, size: BigInt(size) };
      return { parts: [vfio_region_info.encode(plain)] };
    }
    const capability = sparseCapability(areas);
    const whole = vfio_region_info.sizeBytes + capability.length;
    // As libvfio-user has it, and unlike the kernel: QEMU takes a flag without an offset for a lie.
    const hasRoom = argsz >= whole;
    const info = vfio_region_info.encode({
      argsz: whole,
      flags: access | VFIO_REGION_INFO_FLAG_MMAP | (hasRoom ? VFIO_REGION_INFO_FLAG_CAPS : 0),
      index,
      cap_offset: hasRoom ? vfio_region_info.sizeBytes : 0,
      size: BigInt(size),
      offset: BigInt(first.fdOffset - first.offset),
    });
    // Whoever has to ask again gets the file then.
    return hasRoom ? { parts: [info, capability], fds: [first.fd] } : { parts: [info] };
  }

  private regionIoFds(payload: Uint8Array): Reply {
    const { argsz, flags, index, count } = regionIoFds.decode(payload);
    if (index >= PCI_REGIONS || flags !== 0 || count !== 0) throw new Refusal(Errno.EINVAL);
    const bar = this.device.bars[index];
    return this.ioEvents.answer(index, bar, argsz, this.maxMessageFds, (work) => this.guarded(work));
  }

  private readRegion(payload: Uint8Array): { readonly parts: readonly Uint8Array[] } {
    const { offset, region, count } = regionAccess.decode(payload);
    const bar = this.checkAccess(region, offset, count);
    const data = new Uint8Array(count);
    if (bar === undefined) this.config.read(Number(offset), data);
    else readBar(bar, Number(offset), data);
    return { parts: [payload.slice(0, regionAccess.sizeBytes), data] };
  }

  private writeRegion(region: number, offset: bigint, data: Uint8Array): void {
    const bar = this.checkAccess(region, offset, data.length);
    // Copied: the message's memory is used again, and a device may keep what it was given.
    if (bar !== undefined) {
      if (this.interrupts.isReadOnly(region, Number(offset), data.length)) return;
      writeBar(bar, Number(offset), Uint8Array.from(data));
      this.interrupts.barWritten(region);
      return;
    }
    if (this.config.write(Number(offset), data)) {
      // Function-level reset: configuration space is part of the function, and the driver's to restore.
      this.config.reset();
      this.device.reset();
      this.interrupts.forget();
    }
    this.enableDma();
    this.interrupts.configWritten();
  }

  private enableDma(): void {
    this.memory.enable(this.config.busMaster && this.migration?.running !== false);
  }

  /** @returns undefined for configuration space @throws Refusal */
  private checkAccess(region: number, offset: bigint, count: number): EmulatedBar | undefined {
    const bar = this.device.bars[region];
    const size = region === CONFIG_REGION ? this.config.sizeBytes : (bar?.sizeBytes ?? 0);
    if (count === 0 || count > ourCapabilities.maxTransferBytes || offset + BigInt(count) > BigInt(size)) {
      throw new Refusal(Errno.EINVAL);
    }
    return region === CONFIG_REGION ? undefined : bar;
  }

  private readMigration(payload: Uint8Array): { readonly parts: readonly Uint8Array[] } {
    const { size } = migrationData.decode(payload);
    if (this.migration === undefined) throw new Refusal(Errno.ENOTTY);
    if (size > this.maxTransferBytes) throw new Refusal(Errno.EINVAL);
    const data = this.migration.read(size);
    const { sizeBytes } = migrationData;
    return { parts: [migrationData.encode({ argsz: sizeBytes + data.length, size: data.length }), data] };
  }

  private writeMigration(payload: Uint8Array): Record<string, never> {
    const { size } = migrationData.decode(payload);
    if (this.migration === undefined) throw new Refusal(Errno.ENOTTY);
    const data = payload.subarray(migrationData.sizeBytes);
    if (data.length !== size) throw new Refusal(Errno.EINVAL);
    this.migration.write(data);
    return {};
  }

  private writeMany(payload: Uint8Array): { readonly parts: readonly Uint8Array[] } {
    if (payload.length < 8) throw new Refusal(Errno.EINVAL);
    const count = new DataView(payload.buffer, payload.byteOffset).getBigUint64(0, true);
    const entryBytes = writeMulti.sizeBytes + WRITE_MULTI_DATA_BYTES;
    if (count > BigInt(WRITE_MULTI_MAX) || payload.length < 8 + Number(count) * entryBytes) {
      throw new Refusal(Errno.EINVAL);
    }
    for (let i = 0; i < Number(count); i++) {
      const at = 8 + i * entryBytes;
      const entry = writeMulti.decode(payload, at);
      if (entry.count > WRITE_MULTI_DATA_BYTES) throw new Refusal(Errno.EINVAL);
      const data = at + writeMulti.sizeBytes;
      this.writeRegion(entry.region, entry.offset, payload.subarray(data, data + entry.count));
    }
    return { parts: [payload.slice(0, 8)] };
  }
}

function sparseCapability(
  areas: readonly { readonly offset: number; readonly sizeBytes: number }[],
): Uint8Array {
  const header = vfio_region_info_cap_sparse_mmap.encode({
    header: { id: VFIO_REGION_INFO_CAP_SPARSE_MMAP, version: 1, next: 0 },
    nr_areas: areas.length,
  });
  return Buffer.concat([
    header,
    ...areas.map(({ offset, sizeBytes }) =>
      vfio_region_sparse_mmap_area.encode({ offset: BigInt(offset), size: BigInt(sizeBytes) }),
    ),
  ]);
}

/** What a client is told. @throws what is no fault of a request's */
function errnoOf(error: unknown): number {
  if (error instanceof Refusal) return error.errno;
  if (error instanceof VfioUserProtocolError) throw error;
  if (error instanceof SysError) return error.errno;
  if (error instanceof DmaAccessError) return error.errno;
  if (error instanceof IovaError) return Errno.EINVAL;
  throw error;
}
