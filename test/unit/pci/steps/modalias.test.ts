/** The choice of a vendor's VFIO driver by aliases of kernel modules. */
import { expect, test } from "vitest";
import { variantModule } from "../../../../src/pci/steps/modalias.js";

const nvidia = "pci:v000010DEd00002342sv000010DEsd000016EBbc03sc02i00\n";
const aliases = `\
# Aliases extracted from modules themselves.
alias pci:v000010DEd*sv*sd*bc03sc02i00* nouveau
alias vfio_pci:v*d*sv*sd*bc*sc*i* vfio_pci
alias vfio_pci:v000015B3d0000101Esv*sd*bc*sc*i* mlx5_vfio_pci
alias vfio_pci:v000010DEd00002342sv*sd*bc*sc*i* nvgrace_gpu_vfio_pci
alias vfio_pci:v000010DEd*sv*sd*bc*sc*i* any_of_this_vendor
alias vfio_pci:v000010DEd00002342
softdep vfio_pci:v000010DEd00002342sv*sd*bc*sc*i* wrong
`;

test("the alias with the fewest wildcards is chosen", () => {
  expect(variantModule(nvidia, aliases)).toBe("nvgrace_gpu_vfio_pci");
  expect(variantModule(nvidia.replace("2342", "2343"), aliases)).toBe("any_of_this_vendor");
});

test("where only vfio-pci fits, or nothing does, there is no variant", () => {
  const edu = "pci:v00001234d000011E8sv00001AF4sd00001100bc00scFFi00";
  for (const text of [
    aliases,
    "",
    "alias vfio_pci:v*d*sv*sd*bc*sc*i* vfio-pci\n",
    "nonsense\nalias\nalias x\n",
  ])
    expect(variantModule(edu, text)).toBeUndefined();
});

test("characters of an alias that are no wildcards are themselves", () => {
  expect(variantModule("pci:v1", "alias vfio_pci:v. dotted\nalias vfio_pci:(v1 open\n")).toBeUndefined();
  expect(variantModule("pci:v1", "alias vfio_pci:v? one\n")).toBe("one");
});
