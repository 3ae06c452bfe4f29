/**
 * The page in which a thread tells what it does: a memfd of this name, which others find in /proc/PID/fd. The thread writes to
 * memory only. So a watcher costs it nothing, and sees a process that hangs, too.
 *
 * The page has numbers (doubles), then the open devices, then the newest errors. Text is UTF-8 that ends at a NUL. A reader may
 * see a text that is being written.
 */

export const PAGE_NAME = "iova-activity";
/** What a descriptor of it is linked to in /proc/PID/fd. */
export const PAGE_LINK = `/memfd:${PAGE_NAME} (deleted)`;
export const PAGE_BYTES = 12 * 1024;

/** The first two numbers of each page. */
export const MAGIC = 0x494f_5641;
export const LAYOUT_VERSION = 1;

/** Where each number is, counted in doubles. */
export const At = {
  magic: 0,
  version: 1,
  thread: 2,
  startedAtMs: 3,
  mappings: 4,
  mappedBytes: 5,
  timesMapped: 6,
  timesUnmapped: 7,
  interrupts: 8,
  errors: 9,
} as const;

/** A device: a double that is 1 while it is open, its backend, its address. */
export const devices = {
  offset: 128,
  count: 60,
  bytes: 128,
  backendOffset: 8,
  backendBytes: 16,
  addressOffset: 24,
  addressBytes: 104,
} as const;

/** An error: the time in milliseconds since 1970, and its text. Error n of a thread is in place n modulo the count. */
export const errors = {
  offset: devices.offset + devices.count * devices.bytes,
  count: 16,
  bytes: 256,
  textOffset: 8,
  textBytes: 248,
} as const;
