/** Memory that several tests of a file map. */
import { afterAll, afterEach, beforeAll } from "vitest";
import { MappedMemory } from "../../src/index.js";
import { expectUnpinned, HUGE_PAGE, PAGE } from "./mock-domain.js";

export const BUFFER_BYTES = 16 * PAGE;

/** Memory that all tests of the file map. After each test none of it may be pinned. */
export function sharedBuffer(): () => MappedMemory {
  let buffer: MappedMemory | undefined;
  const get = (): MappedMemory => {
    if (buffer === undefined) throw new Error("the buffer is there while tests run");
    return buffer;
  };
  beforeAll(() => {
    // Populated, because untouched pages are the kernel's shared zero page, whose reference counts mean nothing.
    buffer = MappedMemory.anonymous(BUFFER_BYTES, { alignBytes: HUGE_PAGE, populate: true });
  });
  afterEach(() => expectUnpinned(get().address, BUFFER_BYTES));
  afterAll(() => get().close());
  return get;
}
