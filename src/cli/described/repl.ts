/** `iova repl`, and the names at its prompt. */
import { backend, vfToken } from "./common.js";
import { describe, type TermList, value } from "./description.js";

/** What can be used by name at the prompt. */
export const replNames: TermList = {
  title: "Names at the prompt",
  terms: [
    ["device", "the open PciDevice: config, dma, power, reset(), ..."],
    ["regs", "registers of --registers FILE; a register or a block alone prints it decoded"],
    ["show()", "header and capabilities, decoded"],
    ["bar(N)", "a BAR: read32(), write32(), map(), ..."],
    [
      "peek(WHERE, OFFSET, BITS)",
      'reads 8, 16, 32 (the default) or 64 bits; WHERE is a BAR\'s number or "config"',
    ],
    ["poke(WHERE, OFFSET, VALUE, BITS)", "writes them"],
    ["hexdump(WHERE, OFFSET, BYTES)", "reads words of 32 bits"],
    [
      "interrupts(COUNT, KIND)",
      'enables interrupts ("msix", "msi" or "intx"), and prints each as it comes; 0 ends it',
    ],
    [
      "registerBlock, reg32, bit, ...",
      'what iova/pci has, to declare registers: regs.my = registerBlock("my", {...}).on(bar(0))',
    ],
  ],
};

export const replDescription = describe({
  name: "repl",
  operands: "BDF",
  summary: "the prompt of Node.js with the function open: registers by name, peek, poke, interrupts",
  usage: ["BDF [--registers FILE] [--bar N] [--backend NAME] [--vf-token UUID]"],
  text: [
    "Opens a function that is bound to vfio-pci (iova bind), or vfio-user:PATH, which resets it, and starts the prompt of Node.js. Tab " +
      "completes names. .exit, or Ctrl-D, closes the device. A program can also come from standard input: it can await, and " +
      "print(VALUE) shows a value as the prompt does.",
  ],
  lists: [replNames],
  offers: ["target", "nothing"],
  options: {
    registers: value("FILE", "a module that exports blocks of registers (registerBlock() of iova/pci)", {
      offer: "file",
    }),
    bar: value("N", "the BAR that they are in (default 0)", { offer: ["0", "1", "2", "3", "4", "5"] }),
    backend,
    "vf-token": vfToken,
  },
  examples: [{ command: "iova repl 0000:00:03.0 --registers ./my-registers.js", text: "opens the prompt" }],
});
