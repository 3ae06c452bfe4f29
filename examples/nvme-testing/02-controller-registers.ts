/**
 * The controller's registers, declared as the specification lists them: what CAP says, which bits can be written, and how CSTS follows
 * CC. NVMe Base, "Controller Properties".
 */
import { bit, bits, reg32, reg64, registerBlock } from "iova/pci";
import { Bench, claim } from "./bench.js";

const nvme = registerBlock("nvme", {
  cap: reg64(0x00, {
    access: "ro",
    fields: {
      mqes: bits(15, 0),
      cqr: bit(16),
      to: bits(31, 24),
      dstrd: bits(35, 32),
      mpsmin: bits(51, 48),
      mpsmax: bits(55, 52),
    },
  }),
  vs: reg32(0x08, { access: "ro", fields: { major: bits(31, 16), minor: bits(15, 8) } }),
  cc: reg32(0x14, { fields: { en: bit(0), iosqes: bits(19, 16), iocqes: bits(23, 20) } }),
  csts: reg32(0x1c, { fields: { rdy: bit(0), cfs: bit(1), shst: bits(3, 2) } }),
  aqa: reg32(0x24, { fields: { asqs: bits(11, 0), acqs: bits(27, 16) } }),
  asq: reg64(0x28),
});

await using bench = await Bench.open();
const regs = nvme.on(bench.bar);

const { mqes, cqr, to, dstrd, mpsmin, mpsmax } = regs.cap.decode();
const { major, minor } = regs.vs.decode();
console.log(
  `  NVMe ${major}.${minor}, queues of ${Number(mqes) + 1} entries, ready within ${Number(to) * 500} ms`,
);
claim("a queue can have 2 entries (CAP.MQES is 1 or more)", Number(mqes) >= 1, mqes);
claim("the smallest memory page isn't above the largest", Number(mpsmin) <= Number(mpsmax));
claim("its version is 1.0 or later", major >= 1);
console.log(
  `  doorbells are ${4 << Number(dstrd)} bytes apart; queues ${cqr ? "must be" : "needn't be"} contiguous`,
);

// CSTS.RDY follows CC.EN.
await bench.stop();
claim("CSTS.RDY is 0 while CC.EN is 0", !regs.csts.decode().rdy);

// Read-only registers keep their value.
const { bar } = bench;
const before = bar.read64(0);
bar.write32(0, 0xffff_ffff);
bar.write32(4, 0xffff_ffff);
claim("a write to CAP changes nothing", bar.read64(0) === before);
claim("CAP is the same as two halves", (BigInt(bar.read32(4)) << 32n) + BigInt(bar.read32(0)) === before);

// The admin queue's registers can be written while the controller is off.
regs.aqa.write({ asqs: 31, acqs: 63 });
claim("AQA keeps both sizes", regs.aqa.decode().asqs === 31 && regs.aqa.decode().acqs === 63);
regs.asq.write(0x1_2345_6000n);
claim("ASQ keeps an address of 64 bits", regs.asq.read() === 0x1_2345_6000n, regs.asq.read().toString(16));

// CSTS.RDY becomes 1 after CC.EN, here with an admin queue that bench.start() makes.
await bench.start();
claim(
  "CSTS.RDY is 1 after CC.EN was set, and CSTS.CFS is 0",
  regs.csts.decode().rdy && !regs.csts.decode().cfs,
);
claim("CC says what was written", regs.cc.decode().iosqes === 6 && regs.cc.decode().iocqes === 4);
