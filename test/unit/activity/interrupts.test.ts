/** Interrupt counts of /proc/interrupts. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { parseVfioInterrupts } from "../../../src/activity/interrupts.js";

const text = `           CPU0       CPU1
  0:         45          0   IO-APIC   2-edge      timer
 24:        100         23  PCI-MSIX-0000:01:00.0   0-edge      vfio-msix[0](0000:01:00.0)
 25:          7          0  PCI-MSIX-0000:01:00.0   1-edge      vfio-msix[1](0000:01:00.0)
 26:          0          4  PCI-MSI-0000:02:00.0    0-edge      vfio-msi[0](0000:02:00.0)
 16:         12          1   IO-APIC  16-fasteoi   vfio-intx(0000:03:00.1), ehci_hcd:usb1
 27:          1          1  PCI-MSIX-0000:04:00.0   0-edge      nvme0q0
NMI:          2          3   Non-maskable interrupts
ERR:          0
`;

test("the interrupts of each VFIO device are added up over processors and vectors", () => {
  expect([...parseVfioInterrupts(text)]).toEqual([
    ["0000:01:00.0", 130],
    ["0000:02:00.0", 4],
    ["0000:03:00.1", 13],
  ]);
});

test("a machine with many processors has long lines", () => {
  const count = 1024;
  const header = Array.from({ length: count }, (_, i) => `CPU${i}`).join("  ");
  const cells = Array.from({ length: count }, () => "         1").join(" ");
  const long = `   ${header}\n 24: ${cells}  PCI-MSIX-0000:01:00.0  0-edge  vfio-msix[0](0000:01:00.0)\n`;
  expect(parseVfioInterrupts(long).get("0000:01:00.0")).toBe(count);
});

test("no text makes it throw", () => {
  const word = fc.oneof(fc.string(), fc.constantFrom("vfio-msix[0](0000:01:00.0)", "CPU0", "24:", "7", "\n"));
  fc.assert(
    fc.property(fc.array(word), (words) => {
      for (const count of parseVfioInterrupts(words.join(" ")).values())
        expect(count).toBeGreaterThanOrEqual(0);
    }),
  );
});
