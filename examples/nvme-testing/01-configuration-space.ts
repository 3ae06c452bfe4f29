/**
 * The configuration space of an NVMe controller: who it is, what it can do, and the command register, without whose bits it
 * neither answers nor reaches memory. PCI Express Base, "Configuration Space"; NVMe over PCIe Transport, "PCI header".
 */
import { PciCommand, PciRegister } from "iova";
import { PciCapabilityId } from "iova/pci";
import { Bench, claim } from "./bench.js";

const INTERRUPT_PIN = 0x3d;

await using bench = await Bench.open();
const { config, function: found } = bench.device;

console.log(`${bench.device.bdf}: vendor ${config.read16(PciRegister.vendorId).toString(16)}`);

// The class code is three bytes at 09h: programming interface, subclass, base class.
const classCode = config.read32(PciRegister.revision) >>> 8;
claim("its class code is 010802h, an NVMe I/O controller", classCode === 0x010802, classCode.toString(16));
claim("the description of the function says the same", found.classCode === classCode);

// Capabilities are a list: each entry names the offset of the next.
const capabilities = config.capabilities();
const ids = capabilities.map(({ id }) => id);
console.log("  capabilities:", ids.map((id) => id.toString(16)).join(" "));
claim("it is a PCI Express function", ids.includes(PciCapabilityId.pciExpress));
claim(
  "it has MSI-X, MSI or an interrupt pin",
  ids.includes(PciCapabilityId.msix) || ids.includes(PciCapabilityId.msi) || config.read8(INTERRUPT_PIN) > 0,
);

// BAR 0 holds the controller's registers, and the doorbells from 1000h on.
claim("BAR 0 has room for registers and doorbells", bench.bar.sizeBytes >= 0x2000, bench.bar.sizeBytes);

// The command register: memory decoding is on, or BAR 0 would read all ones. Bus mastering is the tester's decision.
claim("the controller decodes memory", (config.read16(PciRegister.command) & PciCommand.memorySpace) !== 0);
config.busMaster = true;
claim("bus mastering can be switched on", config.busMaster);
config.busMaster = false;
claim("and off: the controller then reaches no memory and sends no MSI-X", !config.busMaster);
