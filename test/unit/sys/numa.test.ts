/** NUMA placement on a processor whose system calls the library doesn't know. Node.js is told that it runs there. */
import { expect, test } from "vitest";
import { UnsupportedError } from "../../../src/core/errors.js";
import { MappedMemory } from "../../../src/sys/memory.js";
import { bindToNode, nodeOf } from "../../../src/sys/numa.js";
import { PAGE_SIZE } from "../../../src/sys/syscalls.js";

test("memory is made where the library knows no NUMA calls, and only numaNode is refused", () => {
  // The first call loads koffi's part for this processor.
  MappedMemory.anonymous(PAGE_SIZE).close();
  const { arch } = process;
  Object.defineProperty(process, "arch", { value: "ppc64" });
  try {
    const memory = MappedMemory.anonymous(PAGE_SIZE, { populate: true });
    expect(memory.bytes).toHaveLength(PAGE_SIZE);
    expect(nodeOf(memory.address)).toBeUndefined();
    expect(() => bindToNode(memory.address, PAGE_SIZE, 0)).toThrow(UnsupportedError);
    expect(() => bindToNode(memory.address, PAGE_SIZE, 0)).toThrow(
      /numaNode isn't supported on ppc64: leave it out/,
    );
    memory.close();
  } finally {
    Object.defineProperty(process, "arch", { value: arch });
  }
});
