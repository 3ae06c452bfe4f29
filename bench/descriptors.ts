/**
 * Measures declared descriptors beside index arithmetic on typed arrays of the same memory, as the receive path of a network
 * driver uses them: nanoseconds per descriptor, and the garbage.
 * Run: npm run bench -- descriptors
 */
import { bit, descriptorLayout, reg16, reg32, reg64 } from "../src/doors/pci.js";
import { comparePairs, type Pair } from "./pairs.js";

const COUNT = 256;
const WORDS = 4;
const HALVES = 8;
const STATUS = 2;
const LENGTH = 6;

const Receive = descriptorLayout("receive", 16, {
  address: reg64(0),
  status: reg32(8, { fields: { done: bit(0) } }),
  length: reg16(12),
});

const bytes = new Uint8Array(new SharedArrayBuffer(COUNT * Receive.sizeBytes));
const words = new Uint32Array(bytes.buffer);
const halves = new Uint16Array(bytes.buffer);
const slots = Receive.on(bytes);
const { done } = slots.status.fields;
let sum = 0;

const pairs: readonly Pair[] = [
  {
    name: "is done, and how long",
    bare(cycles) {
      for (let i = 0; i < cycles; i++) {
        const slot = i & 255;
        if ((Atomics.load(words, slot * WORDS + STATUS) & 1) === 0)
          sum += Atomics.load(halves, slot * HALVES + LENGTH);
      }
    },
    declared(cycles) {
      for (let i = 0; i < cycles; i++) {
        const slot = i & 255;
        if (!done.of(slots.status.read(slot))) sum += slots.length.read(slot);
      }
    },
  },
  {
    name: "fill: address, length, status",
    bare(cycles) {
      for (let i = 0; i < cycles; i++) {
        const slot = i & 255;
        words[slot * WORDS] = i;
        words[slot * WORDS + 1] = 1;
        halves[slot * HALVES + LENGTH] = 1500;
        words[slot * WORDS + STATUS] = 0;
      }
    },
    declared(cycles) {
      for (let i = 0; i < cycles; i++) {
        const slot = i & 255;
        slots.address.writeHalves(slot, i, 1);
        slots.length.write(slot, 1500);
        slots.status.write(slot, 0);
      }
    },
  },
];

await comparePairs(pairs);
// Uses the sum, so that no compiler leaves the reads out.
if (Number.isNaN(sum)) console.log(sum);
