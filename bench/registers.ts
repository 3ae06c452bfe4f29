/**
 * Measures declared registers beside bare typed-array accesses to the same memory: nanoseconds per access, and the garbage.
 * Needs no device, because a mapped BAR is memory, too.
 * Run: npm run bench -- registers
 */
import { bit, bits, type MappedRegisters, reg32, registerBlock, repeated } from "../src/doors/pci.js";
import type { RegisterAccess } from "../src/registers/access.js";
import { MappedMemory } from "../src/sys/memory.js";
import { comparePairs, type Pair } from "./pairs.js";

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

const pairs: readonly Pair[] = [
  {
    name: "read",
    bare(cycles) {
      for (let i = 0; i < cycles; i++) sum += Atomics.load(words, STATUS) & 1;
    },
    declared(cycles) {
      for (let i = 0; i < cycles; i++) sum += regs.status.read() & 1;
    },
  },
  {
    name: "write",
    bare(cycles) {
      for (let i = 0; i < cycles; i++) words[0] = i;
    },
    declared(cycles) {
      for (let i = 0; i < cycles; i++) regs.control.write(i);
    },
  },
  {
    name: "write, element of an array",
    bare(cycles) {
      for (let i = 0; i < cycles; i++) words[QUEUES + (i & 15) * 16] = i;
    },
    declared(cycles) {
      for (let i = 0; i < cycles; i++) regs.queues.at(i & 15).write(i);
    },
  },
  {
    name: "read, decode a field, write",
    bare(cycles) {
      for (let i = 0; i < cycles; i++) words[0] = (Atomics.load(words, STATUS) >>> 8) & 0xff;
    },
    declared(cycles) {
      for (let i = 0; i < cycles; i++) regs.control.write(count.of(regs.status.read()));
    },
  },
];

await comparePairs(pairs);
// Uses the sum, so that no compiler leaves the reads out.
if (Number.isNaN(sum)) console.log(sum);
memory.close();
