/**
 * Each request, flag, feature, capability and other constant of the guest kernel's headers, found by the C compiler, is
 * declared under its own name in a uapi*.ts, or listed as not applicable. layouts.test.ts compares the values.
 */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, beforeEach, describe, expect, test } from "vitest";
import { findProgram } from "../../../guest/paths.js";
import { findKernelHeaders } from "../../support/kernel-headers.js";
import { notApplicable } from "../../support/not-applicable.js";
import { run } from "../../support/run.js";

const OURS = /^(VFIO|IOMMU|UDMABUF)/;

/** Exports of all uapi modules. */
async function declaredNames(): Promise<Set<string>> {
  const names = new Set<string>();
  for (const folder of ["dma", "iommufd", "vfio", "vfio-legacy"]) {
    const path = fileURLToPath(new URL(`../../../src/${folder}`, import.meta.url));
    for (const file of readdirSync(path).filter((name) => /^uapi.*\.ts$/.test(name))) {
      const module: unknown = await import(join(path, file));
      if (typeof module !== "object" || module === null) throw new TypeError(`${file} is no module`);
      for (const name of Object.keys(module)) names.add(name);
    }
  }
  return names;
}

/** Macros and enumerators of the headers. */
async function headerNames(headers: string): Promise<Set<string>> {
  const folder = mkdtempSync(join(tmpdir(), "iova-uapi-"));
  try {
    const source = join(folder, "names.c");
    writeFileSync(
      source,
      "#include <linux/iommufd.h>\n#include <linux/udmabuf.h>\n#include <linux/vfio.h>\n",
    );
    const preprocess = async (...options: string[]): Promise<string> => {
      const { status, stdout, stderr } = await run("cc", [
        "-E",
        ...options,
        `-I${join(headers, "include")}`,
        source,
      ]);
      if (status !== 0) throw new Error(stderr);
      return stdout;
    };
    const macros = (await preprocess("-dM")).matchAll(/^#define (\w+)/gm);
    const enums = (await preprocess("-P")).matchAll(/\benum\s*\w*\s*\{([^}]*)\}/g);
    const enumerators = [...enums].flatMap(([, body = ""]) => body.split(",").map((entry) => entry.trim()));
    const names = [
      ...[...macros].map(([, name = ""]) => name),
      ...enumerators.map((entry) => /^\w*/.exec(entry)?.[0] ?? ""),
    ];
    return new Set(names.filter((name) => OURS.test(name)));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Commands of iommufd are part of their requests: IOMMUFD_CMD_OPTION is in IOMMU_OPTION. */
const requestOf = (name: string): string => name.replace(/^IOMMUFD_CMD_/, "IOMMU_");

describe("the kernel's headers", () => {
  let missing: string | undefined;
  let kernel: Set<string>;
  let declared: Set<string>;

  beforeAll(async () => {
    const headers = findKernelHeaders();
    if (headers === undefined) {
      missing = "no kernel headers: `npm run guest -- --prepare` makes them, or set IOVA_KERNEL_HEADERS";
    } else if (findProgram("cc") === undefined) missing = "no C compiler (cc)";
    else kernel = await headerNames(headers);
    declared = await declaredNames();
    if (missing !== undefined) console.warn(`not compared with the kernel's headers: ${missing}`);
  });

  // Without the headers there is nothing to compare with. CI must have them.
  beforeEach((context) => {
    if (missing === undefined) return;
    if (process.env["CI"]) throw new Error(missing);
    context.skip(missing);
  });

  const excused = (name: string): boolean => notApplicable.some(({ names }) => names.test(name));

  test("are read whole", () => {
    expect(kernel.size).toBeGreaterThan(300);
    for (const name of [
      "IOMMU_IOAS_MAP",
      "IOMMUFD_CMD_OPTION",
      "VFIO_DEVICE_FEATURE_DMA_BUF",
      "VFIO_REGION_INFO_CAP_TYPE",
      "UDMABUF_CREATE",
    ]) {
      expect(kernel).toContain(name);
    }
  });

  test("have only names that the library declares or lists as not applicable", () => {
    const unknown = [...kernel].filter((name) => !declared.has(requestOf(name)) && !excused(name));
    expect(unknown.sort()).toEqual([]);
  });

  test("have each name that is listed as not applicable, and the library doesn't declare it", () => {
    for (const { names, reason } of notApplicable) {
      expect(reason).not.toBe("");
      const meant = [...kernel].filter((name) => names.test(name));
      expect(meant.length, String(names)).toBeGreaterThan(0);
      expect(meant.filter((name) => declared.has(requestOf(name)))).toEqual([]);
    }
  });
});
