/** Configuration spaces of this machine's functions, decoded, beside what `lspci -vvv` prints. */
import { expect, test, vi } from "vitest";
import { runShow } from "../../../src/cli/show.js";
import { ConfigSnapshot, listPciFunctions } from "../../../src/doors/pci.js";
import { sriovNvmeBdf } from "../../support/functions.js";
import { compareWithLspci } from "../../support/lspci.js";
import { asUnprivileged } from "../../support/unprivileged.js";

test("each flag and value that lspci prints is what the decoded configuration space says", () => {
  const compared = listPciFunctions().map(({ bdf }) =>
    compareWithLspci(bdf, ConfigSnapshot.read(bdf).dump()),
  );
  expect(compared.flatMap(({ differences }) => differences)).toEqual([]);
  // A machine without capabilities would compare nothing.
  expect(compared.reduce((sum, one) => sum + one.compared, 0)).toBeGreaterThan(1000);
  const unknown = new Set(compared.flatMap((one) => one.unknown));
  // What isn't of the configuration space's registers, or what lspci prints from several of them.
  const others =
    /^header (?:Subsystem|Latency|IOMMU group|NUMA node|Kernel|Region|Expansion ROM|I\/O|Memory|Prefetchable|Physical|Flags)|^vendor |^ssvid |^sata |^aer (?:ErrorSrc|Advanced)|^acs Access|^ari Alt|^sriov (?:Single|Region|VF Migration)|^pcie DevCap2 (?:TPHComp|ExtTPHComp)/;
  expect([...unknown].filter((each) => !others.test(each))).toEqual([]);
});

test("no function of this machine has a damaged or unknown capability", () => {
  for (const { bdf } of listPciFunctions()) {
    const { notes, capabilities } = ConfigSnapshot.read(bdf).dump();
    expect({ bdf, notes }).toEqual({ bdf, notes: [] });
    for (const each of capabilities) {
      expect({ bdf, title: each.title, notes: each.notes }).toEqual({ bdf, title: each.title, notes: [] });
      expect(each.name, `${bdf}: ${each.title}`).toBeDefined();
    }
  }
});

test("without privileges the header is shown, and a note says what the rest needs", () => {
  const bdf = sriovNvmeBdf();
  const all = ConfigSnapshot.read(bdf).dump();
  let said = "";
  const spy = vi.spyOn(process.stdout, "write").mockImplementation((text) => {
    said += String(text);
    return true;
  });
  try {
    asUnprivileged({}, () => runShow([bdf, "--json"]));
  } finally {
    spy.mockRestore();
  }
  expect(JSON.parse(said)).toMatchObject({
    bdf,
    header: all.header,
    capabilities: [],
    notes: ["only the first 64 of 4096 bytes can be read: the rest needs CAP_SYS_ADMIN, so run this as root"],
  });
  expect(all.capabilities.map(({ name }) => name)).toEqual(
    expect.arrayContaining(["msix", "pcie", "pm", "ari", "sriov"]),
  );
});
