/** Configuration space and registers. */

import { hexDigits } from "../../../../core/hex-digits.js";
import { NVME_CLASS } from "../../../../nvme/class-code.js";
import { CmbControl, ControllerConfig, NvmeRegister } from "../../../../nvme/spec/registers.js";
import { PciCapabilityId } from "../../../../pci/capability-ids.js";
import { PciRegister } from "../../../../pci/config-space.js";
import { subjectOf } from "../check.js";
import { expect, needs } from "../findings.js";

const PROPERTIES = "Base: Property Definitions";
const { CAP, VS, CC, CSTS, AQA, ASQ, ACQ, CMBLOC, CMBSZ, CMBMSC, NSSR } = NvmeRegister;

export const registers = subjectOf("registers", [
  [
    "the class code is 010802h",
    "PCIe Transport: Class Code",
    ({ device }) => {
      const found = device.config.read32(PciRegister.revision) >>> 8;
      expect(found === NVME_CLASS, hexDigits(found, 6));
    },
  ],
  [
    "the function has the capabilities PCI Express and an interrupt",
    "PCIe Transport: PCI Express Registers",
    ({ device }) => {
      const ids = device.config.capabilities().map(({ id }) => id);
      const { pciExpress, msi, msix } = PciCapabilityId;
      expect(ids.includes(pciExpress), "it lacks PCI Express");
      expect(ids.includes(msix) || ids.includes(msi) || device.config.read8(0x3d) > 0, "it lacks interrupts");
    },
  ],
  [
    "BAR 0 has room for the registers and the doorbells of two queues",
    "PCIe Transport: Memory Register Base Address",
    ({ bar, cap }) => expect(bar.sizeBytes >= 0x1000 + 4 * cap.doorbellStrideBytes, `${bar.sizeBytes} bytes`),
  ],
  [
    "CAP.MQES allows queues of 2 entries or more",
    `${PROPERTIES}, CAP`,
    ({ cap }) => expect(cap.maxQueueEntries >= 2, `CAP.MQES ${cap.maxQueueEntries - 1}`),
  ],
  [
    "CAP.MPSMIN isn't above CAP.MPSMAX",
    `${PROPERTIES}, CAP`,
    ({ cap }) =>
      expect(cap.minPageBytes <= cap.maxPageBytes, `${cap.minPageBytes} above ${cap.maxPageBytes}`),
  ],
  [
    "CAP.CSS has a command set",
    `${PROPERTIES}, CAP`,
    ({ cap }) => expect((cap.css & 0xc1) !== 0, `CSS ${cap.css}`),
  ],
  [
    "VS is 1.0 or later",
    `${PROPERTIES}, VS`,
    ({ bar }) => {
      const version = bar.read32(VS);
      expect(version >>> 16 >= 1, hexDigits(version, 8));
      return `${version >>> 16}.${(version >>> 8) & 0xff}`;
    },
  ],
  [
    "a register of 64 bits is the same when read as two of 32",
    "PCIe Transport: Register Access",
    ({ bar }) => {
      const whole = bar.readWhole64(CAP);
      const halves = (BigInt(bar.read32(CAP + 4)) << 32n) | BigInt(bar.read32(CAP));
      expect(whole === halves, `${whole.toString(16)} and ${halves.toString(16)}`);
    },
  ],
  [
    "a write to CAP or VS changes nothing",
    `${PROPERTIES}, CAP, VS`,
    async (bench) => {
      await bench.stop();
      const { bar } = bench;
      const before = [bar.read64(CAP), bar.read32(VS)];
      for (const offset of [CAP, CAP + 4, VS]) bar.write32(offset, 0xffff_ffff);
      expect(before[0] === bar.read64(CAP) && before[1] === bar.read32(VS), "a read-only register changed");
    },
  ],
  [
    "AQA, ASQ and ACQ keep what is written while the controller is off",
    `${PROPERTIES}, AQA, ASQ, ACQ`,
    async (bench) => {
      await bench.stop();
      const { bar } = bench;
      for (const [asqs, acqs, base] of [
        [1, 4095, 0x1_2345_6000n],
        [4095, 1, 0xf_f000n],
      ] as const) {
        bar.write32(AQA, (acqs << 16) | asqs);
        bar.write64(ASQ, base);
        bar.write64(ACQ, base + 0x1000n);
        expect((bar.read32(AQA) & 0x0fff_0fff) === ((acqs << 16) | asqs) >>> 0, "AQA differs");
        expect(bar.read64(ASQ) === base && bar.read64(ACQ) === base + 0x1000n, "ASQ or ACQ differs");
      }
    },
  ],
  [
    "a write to CSTS changes neither RDY nor CFS nor SHST",
    `${PROPERTIES}, CSTS`,
    async (bench) => {
      await bench.start();
      bench.bar.write32(CSTS, 0x0f);
      const found = bench.bar.read32(CSTS) & 0xf;
      expect(found === 1, `CSTS ${hexDigits(found, 8)}`);
    },
  ],
  [
    "the controller memory buffer lies within its BAR",
    "PCIe Transport: CMBLOC, CMBSZ",
    ({ bar, device, cap }) => {
      needs(cap.cmbs, "there is no controller memory buffer (CAP.CMBS)");
      bar.write64(CMBMSC, BigInt(CmbControl.CRE));
      const [location, size] = [bar.read32(CMBLOC), bar.read32(CMBSZ)];
      bar.write64(CMBMSC, 0n);
      const unit = 4096 * 16 ** ((size >>> 8) & 0xf);
      const end = ((location >>> 12) + (size >>> 12)) * unit;
      const { sizeBytes } = device.bar(location & 7);
      expect(end <= sizeBytes, `it ends at ${end}, and BAR ${location & 7} has ${sizeBytes} bytes`);
    },
  ],
  [
    "CSTS.RDY is 0 while CC.EN is 0",
    `${PROPERTIES}, CSTS`,
    async (bench) => {
      await bench.stop();
      expect((bench.status() & 1) === 0, "CSTS.RDY 1");
    },
  ],
  [
    "CC reads as it was written, and CSTS says ready and not shut down",
    `${PROPERTIES}, CC, CSTS`,
    async (bench) => {
      await bench.start();
      const cc = bench.bar.read32(CC);
      expect((cc & ControllerConfig.EN) === 1, "CC.EN 0");
      expect(((cc >>> ControllerConfig.IOSQES_SHIFT) & 0xff) === 0x46, `CC ${hexDigits(cc, 8)}`);
      expect((bench.bar.read32(CSTS) & 0xf) === 1, `CSTS ${hexDigits(bench.bar.read32(CSTS), 8)}`);
    },
  ],
  [
    "another value than NVMe in NSSR resets nothing",
    `${PROPERTIES}, NSSR`,
    async (bench) => {
      needs(bench.cap.nssrs, "there is no NVM subsystem reset (CAP.NSSRS)");
      await bench.start();
      bench.bar.write32(NSSR, 0x1234_5678);
      expect((bench.status() & 1) === 1, "the controller was reset");
      await bench.controller();
    },
  ],
  [
    "CMBSZ is 0 until CMBMSC.CRE is set",
    "PCIe Transport: CMBMSC",
    ({ bar, cap }) => {
      needs(cap.cmbs, "there is no controller memory buffer (CAP.CMBS)");
      bar.write64(CMBMSC, 0n);
      expect(bar.read32(CMBSZ) === 0, "CMBSZ isn't hidden");
      bar.write64(CMBMSC, BigInt(CmbControl.CRE));
      const size = bar.read32(CMBSZ);
      bar.write64(CMBMSC, 0n);
      expect(size !== 0, "CMBSZ stays 0");
    },
  ],
]);
