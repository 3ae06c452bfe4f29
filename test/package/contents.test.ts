/** The contents of the tarball: no more than necessary, and no reference to a missing file. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { checkPackage, createPackageFromTarballData } from "@arethetypeswrong/core";
import { publint } from "publint";
import ts from "typescript";
import { expect, inject, test } from "vitest";
import { anchorsIn, linksIn } from "../docs/markdown.js";
import { runIn } from "./support/project.js";

const MAX_TARBALL_BYTES = 830_000;

const folder = join(inject("installed"), "node_modules", "iova");
const read = (path: string): string => readFileSync(join(folder, path), "utf8");
const files = readdirSync(folder, { recursive: true, encoding: "utf8" });

test("the tarball is smaller than 830 kB", () => {
  expect(inject("tarballBytes")).toBeLessThan(MAX_TARBALL_BYTES);
});

test("publint reports nothing", async () => {
  const { messages } = await publint({ pkgDir: folder, pack: false, strict: true });
  expect(messages.map(({ code, args }) => ({ code, args }))).toEqual([]);
});

test("arethetypeswrong finds only that require() of older Node versions doesn't load ES modules", async () => {
  const [tarball] = readdirSync(inject("installed")).filter((name) => name.endsWith(".tgz"));
  const data = readFileSync(join(inject("installed"), tarball ?? ""));
  const result = await checkPackage(createPackageFromTarballData(new Uint8Array(data)));
  if (result.types === false) throw new Error("arethetypeswrong finds no types");
  // node10 resolution doesn't support the exports map, which iova's entry points need.
  const problems = result.problems.filter(
    (problem) =>
      problem.kind !== "CJSResolvesToESM" &&
      !("resolutionKind" in problem && problem.resolutionKind === "node10"),
  );
  expect(problems).toEqual([]);
});

const pages = files.filter((name) => name.endsWith(".md") && !name.includes("node_modules"));

test.each(pages)("each link of %s leads to a file in the tarball, and to a heading that it has", (page) => {
  const broken = linksIn(read(page)).filter((target) => {
    const [path = "", anchor] = target.split("#");
    const file = path === "" ? page : join(dirname(page), path);
    if (!existsSync(join(folder, file))) return true;
    return anchor !== undefined && !anchorsIn(read(file)).has(anchor);
  });
  expect(broken).toEqual([]);
});

test("no declaration of a class says something of a member that isn't there", () => {
  const orphans: string[] = [];
  for (const name of files.filter((file) => file.startsWith("dist/lib/") && file.endsWith(".d.ts"))) {
    const source = ts.createSourceFile(name, read(name), ts.ScriptTarget.ES2022, true);
    for (const node of source.statements.filter(ts.isClassDeclaration)) {
      const { text } = source;
      const before = node.members.map(({ pos }) =>
        (ts.getLeadingCommentRanges(text, pos) ?? []).slice(0, -1),
      );
      const last = ts.getLeadingCommentRanges(text, node.members.end) ?? [];
      for (const { pos, end } of [...before.flat(), ...last])
        orphans.push(`${name}, ${node.name?.text}: ${text.slice(pos, end)}`);
    }
  }
  expect(orphans).toEqual([]);
});

test.each(["iova", "pci", "iommufd", "vfio", "vfio-user", "dma"])(
  "an import of the entry point %s loads neither zod nor the command line",
  (name) => {
    const loaded = new Set([`dist/lib/${name}.js`]);
    for (const file of loaded) {
      const imports = read(file).matchAll(/\bfrom ?"\.\/([^"]+)"/g);
      for (const [, path] of imports) loaded.add(`dist/lib/${path}`);
    }
    expect(loaded.size).toBeGreaterThan(2);
    for (const file of loaded) expect(read(file), file).not.toMatch(/ZodMini|Usage: iova/);
  },
);

const doors = ["dma", "emulator", "host", "iommufd", "nvme", "pci", "vfio", "vfio-user"];

test.each(["iova", ...doors.map((door) => `iova/${door}`)])(
  "an import of %s loads no native code; the first call does",
  async (name) => {
    const program = `
    import { readFileSync } from "node:fs";
    const loaded = () => /koffi.*[.]node/.test(readFileSync("/proc/self/maps", "utf8"));
    await import("${name}");
    const { MappedMemory } = await import("iova");
    const before = loaded();
    MappedMemory.anonymous(4096).close();
    console.log(before, loaded());
  `;
    const said = await runIn(inject("installed"), process.execPath, "--input-type=module", "-e", program);
    expect(said).toBe("false true\n");
  },
);

test("no file names a missing source map", () => {
  const named = files.filter(
    (name) => /\.[cm]?[jt]s$/.test(name) && read(name).includes("//# sourceMappingURL="),
  );
  expect(named).toEqual([]);
});

test("each file that the command line's help names is in the tarball", async () => {
  const cli = join(folder, "dist", "lib", "cli.js");
  const helps = [
    ["help"],
    ["compare", "--help"],
    ["emulate", "--help"],
    ["nvme", "--help"],
    ["nvme", "perf", "--help"],
  ];
  const texts = await Promise.all(helps.map((args) => runIn(folder, process.execPath, cli, ...args)));
  const named = texts.flatMap((text) => text.match(/\b(?:docs|examples|guest|dist)\/[\w./-]*\w/g) ?? []);
  expect(named.length).toBeGreaterThan(0);
  expect(named.filter((path) => !existsSync(join(folder, path)))).toEqual([]);
});

test("the tarball has the man page that package.json names", () => {
  const { man, version } = JSON.parse(read("package.json"));
  expect(read(man.replace("./", ""))).toContain(`"iova ${version}"`);
});

test("the tarball has the guest tool and the files that it reads", () => {
  for (const path of ["dist/lib/guest.js", "guest/init", "guest/kernel.config"])
    expect(files).toContain(path);
});
