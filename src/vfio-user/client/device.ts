/** A device behind a vfio-user server: its regions, interrupts and reset, by message. */
import {
  checkArray,
  checkBytes,
  checkInteger,
  checkName,
  checkObject,
  checkRange,
  checkU32,
} from "../../core/check.js";
import { Errno } from "../../core/errno.js";
import { ArgumentError, SysError, UnsupportedError } from "../../core/errors.js";
import { checkLeased, Lease } from "../../core/lifetime/lease.js";
import { Resource } from "../../core/lifetime/resource.js";
import type { ListenOptions, Subscription } from "../../core/listeners.js";
import { largestOf } from "../../core/lists.js";
import { MappedMemory } from "../../sys/memory.js";
import { Signaller } from "../../sys/signaller.js";
import { close, duplicate } from "../../sys/syscalls.js";
import { deviceInfoOf, irqActions, irqInfoOf } from "../../vfio/device-info.js";
import {
  type DeviceInfo,
  type DeviceIo,
  type DevicePresence,
  type IrqInfo,
  MAX_VECTORS,
  type RegionInfo,
} from "../../vfio/device-io.js";
import { checkMappable } from "../../vfio/region.js";
import {
  VFIO_IRQ_SET_ACTION_TRIGGER,
  VFIO_IRQ_SET_DATA_EVENTFD,
  VFIO_IRQ_SET_DATA_NONE,
  VFIO_PCI_CONFIG_REGION_INDEX,
  vfio_irq_info,
  vfio_irq_set,
} from "../../vfio/uapi.js";
import { closeFds, VfioUserProtocolError } from "../protocol/channel.js";
import {
  Command,
  deviceInfo,
  regionAccess,
  WRITE_MULTI_DATA_BYTES,
  WRITE_MULTI_MAX,
  writeMulti,
} from "../protocol/protocol.js";
import { checkClient, type ServerState, type VfioUserClient } from "./client.js";
import type { Answer } from "./exchange.js";
import { disableInterrupts, enableInterrupts } from "./interrupt-enable.js";
import { askRegion, type ServedRegion } from "./served-region.js";

/** More than any device has: a server that says more breaks the protocol. */
const MAX_REGIONS = 64;

/** Descriptors that close with the device. */
interface Held {
  /** By region. */
  readonly regionFds: Map<number, number>;
  /** By interrupt index and vector. A server that comes back gets them again. */
  readonly eventfds: Map<number, Map<number, number>>;
}

/** Part of a region that may still be mapped. */
interface MappedPart {
  readonly index: number;
  readonly offset: number;
  readonly sizeBytes: number;
  readonly memory: WeakRef<MappedMemory>;
}

/** A device behind a vfio-user server. */
export class VfioUserDevice extends Resource implements DeviceIo {
  private readonly regions = new Map<number, ServedRegion>();
  private readonly held: Held;
  /** Mapped parts, for a server that comes back. */
  private readonly mapped = new Set<MappedPart>();
  private ownSignaller: Signaller | undefined;

  /** @throws ArgumentError, ClosedError */
  constructor(private readonly client: VfioUserClient) {
    checkClient(client);
    const held: Held = { regionFds: new Map(), eventfds: new Map() };
    super(new Lease(`vfio-user device ${client.path}`, () => closeHeld(held), client.lease));
    this.held = held;
    this.retain(client);
    this.watchReconnects();
  }

  /** Not in the constructor: closures of one function share their variables, and the lease's must not refer to this. */
  private watchReconnects(): void {
    this.client.onReconnect((state) => this.restore(state));
  }

  onPresence(listener: (event: DevicePresence) => void, options?: ListenOptions): Subscription {
    return this.client.onPresence(listener, options);
  }

  /** VFIO_USER_DEVICE_GET_INFO. @throws VfioUserProtocolError, DeviceGoneError, TimeoutError, SysError, ClosedError */
  info(): DeviceInfo {
    const reply = this.ask(
      Command.deviceGetInfo,
      deviceInfo.encode({ argsz: deviceInfo.sizeBytes }),
      deviceInfo.sizeBytes,
    );
    const info = deviceInfo.decode(reply);
    if (info.num_regions > MAX_REGIONS) throw this.protocolError(`a count of ${info.num_regions} regions`);
    return deviceInfoOf(info, []);
  }

  /** @throws ArgumentError, and as info() */
  regionInfo(index: number): RegionInfo {
    return this.region(index).info;
  }

  readRegion(index: number, offset: number, target: Uint8Array): void {
    checkBytes("target", target);
    this.checkAccess(index, offset, target.length);
    const most = this.client.server.maxTransferBytes;
    for (let done = 0; done < target.length; ) {
      const count = Math.min(most, target.length - done);
      const request = regionAccess.encode({ offset: BigInt(offset + done), region: index, count });
      const reply = this.ask(Command.regionRead, request, regionAccess.sizeBytes + count);
      target.set(reply.subarray(regionAccess.sizeBytes), done);
      done += count;
    }
  }

  writeRegion(index: number, offset: number, source: Uint8Array): void {
    checkBytes("source", source);
    this.checkAccess(index, offset, source.length);
    const most = this.client.server.maxTransferBytes;
    for (let done = 0; done < source.length; ) {
      const part = source.subarray(done, done + most);
      const header = regionAccess.encode({
        offset: BigInt(offset + done),
        region: index,
        count: part.length,
      });
      closeFds(this.client.request(Command.regionWrite, [header, part]).fds);
      done += part.length;
    }
  }

  writeRegions(
    index: number,
    writes: readonly { readonly offset: number; readonly source: Uint8Array }[],
  ): void {
    checkArray("writes", writes);
    for (const write of writes) {
      checkObject("write", write);
      checkBytes("source", write.source);
    }
    for (const { offset, source } of writes) this.checkAccess(index, offset, source.length);
    const fits = writes.every(({ source }) => source.length <= WRITE_MULTI_DATA_BYTES);
    if (!this.client.server.writeMultiple || !fits || writes.length < 2) {
      for (const { offset, source } of writes) this.writeRegion(index, offset, source);
      return;
    }
    for (let done = 0; done < writes.length; done += WRITE_MULTI_MAX) {
      const some = writes.slice(done, done + WRITE_MULTI_MAX);
      const entries = some.flatMap(({ offset, source }) => {
        const data = new Uint8Array(WRITE_MULTI_DATA_BYTES);
        data.set(source);
        return [writeMulti.encode({ offset: BigInt(offset), region: index, count: source.length }), data];
      });
      const count = new Uint8Array(BigUint64Array.of(BigInt(some.length)).buffer);
      const reply = this.request(Command.regionWriteMulti, [count, ...entries]);
      const told =
        reply.length === 8 ? new DataView(reply.buffer, reply.byteOffset).getBigUint64(0, true) : undefined;
      if (told !== BigInt(some.length))
        throw this.protocolError(`a count of ${told} writes instead of ${some.length}`);
    }
  }

  mapRegion(index: number, offset: number, sizeBytes: number): MappedMemory {
    const { info, fd } = this.region(index);
    checkRange(`${this.lease.label} region ${index}`, offset, sizeBytes, info.sizeBytes);
    checkMappable(this.lease.label, info, offset, sizeBytes);
    if (fd === undefined) {
      throw new UnsupportedError(`${this.lease.label}: the file of region ${index} went with its server`);
    }
    const memory = MappedMemory.ofFile(
      fd,
      info.offset + offset,
      sizeBytes,
      `${this.lease.label} region ${index}`,
    );
    memory.lease.dependOn(this.lease);
    memory.retain(this);
    for (const part of this.mapped) if (part.memory.deref()?.closed !== false) this.mapped.delete(part);
    this.mapped.add({ index, offset, sizeBytes, memory: new WeakRef(memory) });
    return memory;
  }

  irqInfo(index: number): IrqInfo {
    checkU32("interrupt index", index);
    const request = vfio_irq_info.encode({ index });
    let reply: Uint8Array;
    try {
      reply = this.ask(Command.deviceGetIrqInfo, request, vfio_irq_info.sizeBytes);
    } catch (error) {
      if (!(error instanceof SysError) || error.errno !== Errno.EINVAL) throw error;
      throw new ArgumentError(`${this.lease.label} has no interrupt index ${index}`, { cause: error });
    }
    const info = vfio_irq_info.decode(reply);
    if (info.count > MAX_VECTORS) throw this.protocolError(`a count of ${info.count} interrupt vectors`);
    return irqInfoOf(index, info);
  }

  setIrqEventfds(index: number, start: number, fds: readonly number[]): void {
    checkU32("interrupt index", index);
    checkU32("start", start);
    checkArray("fds", fds);
    for (const fd of fds) checkInteger("fd", fd, -1, 2 ** 31 - 1);
    this.sendEventfds(index, start, fds);
    this.keepEventfds(index, start, fds);
    this.enableInterrupts(index);
  }

  /** Enables the interrupt in configuration space if any vector has an eventfd, or else disables it. */
  private enableInterrupts(index: number): void {
    const vectors = this.held.eventfds.get(index)?.size ?? 0;
    // Only PCI devices have configuration space.
    if (this.regionInfo(VFIO_PCI_CONFIG_REGION_INDEX).sizeBytes === 0) return;
    if (vectors > 0) enableInterrupts(this, index, vectors);
    else disableInterrupts(this, index);
  }

  private sendEventfds(index: number, start: number, fds: readonly number[]): void {
    // A missing descriptor can't be sent: vectors with and without one go in messages of their own.
    const flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
    const most = this.client.server.maxMessageFds;
    for (let at = 0; at < fds.length; ) {
      const isGap = fds[at] === -1;
      let end = at + 1;
      while (end < fds.length && (fds[end] === -1) === isGap && end - at < most) end++;
      this.setIrqs(flags, index, start + at, end - at, isGap ? [] : fds.slice(at, end));
      at = end;
    }
  }

  disableIrq(index: number): void {
    const kept = this.held.eventfds.get(index);
    this.held.eventfds.delete(index);
    if (kept !== undefined) closeFds([...kept.values()]);
    // A server that has gone has closed its eventfds.
    if (!this.client.connected) return;
    try {
      this.enableInterrupts(index);
      this.setIrqs(VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, index, 0, 0);
    } catch (error) {
      if (this.client.connected) throw error;
    }
  }

  actOnIrq(index: number, action: "mask" | "unmask" | "trigger", start: number, count: number): void {
    checkName("action", action, ["mask", "unmask", "trigger"]);
    this.setIrqs(VFIO_IRQ_SET_DATA_NONE | irqActions[action], index, start, count);
  }

  /** VFIO_USER_DEVICE_RESET. @throws as info() */
  reset(): void {
    closeFds(this.client.request(Command.deviceReset).fds);
    this.enableAllInterrupts();
  }

  /** {@link reset} without blocking the JavaScript thread: the answer comes through the event loop. @throws as a rejection */
  async resetAsync(): Promise<void> {
    this.lease.assertOpen();
    await this.lease.during("a reset under way", async () => {
      closeFds((await this.client.requestAsync(Command.deviceReset)).fds);
      this.enableAllInterrupts();
    });
  }

  /** After a reset: unlike VFIO, a server may have reset configuration space as well. */
  private enableAllInterrupts(): void {
    for (const index of this.held.eventfds.keys()) this.enableInterrupts(index);
  }

  /** Duplicates: the caller may close its eventfds at any time, and their numbers then stand for other files. */
  private keepEventfds(index: number, start: number, fds: readonly number[]): void {
    const { eventfds } = this.held;
    const kept = eventfds.get(index) ?? new Map<number, number>();
    eventfds.set(index, kept);
    fds.forEach((fd, i) => {
      const old = kept.get(start + i);
      kept.delete(start + i);
      if (old !== undefined) close(old);
      if (fd !== -1) kept.set(start + i, duplicate(fd));
    });
  }

  /** Sets up on a new server what the previous one knew. @throws VfioUserProtocolError if it is another device */
  private restore(state: ServerState): void {
    if (this.closed) return;
    // The same process may have kept its state: it must not use queues that the driver has given up.
    if (state === "new" && this.info().resettable) this.reset();
    const before = new Map(this.regions);
    closeFds([...this.held.regionFds.values()]);
    this.held.regionFds.clear();
    this.regions.clear();
    try {
      for (const [index, { info }] of before) {
        const now = this.region(index).info;
        if (!isSameRegion(info, now)) throw this.protocolError(`another region ${index} than before`);
      }
    } catch (error) {
      // The regions stay known; their files are gone.
      for (const [index, { info }] of before) this.regions.set(index, { info, fd: undefined });
      throw error;
    }
    for (const part of this.mapped) this.mapAgain(part);
    for (const [index, kept] of this.held.eventfds) {
      const end = largestOf(kept.keys(), -1) + 1;
      this.sendEventfds(
        index,
        0,
        Array.from({ length: end }, (_, vector) => kept.get(vector) ?? -1),
      );
      this.enableInterrupts(index);
    }
  }

  private mapAgain(part: MappedPart): void {
    const memory = part.memory.deref();
    const { info, fd } = this.region(part.index);
    if (memory === undefined || memory.closed || fd === undefined) this.mapped.delete(part);
    else memory.replaceFile(fd, info.offset + part.offset);
  }

  /** Whether the server is there. */
  get connected(): boolean {
    return this.client.connected;
  }

  /**
   * See {@link VfioUserMigration.moveTo}.
   * @internal
   */
  moveTo(path: string, bring: () => void): void {
    this.lease.assertOpen();
    this.client.moveTo(path, bring);
  }

  /**
   * Identifies the connection.
   * @internal
   */
  get connection(): Lease {
    return this.client.lease;
  }

  /**
   * Signals eventfds that the server has, too.
   * @internal
   */
  get signaller(): Signaller {
    if (this.ownSignaller === undefined) {
      this.lease.assertOpen();
      this.ownSignaller = new Signaller(`ioeventfds of ${this.lease.label}`);
      this.ownSignaller.relinquish().dependOn(this.lease);
    }
    return this.ownSignaller;
  }

  /** Bytes of data that one message carries. */
  get maxTransferBytes(): number {
    return this.client.server.maxTransferBytes;
  }

  /**
   * Sends a request whose answer has no descriptors.
   * @throws as {@link VfioUserClient.request}
   * @internal
   */
  request(command: number, parts: readonly Uint8Array[]): Uint8Array {
    const { payload, fds } = this.requestWithFds(command, parts);
    closeFds(fds);
    return payload;
  }

  /**
   * As request(), for an answer with descriptors, which the caller closes.
   * @internal
   */
  requestWithFds(command: number, parts: readonly Uint8Array[]): Answer {
    this.lease.assertOpen();
    return this.client.request(command, parts);
  }

  private setIrqs(
    flags: number,
    index: number,
    start: number,
    count: number,
    fds: readonly number[] = [],
  ): void {
    checkU32("interrupt index", index);
    checkInteger("start", start, 0, MAX_VECTORS);
    checkInteger("count", count, 0, MAX_VECTORS);
    const request = vfio_irq_set.encode({ flags, index, start, count });
    closeFds(this.client.request(Command.deviceSetIrqs, [request], fds).fds);
  }

  private checkAccess(index: number, offset: number, length: number): void {
    const { info } = this.region(index);
    checkRange(`${this.lease.label} region ${index}`, offset, length, info.sizeBytes);
  }

  /** Asks for an answer of a length that is known. */
  private ask(command: number, request: Uint8Array, replyBytes: number): Uint8Array {
    const payload = this.request(command, [request]);
    if (payload.length !== replyBytes)
      throw this.protocolError(`${payload.length} bytes instead of ${replyBytes}`);
    return payload;
  }

  private region(index: number): ServedRegion {
    this.lease.assertOpen();
    checkU32("region index", index);
    const known = this.regions.get(index);
    if (known !== undefined) return known;
    const region = askRegion(this, index, this.client.trustServer);
    this.regions.set(index, region);
    if (region.fd !== undefined) this.held.regionFds.set(index, region.fd);
    return region;
  }

  /**
   * The error for a server that sent `what`.
   * @internal
   */
  protocolError(what: string, cause?: unknown): VfioUserProtocolError {
    return new VfioUserProtocolError(`${this.lease.label} sent ${what}`, { cause });
  }
}

function closeHeld({ regionFds, eventfds }: Held): void {
  closeFds([...regionFds.values()]);
  for (const kept of eventfds.values()) closeFds([...kept.values()]);
}

/** Whether a driver of one region can continue with the other. */
function isSameRegion(a: RegionInfo, b: RegionInfo): boolean {
  return (
    a.sizeBytes === b.sizeBytes &&
    a.readable === b.readable &&
    a.writable === b.writable &&
    a.mappable.length === b.mappable.length &&
    a.mappable.every(
      ({ offset, sizeBytes }, i) =>
        b.mappable[i]?.offset === offset && b.mappable[i]?.sizeBytes === sizeBytes,
    )
  );
}

/** @throws ArgumentError */
export function checkUserDevice(device: VfioUserDevice): void {
  checkLeased("device", device, "a VfioUserDevice", { request: "function", moveTo: "function" });
}
