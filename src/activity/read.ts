/** Reads the pages of activity that the threads of a process publish. Any process can make such a page, so nothing is trusted. */
import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { kernelLink, kernelNames } from "../sys/kernel-files.js";
import { At, devices, errors, LAYOUT_VERSION, MAGIC, PAGE_BYTES, PAGE_LINK } from "./layout.js";

/** A device that a thread has open, or plays. */
export interface OpenDevice {
  /** As the program opened it: a PCI address, `vfio-user:PATH`, a mediated device's UUID. */
  readonly address: string;
  /** A backend's name; `server` for a device that the process plays. */
  readonly backend: string;
}

/** An error of a device. */
export interface DeviceError {
  /** Milliseconds since 1970. */
  readonly atMs: number;
  /** The device, and what happened. It may quote the device: make it safe before it reaches a terminal. */
  readonly text: string;
}

/** What a thread does with the library. Counts begin when it opens its first device or DMA space. */
export interface Activity {
  /** The thread's number in its process; 0 is the main thread. */
  readonly thread: number;
  /** When it began, in milliseconds since 1970. */
  readonly startedAtMs: number;
  /** Mappings that its DMA spaces have now. */
  readonly mappings: number;
  /** Bytes of them. */
  readonly mappedBytes: number;
  /** Mappings that it has made. */
  readonly timesMapped: number;
  /** Mappings that it has removed. */
  readonly timesUnmapped: number;
  /** Interrupts that its drivers have taken. */
  readonly interrupts: number;
  /** Errors of devices and of their DMA. */
  readonly errors: number;
  /** The newest of them, oldest first; 16 at most. */
  readonly lastErrors: readonly DeviceError[];
  /** What it has open, 60 at most. */
  readonly devices: readonly OpenDevice[];
}

/** A process can have many such files open; a thread has one. */
const MOST_PAGES = 1024;
/** Of a Date (ECMAScript, "Time Values and Time Range"): with more, its text can't be had. */
const LAST_MS = 8.64e15;

/** What a process's descriptors are open on, by their paths in /proc; empty if this user may not look. */
export function openFiles(pid: number): Map<string, string> {
  const folder = `/proc/${pid}/fd`;
  const paths = (kernelNames(folder) ?? []).map((fd) => `${folder}/${fd}`);
  return new Map(paths.map((path) => [path, kernelLink(path) ?? ""]));
}

/**
 * The activity of each thread of a process that uses this library; empty if there is none, or this user may not look.
 * @param files of {@link openFiles}
 */
export function readActivity(pid: number, files: ReadonlyMap<string, string> = openFiles(pid)): Activity[] {
  return [...files]
    .filter(([, link]) => link === PAGE_LINK)
    .slice(0, MOST_PAGES)
    .map(([path]) => readPage(path))
    .filter((activity) => activity !== undefined);
}

/** The descriptor may be another file by now, even a pipe that nobody writes to. */
function readPage(path: string): Activity | undefined {
  let fd: number | undefined;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
    if (!fstatSync(fd).isFile()) return undefined;
    const page = new Uint8Array(PAGE_BYTES);
    return readSync(fd, page, 0, PAGE_BYTES, 0) === PAGE_BYTES ? parseActivity(page) : undefined;
  } catch {
    // The process has ended, or closed it.
    return undefined;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/** Decodes a page; undefined if it isn't one. Never throws. */
export function parseActivity(page: Uint8Array): Activity | undefined {
  if (page.length < PAGE_BYTES) return undefined;
  const view = new DataView(page.buffer, page.byteOffset, PAGE_BYTES);
  const number = (at: number): number => {
    const value = view.getFloat64(at * Float64Array.BYTES_PER_ELEMENT, true);
    return Number.isSafeInteger(value) && value >= 0 ? value : 0;
  };
  if (number(At.magic) !== MAGIC || number(At.version) !== LAYOUT_VERSION) return undefined;
  const count = number(At.errors);
  const kept = Math.min(count, errors.count);
  return {
    thread: number(At.thread),
    startedAtMs: number(At.startedAtMs),
    mappings: number(At.mappings),
    mappedBytes: number(At.mappedBytes),
    timesMapped: number(At.timesMapped),
    timesUnmapped: number(At.timesUnmapped),
    interrupts: number(At.interrupts),
    errors: count,
    lastErrors: Array.from({ length: kept }, (_, i) => {
      const at = errors.offset + ((count - kept + i) % errors.count) * errors.bytes;
      return {
        atMs: Math.min(number(at / Float64Array.BYTES_PER_ELEMENT), LAST_MS),
        text: textAt(page, at + errors.textOffset, errors.textBytes),
      };
    }),
    devices: Array.from({ length: devices.count }, (_, i) => devices.offset + i * devices.bytes)
      .filter((at) => number(at / Float64Array.BYTES_PER_ELEMENT) === 1)
      .map((at) => ({
        address: textAt(page, at + devices.addressOffset, devices.addressBytes),
        backend: textAt(page, at + devices.backendOffset, devices.backendBytes),
      })),
  };
}

function textAt(page: Uint8Array, at: number, length: number): string {
  const field = page.subarray(at, at + length);
  const end = field.indexOf(0);
  return new TextDecoder().decode(end < 0 ? field : field.subarray(0, end));
}
