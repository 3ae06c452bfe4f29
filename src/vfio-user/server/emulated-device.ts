/**
 * What a device written in TypeScript is to the vfio-user server, and what the server is to it. A device is written
 * against these interfaces only; `src/emulator/` holds devices, `server.ts` serves them.
 */
import { checkMembers } from "../../core/check.js";

/** Where a part of the client's memory stands in this process. One is filled again and again: nothing is allocated. */
export interface MemorySpan {
  /** The arena the memory is mapped in; the part asked for starts at `offset`. */
  bytes: Uint8Array<SharedArrayBuffer>;
  /** The same memory as 32-bit words, for entries of rings. */
  words: Uint32Array<SharedArrayBuffer>;
  /** Offset in bytes of the part asked for, in `bytes`. */
  offset: number;
}

/**
 * The client's memory as it has mapped it for the device (VFIO_USER_DMA_MAP). Addresses are I/O virtual ones, as a number or as
 * the bigint that a register of 64 bits holds. Nothing is mapped from 2^53 on.
 */
export interface ClientMemory {
  /**
   * Finds memory of the client that is mapped in this process. On the path of every I/O: no allocation, and with a number no bigint.
   * @param write whether the device is going to write there; a write to memory found without it can end the process
   * @returns false where not all of it is mapped, in one piece and with that right; `span` is then unchanged
   */
  find(iova: number | bigint, lengthBytes: number, write: boolean, span: MemorySpan): boolean;
  /**
   * Raised by one with every map and unmap, and when it is noted anew what the device writes to: whoever keeps a span looks
   * here before using it again.
   */
  readonly generation: number;
  /**
   * Whether copyFrom() or copyTo() reaches all of a range: it lies in one or several mappings with that right, and all of
   * them have a file descriptor.
   */
  canCopy(iova: number | bigint, lengthBytes: number, write: boolean): boolean;
  /**
   * Copies memory to `target` at once, also from several mappings and from files that the client may truncate.
   * @returns false if {@link canCopy} is, or the client has truncated its file; `target` may hold a part then
   */
  copyFrom(iova: number | bigint, target: Uint8Array): boolean;
  /** Copies `source` to memory at once. @returns false as {@link copyFrom}; a part may be written then */
  copyTo(iova: number | bigint, source: Uint8Array): boolean;
  /**
   * Reads memory, by VFIO_USER_DMA_READ where it has no descriptor.
   * @throws IovaError where it isn't mapped, or its file was truncated
   */
  read(iova: number | bigint, target: Uint8Array): Promise<void>;
  /** Writes memory, by VFIO_USER_DMA_WRITE where it has no descriptor. @throws IovaError as {@link read} */
  write(iova: number | bigint, source: Uint8Array): Promise<void>;
}

/** What the server offers a device while a client is connected. */
export interface DeviceHost {
  /** The client's memory, for DMA. */
  readonly memory: ClientMemory;
  /**
   * Interrupts: sends a message (MSI-X or MSI), or asserts the pin (`"intx"`, vector 0), as far as the client has enabled that.
   * @param kind left out, it is the best that the function has: MSI-X, MSI, the pin
   * @throws ArgumentError if the function has no such kind or vector
   */
  raise(vector: number, kind?: "intx" | "msi" | "msix"): void;
  /** Lets the client go, as if the device had been unplugged. The next one may come. The server has it. */
  disconnect?(): void;
}

/** For devices, in connect(). @throws ArgumentError */
export function checkHost(host: DeviceHost): void {
  checkMembers("host", host, "a DeviceHost", { memory: "object", raise: "function" });
}

/** Part of a BAR that clients may map: backed by a memfd the device made. */
export interface MappableArea {
  /** Where the area starts in the BAR, in bytes; page aligned. */
  readonly offset: number;
  /** Length in bytes, whole pages. */
  readonly sizeBytes: number;
  /**
   * A memfd; the area starts at `fdOffset` in it. All areas of a BAR are in one file, as far from each other as in the BAR
   * and at least as far from the file's start: clients are told one descriptor and one distance.
   */
  readonly fd: number;
  /** Where the area starts in the memfd, in bytes. */
  readonly fdOffset: number;
}

/** A write that clients may make by signalling an eventfd, without an answer; KVM can signal it, too. */
export interface IoEventWrite {
  /** Multiple of the width. */
  readonly offset: number;
  /** Width of the write in bytes. */
  readonly widthBytes: 1 | 2 | 4 | 8;
  /** The value that the eventfd stands for. */
  readonly value: bigint;
}

/** One base address register. */
export interface EmulatedBar {
  /** Length in bytes, a power of 2: 16 at least, 4 for I/O ports. */
  readonly sizeBytes: number;
  /** An I/O port BAR; memory otherwise. */
  readonly isIo?: boolean;
  /** The address has 64 bits: the BAR takes two registers, and the next index stays empty. */
  readonly is64Bit?: boolean;
  /** The prefetchable bit of the register. Reading has no side effects. */
  readonly isPrefetchable?: boolean;
  /** Parts that clients may map. Without any, every access is a message. */
  readonly mappable?: readonly MappableArea[];
  /** Offered to clients as far as they take descriptors. Signals that come close together may become one write. */
  readonly ioEvents?: readonly IoEventWrite[];
  /**
   * A read by message. `target` has the access's width: 1, 2, 4 or 8 bytes, and `offset` is a multiple of it. What clients ask
   * for beyond that comes in several calls, in ascending order.
   */
  read(offset: number, target: Uint8Array): void;
  /** A write by message, of the same widths. */
  write(offset: number, source: Uint8Array): void;
}

/**
 * How the state of a device is moved to another process (VFIO migration). The configuration space goes along by itself.
 */
export interface DeviceMigration {
  /** The longest state that load() takes. */
  readonly maxStateBytes: number;
  /** From here on no DMA, no interrupt and no change by itself; what is under way is ended, or part of the state. */
  stop(): void;
  /** Goes on from the state there is. */
  start(): void;
  /** The state of a device that is stopped. @throws IovaError where that can't be saved: the client's request fails */
  save(): Uint8Array;
  /** Replaces the state of a device that is stopped. @throws IovaError where that can't be one, with nothing changed */
  load(state: Uint8Array): void;
}

/** Number of interrupt vectors of each kind; 0 for none. */
export interface DeviceVectors {
  /** 1 if the function has an interrupt line. */
  readonly intx: number;
  /** MSI vectors, a power of 2 up to 32. */
  readonly msi: number;
  /** MSI-X vectors, up to 2048. */
  readonly msix: number;
}

/**
 * A PCI function emulated in this process. What its methods throw, and those of its BARs, ends the client's connection and is
 * thrown where the server runs: uncaught, it ends the process.
 */
export interface EmulatedDevice {
  /** Name for messages. */
  readonly name: string;
  /**
   * Configuration space as at reset, 256 or 4096 bytes, capabilities included. The server keeps the live copy,
   * sizes BARs, and handles the command register, MSI and MSI-X.
   */
  readonly configSpace: Uint8Array;
  /** By index 0 to 5; a 64-bit BAR leaves the next index empty. */
  readonly bars: readonly (EmulatedBar | undefined)[];
  /** Vectors of each kind; 0 for none. */
  readonly vectors: DeviceVectors;
  /** Left out if its state can't be moved. */
  readonly migration?: DeviceMigration;
  /** A client is connected. */
  connect(host: DeviceHost): void;
  /** The client is gone: no memory of it may be touched any more. The state is kept for the next one. */
  disconnect(): void;
  /** Called with what a client's read of configuration space gets, and may change that. */
  readConfig?(offset: number, target: Uint8Array): void;
  /** VFIO_USER_DEVICE_RESET, or function-level reset through the configuration space. */
  reset(): void;
  /** Ends the device for good, after disconnect(). */
  close(): void;
}
