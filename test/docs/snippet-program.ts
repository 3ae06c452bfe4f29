/** Makes a program of a snippet: imports or creates what it uses without declaring it, as names.ts says. */
import ts from "typescript";
import type { ExportedName } from "./doors.js";
import type { Fence } from "./markdown.js";
import { provided } from "./names.js";

/** A snippet with what it needs before it. */
export interface SnippetProgram {
  readonly text: string;
  /** Number of lines before the snippet's first. */
  readonly addedLines: number;
}

/** Names that the code uses and doesn't declare in any scope. */
export function freeNames(code: string): Set<string> {
  const source = ts.createSourceFile("snippet.ts", code, ts.ScriptTarget.Latest, true);
  const used = new Set<string>();
  const declared = new Set<string>();
  const visit = (node: ts.Node): void => {
    if (ts.isIdentifier(node)) {
      const { parent } = node;
      const isMember =
        (ts.isPropertyAccessExpression(parent) && parent.name === node) ||
        (ts.isQualifiedName(parent) && parent.right === node) ||
        (ts.isPropertyAssignment(parent) && parent.name === node) ||
        (ts.isBindingElement(parent) && parent.propertyName === node) ||
        ts.isPropertySignature(parent) ||
        ts.isMethodDeclaration(parent) ||
        ts.isPropertyDeclaration(parent);
      const isDeclaration =
        ((ts.isVariableDeclaration(parent) ||
          ts.isParameter(parent) ||
          ts.isBindingElement(parent) ||
          ts.isFunctionDeclaration(parent) ||
          ts.isFunctionExpression(parent) ||
          ts.isClassDeclaration(parent)) &&
          parent.name === node) ||
        ts.isImportSpecifier(parent) ||
        ts.isImportClause(parent) ||
        ts.isNamespaceImport(parent) ||
        ts.isInterfaceDeclaration(parent) ||
        ts.isTypeAliasDeclaration(parent);
      if (isDeclaration) declared.add(node.text);
      else if (!isMember) used.add(node.text);
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return new Set([...used].filter((name) => !declared.has(name)));
}

export function snippetProgram(fence: Fence, exported: ReadonlyMap<string, ExportedName>): SnippetProgram {
  const free = freeNames(fence.code);
  const lines = [`import * as $iova from "iova";`];
  for (const name of free) {
    const from = exported.get(name);
    if (from === undefined || Object.hasOwn(provided, name)) continue;
    lines.push(`import ${from.isValue ? "" : "type "}{ ${name} } from "${from.door}";`);
  }
  const wanted = new Set<string>();
  const want = (name: string): void => {
    if (wanted.has(name)) return;
    wanted.add(name);
    for (const need of provided[name]?.needs ?? []) want(need);
  };
  for (const name of free) if (Object.hasOwn(provided, name)) want(name);
  for (const [name, { value, keep }] of Object.entries(provided)) {
    if (!wanted.has(name)) continue;
    lines.push(`${keep ?? "const"} $${name} = ${value};`);
    if (free.has(name)) lines.push(`const ${name} = $${name};`);
  }
  return { text: `${lines.join("\n")}\n${fence.code}\nexport {};\n`, addedLines: lines.length };
}
