/**
 * Copies between mapped ranges. TypedArray.set on shared memory copies word by word, as JavaScript's memory model requires:
 * 4 KiB take 230 ns, with memcpy 60 ns. If the addresses differ in their low bits, it copies byte by byte: 1514 bytes take 470 ns,
 * with memcpy 55 ns. Data of device commands needs no such guarantee. So this file copies with WebAssembly's memory.copy inside an
 * arena, and with memmove(3) between two, and between one and V8's heap.
 */
import { addressOf, c } from "./libc.js";

/** Below this, set() is quicker than any call. */
export const MIN_BYTES = 256;
/** The same where set() copies words: it takes 85 ns for 2048 bytes, as memmove. To ask for a view's buffer takes 20 ns each. */
const MIN_ALIGNED_BYTES = 2048;
const WORD_MASK = 7;

type Copy = (target: number, source: number, lengthBytes: number) => void;

/** The part of lib.dom's WebAssembly used here; @types/node leaves it out. */
declare const WebAssembly: {
  Module: new (bytes: Uint8Array) => object;
  Instance: new (module: object, imports: object) => { readonly exports: { readonly copy: Copy } };
};

/** `(module (import "e" "m" (memory 1 65536 shared)) (func (export "copy") ... memory.copy))`. */
const moduleBytes = Uint8Array.of(
  ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
  // Type 0: three i32, no result.
  ...[0x01, 0x07, 0x01, 0x60, 0x03, 0x7f, 0x7f, 0x7f, 0x00],
  // Import "e" "m": a shared memory of 1 to 65536 pages.
  ...[0x02, 0x0b, 0x01, 0x01, 0x65, 0x01, 0x6d, 0x02, 0x03, 0x01, 0x80, 0x80, 0x04],
  // Function 0 of type 0, exported as "copy".
  ...[0x03, 0x02, 0x01, 0x00],
  ...[0x07, 0x08, 0x01, 0x04, 0x63, 0x6f, 0x70, 0x79, 0x00, 0x00],
  // local.get 0, 1, 2; memory.copy.
  ...[0x0a, 0x0e, 0x01, 0x0c, 0x00, 0x20, 0x00, 0x20, 0x01, 0x20, 0x02, 0xfc, 0x0a, 0x00, 0x00, 0x0b],
);
let compiled: object | undefined;

/** The address of an arena's memory, and its copy function. */
interface ArenaAccess {
  readonly address: number;
  readonly copy: Copy | undefined;
}

const arenas = new WeakMap<ArrayBufferLike, ArenaAccess>();

/** Makes copies inside this memory quick. memory.ts calls it once for every arena. */
export function registerArena(memory: { readonly buffer: SharedArrayBuffer }, address: number): void {
  compiled ??= new WebAssembly.Module(moduleBytes);
  const { exports } = new WebAssembly.Instance(compiled, { e: { m: memory } });
  arenas.set(memory.buffer, { address, copy: exports.copy });
}

/** Arenas last seen: a controller and its client use the same two all the time. */
let targetBuffer: ArrayBufferLike | undefined;
let targetAccess: ArenaAccess | undefined;
let sourceBuffer: ArrayBufferLike | undefined;
let sourceAccess: ArenaAccess | undefined;

/** Shared memory doesn't move, so its address is kept. Ordinary array buffers may. */
function accessOf(buffer: ArrayBufferLike): ArenaAccess | undefined {
  const known = arenas.get(buffer);
  if (known !== undefined || !(buffer instanceof SharedArrayBuffer)) return known;
  const access = { address: addressOf(new Uint8Array(buffer)), copy: undefined };
  arenas.set(buffer, access);
  return access;
}

/**
 * Copies bytes between views, as `target.set(source.subarray(...), targetAt)` does.
 * @throws RangeError if a range lies outside its view
 */
export function copyBytes(
  target: Uint8Array,
  targetAt: number,
  source: Uint8Array,
  sourceAt: number,
  lengthBytes: number,
): void {
  // Written so that NaN fails as well.
  const inside =
    targetAt >= 0 &&
    sourceAt >= 0 &&
    targetAt + lengthBytes <= target.length &&
    sourceAt + lengthBytes <= source.length;
  if (!inside) {
    throw new RangeError(`${lengthBytes} bytes from ${sourceAt} to ${targetAt} lie outside their memory`);
  }
  if (lengthBytes < MIN_BYTES) {
    target.set(part(source, sourceAt, lengthBytes), targetAt);
    return;
  }
  const targetOffset = target.byteOffset + targetAt;
  const sourceOffset = source.byteOffset + sourceAt;
  if (lengthBytes < MIN_ALIGNED_BYTES && ((targetOffset ^ sourceOffset) & WORD_MASK) === 0) {
    target.set(part(source, sourceAt, lengthBytes), targetAt);
    return;
  }
  const { buffer: to } = target;
  const { buffer: from } = source;
  if (to !== targetBuffer) {
    targetBuffer = to;
    targetAccess = accessOf(to);
  }
  if (from !== sourceBuffer) {
    sourceBuffer = from;
    sourceAccess = accessOf(from);
  }
  if (targetAccess !== undefined && sourceAccess !== undefined) {
    if (to === from && targetAccess.copy !== undefined)
      targetAccess.copy(targetOffset, sourceOffset, lengthBytes);
    else c().memmove(targetAccess.address + targetOffset, sourceAccess.address + sourceOffset, lengthBytes);
    return;
  }
  if (targetAccess !== undefined)
    c().memmoveFromHeap(
      targetAccess.address + targetOffset,
      part(source, sourceAt, lengthBytes),
      lengthBytes,
    );
  else if (sourceAccess !== undefined)
    c().memmoveToHeap(part(target, targetAt, lengthBytes), sourceAccess.address + sourceOffset, lengthBytes);
  else target.set(part(source, sourceAt, lengthBytes), targetAt);
}

/** A view costs more than a short copy, and those of Buffer twice as much: most copies are of a whole array. */
function part(bytes: Uint8Array, at: number, lengthBytes: number): Uint8Array {
  return at === 0 && lengthBytes === bytes.length ? bytes : bytes.subarray(at, at + lengthBytes);
}
