/** The package's declarations in TypeScript projects of users, checked with nothing skipped. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, inject, test } from "vitest";
import { packageRoot } from "../../guest/paths.js";
import { fetched } from "./support/fetched.js";
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
type IsAny<T> = 0 extends 1 & T ? true : false;
export const isAny: IsAny<DmaBuffer["bytes"]> = false;
export const plain = (buffer: DmaBuffer): Uint8Array => buffer.bytes;
export type { DmaMapper };
export const values = [ArgumentError, PciDevice, EmulatedNvme, startEmulator, IovaAllocator, Iommufd, VfioDevice,
  VfioUserDevice, readRegister, PciCapabilityId.msix, IOMMU_HWPT_DATA_VTD_S1];
`;

/** From TypeScript 5.7 on, the memory of a view is part of its type. */
const EXACT = `
export const shared = (buffer: DmaBuffer): Uint8Array<SharedArrayBuffer> => buffer.bytes;
`;

/** The oldest that reads the declarations: `NoInfer` came with it. */
const oldest = "5.4";

const modes = [
  ["node16", "node16", "module"],
  ["node16", "node16", "commonjs"],
  ["nodenext", "nodenext", "module"],
  ["bundler", "esnext", "module"],
] as const;

const newTsc = join(packageRoot(), "node_modules", "typescript", "bin", "tsc");

/** What the compiler says of a project. */
async function compiled(
  tsc: string,
  source: string,
  [moduleResolution, module, type]: readonly [string, string, string],
): Promise<string> {
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
  return await runIn(folder, process.execPath, tsc, "-p", folder);
}

test.each(modes)("a project with moduleResolution %s, module %s and type %s compiles", async (...mode) => {
  // Node 20 and later require ES modules; TypeScript knows that from module node20 on.
  const isImported = mode[1] === "node16" && mode[2] === "commonjs";
  const source = isImported ? 'export const load = async () => await import("iova");\n' : PROGRAM + EXACT;
  expect(await compiled(newTsc, source, mode)).toBe("");
});

test(`a project compiles with TypeScript ${oldest}, the oldest that README names`, async () => {
  const readme = readFileSync(join(inject("installed"), "node_modules", "iova", "README.md"), "utf8");
  expect(readme).toContain(`(TypeScript ${oldest} or later)`);
  const folder = fetched(`typescript-${oldest}`, `typescript@${oldest}.5`, ["bin", "lib", "package.json"]);
  expect(await compiled(join(folder, "bin", "tsc"), PROGRAM, ["nodenext", "nodenext", "module"])).toBe("");
});
