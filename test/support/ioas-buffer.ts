import { afterAll, afterEach, beforeAll } from "vitest";
import { MappedMemory } from "../../src/index.js";
import { expectUnpinned, HUGE_PAGE, PAGE } from "./mock-domain.js";

export const BUFFER_BYTES = 16 * PAGE;

/** Memory that all tests of the file map; after each of them nothing of it may be pinned any more. */
export function sharedBuffer(): () => MappedMemory {
  let buffer: MappedMemory | undefined;
  const get = (): MappedMemory => {
    if (buffer === undefined) throw new Error("the buffer is there while tests run");
    return buffer;
  };
  beforeAll(() => {
    // Populated: before the first touch all pages are the kernel's one zero page, whose counts say nothing.
    buffer = MappedMemory.anonymous(BUFFER_BYTES, { alignBytes: HUGE_PAGE, populate: true });
  });
  afterEach(() => expectUnpinned(get().address, BUFFER_BYTES));
  afterAll(() => get().close());
  return get;
}
