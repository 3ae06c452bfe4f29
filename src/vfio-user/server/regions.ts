/** The regions of an emulated device, as one client asks for them: their layout, reads, writes and eventfds. */
import { Errno } from "../../core/errno.js";
import {
  VFIO_REGION_INFO_CAP_SPARSE_MMAP,
  VFIO_REGION_INFO_FLAG_CAPS,
  VFIO_REGION_INFO_FLAG_MMAP,
  VFIO_REGION_INFO_FLAG_READ,
  VFIO_REGION_INFO_FLAG_WRITE,
  vfio_region_info,
  vfio_region_info_cap_sparse_mmap,
  vfio_region_sparse_mmap_area,
} from "../../vfio/uapi.js";
import {
  CONFIG_REGION,
  PCI_REGIONS,
  regionAccess,
  regionIoFds,
  WRITE_MULTI_DATA_BYTES,
  WRITE_MULTI_MAX,
  writeMulti,
} from "../protocol/protocol.js";
import { ourCapabilities } from "../protocol/version.js";
import { readBar, writeBar } from "./bar-access.js";
import type { EmulatedConfigSpace } from "./config-space.js";
import { callDevice } from "./device-calls.js";
import type { EmulatedBar, EmulatedDevice } from "./emulated-device.js";
import type { ServerInterrupts } from "./interrupts.js";
import { ServerIoEvents } from "./io-events.js";
import { Refusal } from "./refusal.js";
import type { Reply } from "./reply.js";

/** Answers the requests about regions of one session. */
export class ServerRegions {
  private readonly ioEvents = new ServerIoEvents();

  /** @param onConfigWrite called after each write to configuration space, before interrupts that it permits are sent */
  constructor(
    private readonly device: EmulatedDevice,
    private readonly config: EmulatedConfigSpace,
    private readonly interrupts: ServerInterrupts,
    private readonly onConfigWrite: () => void,
  ) {}

  /** VFIO_USER_DEVICE_GET_REGION_INFO. @throws Refusal */
  info(payload: Uint8Array): Reply {
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
    // As in libvfio-user, unlike in the kernel: QEMU rejects the flag without an offset.
    const hasRoom = argsz >= whole;
    const info = vfio_region_info.encode({
      argsz: whole,
      flags: access | VFIO_REGION_INFO_FLAG_MMAP | (hasRoom ? VFIO_REGION_INFO_FLAG_CAPS : 0),
      index,
      cap_offset: hasRoom ? vfio_region_info.sizeBytes : 0,
      size: BigInt(size),
      offset: BigInt(first.fdOffset - first.offset),
    });
    // A client without room asks again, and gets the file then.
    return hasRoom ? { parts: [info, capability], fds: [first.fd] } : { parts: [info] };
  }

  /**
   * VFIO_USER_DEVICE_GET_REGION_IO_FDS.
   * @param maxFds descriptors that the client takes with one message
   * @param guarded runs what a signal of one of them starts
   * @throws Refusal, SysError
   */
  ioFds(payload: Uint8Array, maxFds: number, guarded: (work: () => void) => void): Reply {
    const { argsz, flags, index, count } = regionIoFds.decode(payload);
    if (index >= PCI_REGIONS || flags !== 0 || count !== 0) throw new Refusal(Errno.EINVAL);
    const bar = this.device.bars[index];
    return this.ioEvents.answer(index, bar, argsz, maxFds, guarded);
  }

  /** VFIO_USER_REGION_READ. @throws Refusal */
  read(payload: Uint8Array): Reply {
    const { offset, region, count } = regionAccess.decode(payload);
    const bar = this.checkAccess(region, offset, count);
    const data = new Uint8Array(count);
    if (bar === undefined) {
      this.config.read(Number(offset), data);
      callDevice(() => this.device.readConfig?.(Number(offset), data));
    } else readBar(bar, Number(offset), data);
    return { parts: [payload.slice(0, regionAccess.sizeBytes), data] };
  }

  /** VFIO_USER_REGION_WRITE. @throws Refusal */
  write(payload: Uint8Array): Reply {
    const { offset, region, count } = regionAccess.decode(payload);
    const data = payload.subarray(regionAccess.sizeBytes);
    if (data.length !== count) throw new Refusal(Errno.EINVAL);
    this.writeRegion(region, offset, data);
    return { parts: [payload.slice(0, regionAccess.sizeBytes)] };
  }

  /** VFIO_USER_REGION_WRITE_MULTI. @throws Refusal */
  writeMany(payload: Uint8Array): Reply {
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

  private writeRegion(region: number, offset: bigint, data: Uint8Array): void {
    const bar = this.checkAccess(region, offset, data.length);
    // Copied: the channel reuses the message's memory, and a device may keep the data.
    if (bar !== undefined) {
      writeBar(bar, Number(offset), Uint8Array.from(data), (at, width) =>
        this.interrupts.isReadOnly(region, at, width),
      );
      this.interrupts.barWritten(region);
      return;
    }
    if (this.config.write(Number(offset), data)) {
      // Function-level reset: it also resets configuration space, which the driver restores.
      this.config.reset();
      callDevice(() => this.device.reset());
      this.interrupts.forget();
    }
    this.onConfigWrite();
    this.interrupts.configWritten();
  }

  /** @returns the BAR; undefined for configuration space @throws Refusal: EINVAL outside the region */
  private checkAccess(region: number, offset: bigint, count: number): EmulatedBar | undefined {
    const bar = this.device.bars[region];
    const size = region === CONFIG_REGION ? this.config.sizeBytes : (bar?.sizeBytes ?? 0);
    if (count === 0 || count > ourCapabilities.maxTransferBytes || offset + BigInt(count) > BigInt(size)) {
      throw new Refusal(Errno.EINVAL);
    }
    return region === CONFIG_REGION ? undefined : bar;
  }

  /** Closes the eventfds that the client was given. */
  close(): void {
    this.ioEvents.close();
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
