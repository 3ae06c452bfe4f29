/** This thread's page of activity: numbers that cost an addition, its open devices, and its newest errors. */
import { threadId } from "node:worker_threads";
import { ArgumentError, IovaError } from "../core/errors.js";
import { MappedMemory } from "../sys/memory.js";
import { At, devices, errors, LAYOUT_VERSION, MAGIC, PAGE_BYTES, PAGE_NAME } from "./layout.js";

/** Until something is published, and where no memfd can be had, nobody else sees the page. */
let bytes: Uint8Array = new Uint8Array(PAGE_BYTES);
let numbers = new Float64Array<ArrayBufferLike>(bytes.buffer);
/** Keeps the memory as long as the thread. */
let page: MappedMemory | undefined;
let isTried = false;

/** Makes the page visible to others. The first call does; a failure never reaches the program. */
export function publishActivity(): void {
  if (isTried) return;
  isTried = true;
  try {
    page = MappedMemory.memfd(PAGE_BYTES, { name: PAGE_NAME });
  } catch (error) {
    if (error instanceof IovaError) return;
    throw error;
  }
  page.bytes.set(bytes);
  bytes = page.bytes;
  numbers = new Float64Array(bytes.buffer, bytes.byteOffset, PAGE_BYTES / Float64Array.BYTES_PER_ELEMENT);
  numbers[At.thread] = threadId;
  numbers[At.startedAtMs] = Date.now();
  numbers[At.version] = LAYOUT_VERSION;
  numbers[At.magic] = MAGIC;
}

/** The page's memory, which is never closed; undefined before it was published. */
export function activityPage(): MappedMemory | undefined {
  return page;
}

function add(at: number, value: number): void {
  numbers[at] = (numbers[at] ?? 0) + value;
}

/** A `DmaSpace` has mapped memory. */
export function countMapped(sizeBytes: number): void {
  add(At.mappings, 1);
  add(At.mappedBytes, sizeBytes);
  add(At.timesMapped, 1);
}

/** A `DmaSpace` has unmapped memory. */
export function countUnmapped(sizeBytes: number): void {
  add(At.mappings, -1);
  add(At.mappedBytes, -sizeBytes);
  add(At.timesUnmapped, 1);
}

/** A driver has taken interrupts of a device. */
export function countInterrupts(count: number): void {
  add(At.interrupts, count);
}

/** A device failed, or the kernel refused what a device needs. A wrong call isn't counted. @param what names the device */
export function noteError(what: string, error: unknown): void {
  if (error instanceof ArgumentError) return;
  const place = (numbers[At.errors] ?? 0) % errors.count;
  const at = errors.offset + place * errors.bytes;
  const message = error instanceof Error ? error.message : String(error);
  putText(at + errors.textOffset, errors.textBytes, `${what}: ${message}`);
  numbers[at / Float64Array.BYTES_PER_ELEMENT] = Date.now();
  add(At.errors, 1);
}

/** A device in the page, from {@link begin} to {@link close}. It is left out where there is no place for one more. */
export class DeviceUse {
  /** Offset of its place; undefined while it isn't in the page. */
  private at: number | undefined;

  /** @param backend what reaches the device; `server` for a device that this process plays */
  begin(address: string, backend: string): void {
    publishActivity();
    const end = devices.offset + devices.count * devices.bytes;
    for (let at = devices.offset; at < end; at += devices.bytes) {
      if (numbers[at / Float64Array.BYTES_PER_ELEMENT] !== 0) continue;
      putText(at + devices.backendOffset, devices.backendBytes, backend);
      putText(at + devices.addressOffset, devices.addressBytes, address);
      numbers[at / Float64Array.BYTES_PER_ELEMENT] = 1;
      this.at = at;
      return;
    }
  }

  close(): void {
    if (this.at !== undefined) numbers[this.at / Float64Array.BYTES_PER_ELEMENT] = 0;
    this.at = undefined;
  }

  async closeAsync(): Promise<void> {
    this.close();
  }
}

const encoder = new TextEncoder();

/** Writes as much of a text as there is room for, and a NUL. */
function putText(at: number, length: number, text: string): void {
  // Not straight into the page: encodeInto() takes no shared memory. It writes whole characters only.
  const field = new Uint8Array(length);
  encoder.encodeInto(text, field.subarray(0, length - 1));
  bytes.set(field, at);
}
