/**
 * Measures declared registers beside bare typed-array accesses to the same memory: nanoseconds per access, and the garbage.
 * Needs no device, because a mapped BAR is memory, too.
 * Run: npm run bench -- registers
 */
import { getHeapStatistics } from "node:v8";
import { bit, bits, type MappedRegisters, reg32, registerBlock, repeated } from "../src/doors/pci.js";
import type { RegisterAccess } from "../src/registers/access.js";
import { MappedMemory } from "../src/sys/memory.js";
import { measureInTurns, type Way } from "./rounds.js";

const ROUNDS = 101;
const CYCLES = 100_000;
const COUNTED = 20_000;
const SIZE_BYTES = 4096;

const Widget = registerBlock("widget", {
  control: reg32(0, { fields: { go: bit(0), count: bits(15, 8) } }),
  status: reg32(4, { access: "ro", fields: { busy: bit(3), count: bits(15, 8) } }),
  queues: repeated(16, 64, reg32(0x100)),
});

const memory = MappedMemory.anonymous(SIZE_BYTES);
const { bytes, words } = memory;
const mapped: MappedRegisters = { bytes, halves: undefined, words, longs: undefined };
const notMapped = (): never => {
  throw new Error("the bench's registers are mapped");
};
const access: RegisterAccess = {
  label: "memory",
  sizeBytes: SIZE_BYTES,
  mapped,
  read8: notMapped,
  read16: notMapped,
  read32: notMapped,
  readWhole64: notMapped,
  write8: notMapped,
  write16: notMapped,
  write32: notMapped,
  writeWhole64: notMapped,
};
const regs = Widget.on(access);
const { count } = regs.status.fields;
const STATUS = 1;
const QUEUES = 0x100 / 4;
let sum = 0;

/** Each pair does the same, bare first. */
const pairs: readonly (readonly [string, (cycles: number) => void, (cycles: number) => void])[] = [
  [
    "read",
    (cycles) => {
      for (let i = 0; i < cycles; i++) sum += Atomics.load(words, STATUS) & 1;
    },
    (cycles) => {
      for (let i = 0; i < cycles; i++) sum += regs.status.read() & 1;
    },
  ],
  [
    "write",
    (cycles) => {
      for (let i = 0; i < cycles; i++) words[0] = i;
    },
    (cycles) => {
      for (let i = 0; i < cycles; i++) regs.control.write(i);
    },
  ],
  [
    "write, element of an array",
    (cycles) => {
      for (let i = 0; i < cycles; i++) words[QUEUES + (i & 15) * 16] = i;
    },
    (cycles) => {
      for (let i = 0; i < cycles; i++) regs.queues.at(i & 15).write(i);
    },
  ],
  [
    "read, decode a field, write",
    (cycles) => {
      for (let i = 0; i < cycles; i++) words[0] = (Atomics.load(words, STATUS) >>> 8) & 0xff;
    },
    (cycles) => {
      for (let i = 0; i < cycles; i++) regs.control.write(count.of(regs.status.read()));
    },
  ],
];

function timed(name: string, run: (cycles: number) => void): Way {
  return {
    name,
    run(cycles) {
      const start = process.hrtime.bigint();
      run(cycles);
      return Number(process.hrtime.bigint() - start) / cycles;
    },
  };
}

function garbageOf(run: (cycles: number) => void): number {
  let least = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 7; round++) {
    globalThis.gc?.();
    const before = getHeapStatistics().used_heap_size;
    run(COUNTED);
    least = Math.min(least, getHeapStatistics().used_heap_size - before);
  }
  return least / COUNTED;
}

for (const [name, bare, declared] of pairs) {
  const [first, second] = await measureInTurns(
    [timed("bare", bare), timed("declared", declared)],
    ROUNDS,
    CYCLES,
  );
  if (first === undefined || second === undefined) throw new Error("nothing measured");
  const garbage = garbageOf(declared);
  console.log(
    `${name.padEnd(30)} bare ${first.medianNs.toFixed(2)} ns, declared ${second.medianNs.toFixed(2)} ns, ` +
      `ratio ${second.ratio.toFixed(2)} (best tenth ${second.quietRatio.toFixed(2)}), garbage ${garbage.toFixed(3)} bytes`,
  );
}
// Uses the sum, so that no compiler leaves the reads out.
if (Number.isNaN(sum)) console.log(sum);
memory.close();
