/**
 * Every public function, class member and table has a test that names it. A name counts as tested when it stands in a test, its
 * support files or the programs it starts. That is a floor, not a proof: it finds what was forgotten altogether.
 */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import ts from "typescript";
import { expect, test } from "vitest";
import { packageRoot } from "../../guest/paths.js";

const root = packageRoot();

/** Public only so that other folders of the library can call them, which many tests do through the library. */
const calledByLibrary = new Set([
  "ContainerMapper.mapPages",
  "ContainerMapper.unmapPages",
  "Ioas.mapPages",
  "Ioas.mapPagesAt",
  "Ioas.unmapPages",
  "IoasMapper.mapPages",
  "IoasMapper.mapsFilesOnly",
  "IoasMapper.unmapPages",
  "MappedMemory.assertUsable",
  "MappedMemory.ofRegion",
  "ProtectionInformation.referenceTagBits",
  "VfioContainer.assertReady",
  "VfioContainer.mapPages",
  "VfioContainer.occupancy",
  "VfioContainer.unmapPages",
  "VfioDevice.assertUsable",
  "VfioDevice.fromGroup",
  "VfioUserMapper.mapsFilesOnly",
  "VfioUserMapper.takeDirty",
]);

/** Constants of these files are compared with the kernel's headers by test/unit/uapi/. */
const isKernelHeader = (file: string): boolean => /\/uapi[\w-]*\.ts$/.test(file);

function filesIn(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts"))
    .map((name) => join(root, folder, name));
}

const parsed = new Map<string, ts.SourceFile>();

function parse(file: string): ts.SourceFile {
  let source = parsed.get(file);
  if (source === undefined) {
    const withParents = true; // for doc comments
    source = ts.createSourceFile(file, readFileSync(file, "utf8"), ts.ScriptTarget.Latest, withParents);
    parsed.set(file, source);
  }
  return source;
}

/** Identifiers and short strings of all tests, without those of import lines. */
function namesInTests(): Set<string> {
  const names = new Set<string>();
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) return;
    if (ts.isIdentifier(node) || ts.isStringLiteralLike(node)) names.add(node.text);
    ts.forEachChild(node, visit);
  };
  const own = join(root, "test/unit/exports-tested.test.ts");
  for (const file of filesIn("test")) if (file !== own) visit(parse(file));
  return names;
}

/** What the package exports: the file that declares it, and its name there. */
function exportsOfPackage(): { readonly file: string; readonly name: string }[] {
  const entryPoints = [join(root, "src/index.ts"), ...filesIn("src/doors")];
  return entryPoints.flatMap((entry) =>
    parse(entry).statements.flatMap((statement) => {
      if (!ts.isExportDeclaration(statement)) return [];
      const { moduleSpecifier, exportClause } = statement;
      if (moduleSpecifier === undefined || !ts.isStringLiteral(moduleSpecifier)) return [];
      if (exportClause === undefined || !ts.isNamedExports(exportClause)) return [];
      const file = join(dirname(entry), moduleSpecifier.text.replace(/\.js$/, ".ts"));
      return exportClause.elements.map(({ propertyName, name }) => ({
        file,
        name: (propertyName ?? name).text,
      }));
    }),
  );
}

function isPublic(member: ts.Declaration): boolean {
  const hidden = ts.ModifierFlags.Private | ts.ModifierFlags.Protected;
  if ((ts.getCombinedModifierFlags(member) & hidden) !== 0) return false;
  return ts.getJSDocTags(member).every(({ tagName }) => tagName.text !== "internal");
}

/** Names of a class's public members, parameter properties included. */
function membersOf(declaration: ts.ClassDeclaration): string[] {
  return declaration.members.flatMap((member) => {
    const found: readonly (ts.ClassElement | ts.ParameterDeclaration)[] = ts.isConstructorDeclaration(member)
      ? member.parameters.filter((parameter) => ts.isParameterPropertyDeclaration(parameter, member))
      : [member];
    return found.flatMap((one) =>
      one.name !== undefined && ts.isIdentifier(one.name) && isPublic(one) ? [one.name.text] : [],
    );
  });
}

/** The names of an export that need a test: its members if it is a class, itself if it is another value. */
function namesToTest(file: string, name: string): { readonly shown: string; readonly name: string }[] {
  const own = parse(file).statements.flatMap((statement): readonly ts.Node[] =>
    ts.isVariableStatement(statement) ? statement.declarationList.declarations : [statement],
  );
  for (const node of own) {
    if (ts.isClassDeclaration(node) && node.name?.text === name) {
      return membersOf(node).map((member) => ({ shown: `${name}.${member}`, name: member }));
    }
    if (ts.isFunctionDeclaration(node) && node.name?.text === name) return [{ shown: name, name }];
    if (ts.isVariableDeclaration(node) && ts.isIdentifier(node.name) && node.name.text === name) {
      return [{ shown: name, name }];
    }
  }
  return [];
}

test("a test names every public function, class member and table", () => {
  const tested = namesInTests();
  const forgotten = exportsOfPackage()
    .filter(({ file }) => !isKernelHeader(file))
    .flatMap(({ file, name }) =>
      namesToTest(file, name)
        .filter((one) => !tested.has(one.name) && !calledByLibrary.has(one.shown))
        .map(({ shown }) => `${relative(root, file)}: ${shown}`),
    );
  expect([...new Set(forgotten)]).toEqual([]);
});

test("the exceptions are members that exist and that no test names", () => {
  const tested = namesInTests();
  const untested = exportsOfPackage()
    .flatMap(({ file, name }) => namesToTest(file, name))
    .filter(({ name }) => !tested.has(name))
    .map(({ shown }) => shown);
  expect([...calledByLibrary].filter((name) => !untested.includes(name))).toEqual([]);
});
