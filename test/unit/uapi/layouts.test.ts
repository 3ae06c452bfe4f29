/**
 * Compares the declarations of the uapi modules with the kernel's headers: a C program prints size and offset of every
 * struct and field, and the value of every request and constant. New exports are included automatically.
 */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, beforeEach, describe, expect, test } from "vitest";
import { findProgram } from "../../../guest/paths.js";
import { findKernelHeaders } from "../../support/kernel-headers.js";
import { run } from "../../support/run.js";

/** A struct's size, and the offset and size of each field. */
interface Layout {
  readonly sizeBytes: number;
  readonly fields: Readonly<Record<string, { readonly offset: number; readonly sizeBytes: number }>>;
}

/** Exports of a uapi module, by their names in the C header. */
interface Declarations {
  readonly structs: Record<string, Layout>;
  /** Requests, and values of macros and enumerators. They are unsigned, so that 1 << 31 is unambiguous. */
  readonly requests: Record<string, bigint>;
  readonly constants: Record<string, bigint>;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}

function layoutOf(sizeBytes: number, fields: object, offsets: object): Layout {
  const offsetOf = new Map<string, unknown>(Object.entries(offsets));
  const entries = Object.entries(fields).map(([name, type]: [string, unknown]) => {
    const offset = offsetOf.get(name);
    const size = isObject(type) ? type["sizeBytes"] : undefined;
    if (typeof offset !== "number" || typeof size !== "number") throw new TypeError(`${name} is no field`);
    return [name, { offset, sizeBytes: size }] as const;
  });
  return { sizeBytes, fields: Object.fromEntries(entries) };
}

/** -1 and 1 << 31 as C has them in an unsigned int. */
function unsigned(value: number | bigint): bigint {
  return value < 0 ? BigInt.asUintN(32, BigInt(value)) : BigInt(value);
}

/** Sorts the exports that have a name of the header. An unknown kind is an error, because it would go unchecked. */
function declarationsOf(module: object): Declarations {
  const found: Declarations = { structs: {}, requests: {}, constants: {} };
  for (const [name, value] of Object.entries(module) as [string, unknown][]) {
    if (!/^(vfio|iommu|udmabuf)/i.test(name)) continue;
    if (typeof value === "number" || typeof value === "bigint") found.constants[name] = unsigned(value);
    else if (!isObject(value) || value["name"] !== name)
      throw new TypeError(`${name} is not called so itself`);
    else if (typeof value["number"] === "number") found.requests[name] = unsigned(value["number"]);
    else if (isObject(value["fields"]) && isObject(value["offsets"])) {
      found.structs[name] = layoutOf(Number(value["sizeBytes"]), value["fields"], value["offsets"]);
    } else throw new TypeError(`${name} is neither struct, request nor constant`);
  }
  return found;
}

/** The modules by their path below src/: every uapi*.ts of the folders that call the kernel. */
const declared = new Map<string, Declarations>();
for (const folder of ["dma", "iommufd", "vfio", "vfio-legacy"]) {
  const path = fileURLToPath(new URL(`../../../src/${folder}`, import.meta.url));
  for (const name of readdirSync(path).filter((name) => /^uapi.*\.ts$/.test(name))) {
    const module: unknown = await import(join(path, name));
    if (isObject(module)) declared.set(`${folder}/${name}`, declarationsOf(module));
  }
}

/** C that prints, one per line: `struct size`, `struct field offset size`, `name value`. */
function program(all: readonly Declarations[]): string {
  const lines: string[] = [];
  const print = (format: string, ...values: string[]): void => {
    lines.push(`\tprintf("${format}\\n", ${values.map((value) => `VALUE(${value})`).join(", ")});`);
  };
  for (const { structs, requests, constants } of all) {
    for (const [name, { fields }] of Object.entries(structs)) {
      print(`${name} %llu`, `sizeof(struct ${name})`);
      for (const field of Object.keys(fields)) {
        const size = `sizeof(((struct ${name} *)0)->${field})`;
        print(`${name} ${field} %llu %llu`, `offsetof(struct ${name}, ${field})`, size);
      }
    }
    for (const name of [...Object.keys(requests), ...Object.keys(constants)]) print(`${name} %llu`, name);
  }
  return `#include <stddef.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <linux/iommufd.h>
#include <linux/udmabuf.h>
#include <linux/vfio.h>

#define VALUE(x) (sizeof(x) == sizeof(int) ? (unsigned int)(x) : (unsigned long long)(x))

int main(void)
{
${lines.join("\n")}
	return 0;
}
`;
}

/** The program's output: each line's words up to the last name, then its numbers. */
async function askCompiler(headers: string): Promise<Map<string, string>> {
  const folder = mkdtempSync(join(tmpdir(), "iova-uapi-"));
  try {
    const source = join(folder, "layouts.c");
    const executable = join(folder, "layouts");
    writeFileSync(source, program([...declared.values()]));
    const compiled = await run("cc", ["-Wall", `-I${join(headers, "include")}`, "-o", executable, source]);
    // Names what the headers lack.
    if (compiled.status !== 0) throw new Error(compiled.stderr);
    const printed = await run(executable, []);
    if (printed.status !== 0) throw new Error(`the compiled program ended with ${printed.status}`);
    const lines = printed.stdout.trimEnd().split("\n");
    return new Map(
      lines.map((line) => {
        const [, names = "", numbers = ""] = /^(.*?)((?: \d+)+)$/.exec(line) ?? [];
        return [names, numbers.trim()];
      }),
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
}

describe("declarations of the kernel's interface", () => {
  let missing: string | undefined;
  let printed: Map<string, string>;

  beforeAll(async () => {
    const headers = findKernelHeaders();
    if (headers === undefined) {
      missing = "no kernel headers: `npm run guest -- --prepare` makes them, or set IOVA_KERNEL_HEADERS";
    } else if (findProgram("cc") === undefined) missing = "no C compiler (cc)";
    else printed = await askCompiler(headers);
    // The default reporter doesn't show why a test was skipped.
    if (missing !== undefined) console.warn(`not compared with the kernel's headers: ${missing}`);
  });

  // Without the headers there is nothing to compare with. CI must have them.
  beforeEach((context) => {
    if (missing === undefined) return;
    if (process.env["CI"]) throw new Error(missing);
    context.skip(missing);
  });

  /** The same names with the compiler's values. */
  function asCompiled({ structs, requests, constants }: Declarations): Declarations {
    const number = (names: string): bigint => BigInt(printed.get(names) ?? "");
    const values = (names: object): Record<string, bigint> =>
      Object.fromEntries(Object.keys(names).map((name) => [name, number(name)]));
    const compiled: Record<string, Layout> = {};
    for (const [name, { fields }] of Object.entries(structs)) {
      const layouts = Object.keys(fields).map((field) => {
        const [offset, sizeBytes] = (printed.get(`${name} ${field}`) ?? "").split(" ").map(Number);
        return [field, { offset, sizeBytes }];
      });
      compiled[name] = { sizeBytes: Number(number(name)), fields: Object.fromEntries(layouts) };
    }
    return { structs: compiled, requests: values(requests), constants: values(constants) };
  }

  test.each([...declared])(
    "equal the kernel's struct layouts, ioctl numbers and constants: %s",
    (_module, ours) => {
      expect(ours).toEqual(asCompiled(ours));
    },
  );
});
