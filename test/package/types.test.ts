/** The package's declarations in TypeScript projects of users, checked with nothing skipped. */
import { join } from "node:path";
import { expect, test } from "vitest";
import { packageRoot } from "../../guest/paths.js";
import { project, runIn } from "./support/project.js";

const PROGRAM = `
import { ArgumentError, type DmaBuffer, NvmeController, PciDevice } from "iova";
import { EmulatedNvme, startEmulator } from "iova/emulator";
import { type DmaMapper, IovaAllocator } from "iova/dma";
import { IOMMU_HWPT_DATA_VTD_S1, Iommufd } from "iova/iommufd";
import { AdminOpcode, FeatureId, type IdentifyController } from "iova/nvme";
import { PciCapabilityId, readRegister } from "iova/pci";
import { VFIO_PCI_CONFIG_REGION_INDEX, VfioDevice } from "iova/vfio";
import { VfioUserDevice } from "iova/vfio-user";

export async function main(address: string): Promise<number> {
  const nvme = await NvmeController.open(address);
  const identify: IdentifyController = nvme.identify;
  const buffer: DmaBuffer = nvme.dma.alloc(4096);
  await (await nvme.namespace(1)).read(0n, buffer);
  return identify.nn + AdminOpcode.identify + FeatureId.arbitration + VFIO_PCI_CONFIG_REGION_INDEX;
}
export type { DmaMapper };
export const values = [ArgumentError, PciDevice, EmulatedNvme, startEmulator, IovaAllocator, Iommufd, VfioDevice,
  VfioUserDevice, readRegister, PciCapabilityId.msix, IOMMU_HWPT_DATA_VTD_S1];
`;

const modes = [
  ["node16", "node16", "module"],
  ["node16", "node16", "commonjs"],
  ["nodenext", "nodenext", "module"],
  ["bundler", "esnext", "module"],
] as const;

test.each(modes)(
  "a project with moduleResolution %s, module %s and type %s compiles",
  async (moduleResolution, module, type) => {
    const isCommonJs = type === "commonjs" && moduleResolution === "node16";
    // Node 20 and later require ES modules; TypeScript knows that from module node20 on.
    const source = isCommonJs ? 'export const load = async () => await import("iova");\n' : PROGRAM;
    const folder = project({
      "package.json": JSON.stringify({ type }),
      "main.ts": source,
      "tsconfig.json": JSON.stringify({
        compilerOptions: {
          target: "es2022",
          lib: ["es2023", "esnext.disposable"],
          module,
          moduleResolution,
          strict: true,
          skipLibCheck: false,
          noEmit: true,
          types: ["node"],
        },
        files: ["main.ts"],
      }),
    });
    const tsc = join(packageRoot(), "node_modules", "typescript", "bin", "tsc");
    expect(await runIn(folder, process.execPath, tsc, "-p", folder)).toBe("");
  },
);
