/** Splits accesses to a BAR into those that its handlers take. */
import { callDevice } from "./device-calls.js";
import type { EmulatedBar } from "./emulated-device.js";

/** The widest access of a PCI function. */
const WIDEST = 8;

/**
 * How accesses of any width and place reach a BAR's handlers: 1, 2, 4 or 8 bytes, aligned to that. A message may ask for
 * more, or for what is not aligned: that becomes several, in ascending order, as vfio-pci does it.
 */
export function readBar(bar: EmulatedBar, offset: number, target: Uint8Array): void {
  for (let done = 0; done < target.length; ) {
    const width = widthAt(offset + done, target.length - done);
    const at = offset + done;
    const part = target.subarray(done, done + width);
    callDevice(() => bar.read(at, part));
    done += width;
  }
}

/**
 * @param source the device may keep it
 * @param isIgnored whether the device doesn't get an access
 */
export function writeBar(
  bar: EmulatedBar,
  offset: number,
  source: Uint8Array,
  isIgnored: (offset: number, width: number) => boolean = () => false,
): void {
  for (let done = 0; done < source.length; ) {
    const width = widthAt(offset + done, source.length - done);
    const at = offset + done;
    const part = source.subarray(done, done + width);
    if (!isIgnored(at, width)) callDevice(() => bar.write(at, part));
    done += width;
  }
}

/** The widest access that starts there. */
function widthAt(offset: number, left: number): number {
  let width = WIDEST;
  while (width > left || offset % width !== 0) width /= 2;
  return width;
}
