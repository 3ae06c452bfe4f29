/** Memory of the node that was asked for: this machine's kernel makes two NUMA nodes of its memory (numa=fake=2). */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ArgumentError, type DmaBuffer, listPciFunctions, PciDevice } from "../../../src/index.js";
import { expectNothingLeft } from "../../support/holdings.js";
import { backends, bindGroup } from "../../support/nvme-machine.js";

const PAGE = 4096;
const PAGES = 64;
const HUGE = 2 ** 21;

const controller = (): string => {
  const found = listPciFunctions().find(({ bdf }) => bdf.endsWith(":10.0"));
  if (found === undefined) throw new Error("this machine has no controller at 10.0");
  return found.bdf;
};

let binding: { close(): void };
beforeAll(() => {
  binding = bindGroup(controller());
});
afterAll(() => binding.close());

/** Pages of a buffer by node, as the kernel counts them: another witness than the system call the library asks. */
function pagesByNode({ memory }: DmaBuffer): Record<string, number> {
  const lines = readFileSync("/proc/self/numa_maps", "utf8").split("\n");
  const line = lines.find((each) => each.startsWith(`${memory.address.toString(16)} `)) ?? "";
  return Object.fromEntries(
    [...line.matchAll(/ (N\d+)=(\d+)/g)].map(([, node = "", pages]) => [node, Number(pages)]),
  );
}

describe.each(backends)("NUMA nodes of an NVMe driver's memory through %s", (backend) => {
  expectNothingLeft();

  test.each([0, 1])("include only node %i if that is requested", (node) => {
    using device = PciDevice.open(controller(), { backend });
    const { dma } = device;
    for (const shared of [false, true]) {
      using buffer = dma.alloc(PAGES * PAGE, { numaNode: node, shared });
      expect(buffer.backing).toMatchObject({ pageBytes: PAGE, numaNode: node });
      expect(pagesByNode(buffer)).toEqual({ [`N${node}`]: PAGES });
    }
    using transparent = dma.alloc(HUGE, { numaNode: node, pages: "transparent" });
    expect(transparent.backing).toMatchObject({ numaNode: node });
    expect(Object.keys(pagesByNode(transparent))).toEqual([`N${node}`]);
  });

  test("can't be nodes that don't exist", () => {
    using device = PciDevice.open(controller(), { backend });
    expect(() => device.dma.alloc(PAGE, { numaNode: 2 })).toThrow(
      "there is no memory on NUMA node 2: nodes with memory are 0, 1",
    );
    expect(() => device.dma.alloc(PAGE, { numaNode: 0.5 })).toThrow(ArgumentError);
  });
});
