/**
 * Every TypeScript and JavaScript snippet of README.md and docs/ is type-checked, and run against emulated devices unless its
 * info string says `no-run`. CONTRIBUTING.md tells how to write one.
 */
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import ts from "typescript";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { packageRoot } from "../../guest/paths.js";
import type { NvmeEmulatorOptions } from "../../src/emulator/nvme/options.js";
import type { RunningEmulator } from "../../src/emulator/worker.js";
import { type CompiledTree, compileTree } from "../support/compiled.js";
import { emulate } from "../support/emulators.js";
import { compilerOptions, doors, type ExportedName, exportedNames } from "./doors.js";
import { type Fence, fencesOf, pages } from "./markdown.js";
import { type SnippetProgram, snippetProgram } from "./snippet-program.js";

const root = packageRoot();
const MIB = 1024 * 1024;
const RUN_MS = 60_000;

/** Controllers that a snippet selects by `on=NAME` in its info string; `plain` by default. */
const controllers: Readonly<Record<string, NvmeEmulatorOptions>> = {
  plain: { sizeBytes: 64 * MIB, cmbBytes: MIB, hostMemoryBytes: 4 * MIB, placementHandles: 4 },
  protected: { sizeBytes: 64 * MIB, metadataBytes: 8, protection: 1 },
  zoned: { sizeBytes: 64 * MIB, blockSizeBytes: 4096, zoned: true },
  roomy: { sizeBytes: 64 * MIB, capacityBytes: 2048 * MIB, anaGroups: 2 },
};
/** The words an info string may have after the language. */
const knownWords = ["no-run", ...Object.keys(controllers).map((name) => `on=${name}`)];
const wordOf = ({ words }: Fence, key: string): string | undefined =>
  words.find((word) => word.startsWith(`${key}=`))?.slice(key.length + 1);

const snippets = pages()
  .flatMap(fencesOf)
  .filter(({ language }) => language === "ts" || language === "js")
  // Edits of what `iova new-driver` writes: test/package/new-driver.test.ts makes them.
  .filter((fence) => wordOf(fence, "into") === undefined);
const placeOf = ({ page, line }: Fence): string => `${page}:${line}`;
/** Other snippets import the names that are given. */
const nameOf = (fence: Fence): string => wordOf(fence, "file") ?? `${placeOf(fence).replace(/\W/g, "-")}.ts`;
const fileOf = (fence: Fence): string => join(root, "test/docs", nameOf(fence));

const options = compilerOptions();
const doorFiles = doors(options);
let exported: ReadonlyMap<string, ExportedName>;
let base: ts.Program;
let tree: CompiledTree;
const running = new Map<string, Promise<RunningEmulator>>();

beforeAll(async () => {
  base = ts.createProgram([...doorFiles.values()], options);
  exported = exportedNames(base, doorFiles);
  const sources = [...doorFiles.values()].map((file) => relative(root, file));
  tree = compileTree(...sources, "src/emulator/worker-main.ts");
  // The snippets import the package by its name, as users do.
  const exportsMap = Object.fromEntries(
    [...doorFiles].map(([name, file]) => [
      name.replace(/^iova/, "."),
      `./${relative(root, file).replace(/\.ts$/, ".js")}`,
    ]),
  );
  const manifest = join(dirname(tree.file("package.ts")), "package.json");
  writeFileSync(manifest, JSON.stringify({ name: "iova", type: "module", exports: exportsMap }));
  mkdirSync(dirname(compiledName("any.ts")), { recursive: true });
  for (const fence of snippets)
    if (wordOf(fence, "file") !== undefined) writeFileSync(compiledName(nameOf(fence)), compiled(fence.code));
});

afterAll(async () => {
  for (const emulator of running.values()) await (await emulator).close();
  tree[Symbol.dispose]();
});

/** Starts the emulator for the first snippet that needs it; all snippets share it. */
async function addressOf(name: string): Promise<string> {
  let emulator = running.get(name);
  if (emulator === undefined) {
    emulator =
      name === "edu"
        ? emulate({ device: "edu", options: {} })
        : emulate({ device: "nvme", options: controllers[name] ?? {} });
    running.set(name, emulator);
  }
  return (await emulator).address;
}

function program(fence: Fence): SnippetProgram {
  return snippetProgram(fence, exported);
}

/** Path of a compiled snippet. */
function compiledName(name: string): string {
  return tree.file(`snippets/${name}`);
}

function compiled(text: string): string {
  const compilerOptions = { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 };
  return ts.transpileModule(text, { compilerOptions }).outputText;
}

/** Runs a program with the emulators' addresses instead of the page's. */
async function run(fence: Fence): Promise<{ status: number | null; output: string }> {
  const folder = mkdtempSync(join(tmpdir(), "iova-snippet-"));
  const asked = fence.words.find((word) => word.startsWith("on="))?.slice(3) ?? "plain";
  const nvme = await addressOf(asked);
  const edu = await addressOf("edu");
  if (!/startEmulator\(|VfioUserServer\(/.test(fence.code)) {
    symlinkSync(nvme.replace("vfio-user:", ""), join(folder, "nvme.sock"));
    symlinkSync(edu.replace("vfio-user:", ""), join(folder, "edu.sock"));
  }
  const text = program(fence)
    .text.replace(/\/(?:tmp|run|var\/tmp)\/(?=[\w.-]+)/g, `${folder}/`)
    .replaceAll("0000:00:03.0", nvme)
    .replaceAll("0000:00:04.0", edu);
  const file = compiledName(nameOf(fence));
  writeFileSync(file, compiled(text));
  const child = spawn(process.execPath, [file], {
    cwd: folder,
    stdio: ["ignore", "pipe", "pipe"],
    timeout: RUN_MS / 2,
    killSignal: "SIGKILL",
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => (output += chunk));
  const status = await new Promise<number | null>((resolve) => child.once("close", resolve));
  rmSync(folder, { recursive: true, force: true });
  return { status, output };
}

test("snippets have only info strings that CONTRIBUTING.md describes", () => {
  const isKnown = (word: string): boolean => knownWords.includes(word) || /^file=[\w-]+\.ts$/.test(word);
  const wrong = snippets.filter(({ words }) => !words.every(isKnown));
  expect(wrong.map(placeOf)).toEqual([]);
  const names = snippets.map(nameOf);
  expect(names.filter((name, at) => names.indexOf(name) !== at)).toEqual([]);
});

test("all snippets pass the type checker", () => {
  const files = new Map(snippets.map((fence) => [fileOf(fence), { fence, ...program(fence) }]));
  const host = ts.createCompilerHost(options);
  const { getSourceFile, fileExists, readFile } = host;
  host.getSourceFile = (name, version, ...rest) => {
    const own = files.get(name);
    return own === undefined
      ? (base.getSourceFile(name) ?? getSourceFile(name, version, ...rest))
      : ts.createSourceFile(name, own.text, version);
  };
  host.fileExists = (name) => files.has(name) || fileExists(name);
  host.readFile = (name) => files.get(name)?.text ?? readFile(name);
  const whole = ts.createProgram([...files.keys()], options, host, base);
  const problems: string[] = [];
  for (const [name, { fence, addedLines }] of files) {
    const source = whole.getSourceFile(name);
    for (const { messageText, start = 0 } of [
      ...whole.getSyntacticDiagnostics(source),
      ...whole.getSemanticDiagnostics(source),
    ]) {
      const line = (source?.getLineAndCharacterOfPosition(start).line ?? 0) - addedLines + fence.line;
      problems.push(`${fence.page}:${line}: ${ts.flattenDiagnosticMessageText(messageText, "\n")}`);
    }
  }
  expect(problems).toEqual([]);
});

describe("the snippet", () => {
  test.each(
    snippets
      .filter(({ words }) => !words.includes("no-run"))
      .map((fence) => ({ fence, place: placeOf(fence) })),
  )(
    "$place runs against emulated devices",
    async ({ fence }) => {
      const { status, output } = await run(fence);
      if (status !== 0 || output.includes("Warning")) throw new Error(`status ${status}:\n${output}`);
    },
    RUN_MS,
  );
});
