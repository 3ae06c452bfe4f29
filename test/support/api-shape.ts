/** What the package exports, read from the sources: classes, members, functions, and the types of their parameters. */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import ts from "typescript";
import { packageRoot } from "../../guest/paths.js";

/** A type, as far as a generator of values needs it. */
export type Shape =
  | { readonly is: "number" | "bigint" | "string" | "boolean" | "undefined" | "null" | "function" | "any" }
  | { readonly is: "literal"; readonly value: string | number | boolean }
  | { readonly is: "union"; readonly of: readonly Shape[] }
  | { readonly is: "list"; readonly of: Shape }
  | { readonly is: "tuple"; readonly of: readonly Shape[] }
  | {
      readonly is: "object";
      readonly props: Readonly<Record<string, Shape>>;
      /** Whether some property can be left out. */
      readonly leavesOut: boolean;
      readonly bases: readonly Shape[];
    }
  /** A class, an interface, an alias, or a name of JavaScript. */
  | { readonly is: "name"; readonly name: string };

/** A parameter of a method, a constructor or a function. */
export interface ParameterShape {
  readonly name: string;
  readonly shape: Shape;
  readonly optional: boolean;
  readonly rest: boolean;
}

/** A method, a constructor or a function. */
export type Callable = readonly ParameterShape[];

export interface ClassShape {
  readonly base: string | undefined;
  /** Undefined if programs must not construct it. */
  readonly construct: Callable | undefined;
  readonly methods: Readonly<Record<string, Callable>>;
  readonly statics: Readonly<Record<string, Callable>>;
  /** Getters and public fields. */
  readonly readable: readonly string[];
  readonly setters: Readonly<Record<string, Callable>>;
}

/** All that a fuzz program needs to know about the package. */
export interface ApiShape {
  readonly classes: Readonly<Record<string, ClassShape>>;
  readonly types: Readonly<Record<string, Shape>>;
  /** Exported functions by name. */
  readonly functions: Readonly<Record<string, Callable>>;
  /** The file and name of each exported value. */
  readonly exported: readonly { readonly file: string; readonly name: string }[];
  /** The names of all that is exported, types too. */
  readonly exportedNames: readonly string[];
}

const ANY: Shape = { is: "any" };
const KEYWORDS = new Map<ts.SyntaxKind, Shape>([
  [ts.SyntaxKind.NumberKeyword, { is: "number" }],
  [ts.SyntaxKind.BigIntKeyword, { is: "bigint" }],
  [ts.SyntaxKind.StringKeyword, { is: "string" }],
  [ts.SyntaxKind.BooleanKeyword, { is: "boolean" }],
  [ts.SyntaxKind.UndefinedKeyword, { is: "undefined" }],
  [ts.SyntaxKind.VoidKeyword, { is: "undefined" }],
]);
/** Utility types that stand for their first argument here. */
const TRANSPARENT = new Set(["Omit", "Pick", "Readonly", "Required", "Exclude", "NonNullable"]);

function shapeOf(node: ts.TypeNode | undefined): Shape {
  if (node === undefined) return ANY;
  const keyword = KEYWORDS.get(node.kind);
  if (keyword !== undefined) return keyword;
  if (ts.isParenthesizedTypeNode(node) || ts.isTypeOperatorNode(node)) return shapeOf(node.type);
  if (ts.isUnionTypeNode(node)) return { is: "union", of: node.types.map(shapeOf) };
  if (ts.isIntersectionTypeNode(node))
    return { is: "object", props: {}, leavesOut: false, bases: node.types.map(shapeOf) };
  if (ts.isArrayTypeNode(node)) return { is: "list", of: shapeOf(node.elementType) };
  if (ts.isTupleTypeNode(node)) {
    return {
      is: "tuple",
      of: node.elements.map((one) => shapeOf(ts.isNamedTupleMember(one) ? one.type : one)),
    };
  }
  if (ts.isFunctionTypeNode(node)) return { is: "function" };
  if (ts.isTypeLiteralNode(node)) return { is: "object", ...propsOf(node.members), bases: [] };
  if (ts.isLiteralTypeNode(node)) {
    const { literal } = node;
    if (literal.kind === ts.SyntaxKind.NullKeyword) return { is: "null" };
    if (ts.isStringLiteral(literal)) return { is: "literal", value: literal.text };
    if (ts.isNumericLiteral(literal)) return { is: "literal", value: Number(literal.text) };
    return { is: "boolean" };
  }
  if (ts.isTypeReferenceNode(node) || ts.isExpressionWithTypeArguments(node)) {
    const name = (ts.isTypeReferenceNode(node) ? node.typeName : node.expression).getText();
    const [first] = node.typeArguments ?? [];
    if (name === "Partial") return { is: "object", props: {}, leavesOut: true, bases: [shapeOf(first)] };
    if (TRANSPARENT.has(name)) return shapeOf(first);
    if (/^(Readonly)?Array$|^Iterable$/.test(name)) return { is: "list", of: shapeOf(first) };
    return { is: "name", name };
  }
  return ANY;
}

function propsOf(members: ts.NodeArray<ts.TypeElement>): {
  readonly props: Record<string, Shape>;
  readonly leavesOut: boolean;
} {
  const props: Record<string, Shape> = {};
  let leavesOut = false;
  for (const member of members) {
    if (member.questionToken !== undefined) leavesOut = true;
    if (member.name === undefined || !ts.isIdentifier(member.name)) continue;
    props[member.name.text] = ts.isPropertySignature(member) ? shapeOf(member.type) : { is: "function" };
  }
  return { props, leavesOut };
}

function parametersOf(node: ts.SignatureDeclarationBase): Callable {
  return node.parameters.map((parameter) => ({
    name: parameter.name.getText(),
    shape:
      parameter.type === undefined && parameter.initializer !== undefined
        ? guess(parameter.initializer)
        : shapeOf(parameter.type),
    optional: parameter.questionToken !== undefined || parameter.initializer !== undefined,
    rest: parameter.dotDotDotToken !== undefined,
  }));
}

function guess(initializer: ts.Expression): Shape {
  if (ts.isStringLiteral(initializer)) return { is: "string" };
  if (ts.isBigIntLiteral(initializer)) return { is: "bigint" };
  if (initializer.kind === ts.SyntaxKind.TrueKeyword || initializer.kind === ts.SyntaxKind.FalseKeyword)
    return { is: "boolean" };
  return { is: "number" };
}

function isPublic(member: ts.Declaration): boolean {
  const hidden = ts.ModifierFlags.Private | ts.ModifierFlags.Protected;
  if ((ts.getCombinedModifierFlags(member) & hidden) !== 0) return false;
  return ts.getJSDocTags(member).every(({ tagName }) => tagName.text !== "internal");
}

function classShape(node: ts.ClassDeclaration): ClassShape {
  let construct: Callable | undefined = [];
  const methods: Record<string, Callable> = {};
  const statics: Record<string, Callable> = {};
  const setters: Record<string, Callable> = {};
  const readable: string[] = [];
  const [extended] =
    node.heritageClauses?.find(({ token }) => token === ts.SyntaxKind.ExtendsKeyword)?.types ?? [];
  if (extended !== undefined) construct = undefined;
  if ((ts.getCombinedModifierFlags(node) & ts.ModifierFlags.Abstract) !== 0) construct = undefined;
  for (const member of node.members) {
    if (ts.isConstructorDeclaration(member)) {
      construct = isPublic(member) ? parametersOf(member) : undefined;
      for (const parameter of member.parameters) {
        if (ts.isParameterPropertyDeclaration(parameter, member) && isPublic(parameter))
          readable.push(parameter.name.getText());
      }
    }
    if (!isPublic(member) || member.name === undefined || !ts.isIdentifier(member.name)) continue;
    const name = member.name.text;
    if (ts.isMethodDeclaration(member)) {
      const isStatic = (ts.getCombinedModifierFlags(member) & ts.ModifierFlags.Static) !== 0;
      (isStatic ? statics : methods)[name] = parametersOf(member);
    } else if (ts.isSetAccessorDeclaration(member)) setters[name] = parametersOf(member);
    else readable.push(name);
  }
  return { base: extended?.expression.getText(), construct, methods, statics, readable, setters };
}

/** Reads the sources. */
export function apiShape(): ApiShape {
  const root = packageRoot();
  const classes: Record<string, ClassShape> = {};
  const types: Record<string, Shape> = {};
  const all: Record<string, Callable> = {};
  const exported: { file: string; name: string }[] = [];
  const exportedNames: string[] = [];
  const functions: Record<string, Callable> = {};
  const files = readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" }).filter((name) =>
    name.endsWith(".ts"),
  );
  for (const file of files) {
    const path = join("src", file);
    const withParents = true; // for doc comments
    const source = ts.createSourceFile(
      path,
      readFileSync(join(root, path), "utf8"),
      ts.ScriptTarget.Latest,
      withParents,
    );
    for (const node of source.statements) {
      if (ts.isClassDeclaration(node) && node.name !== undefined) classes[node.name.text] = classShape(node);
      else if (ts.isInterfaceDeclaration(node)) {
        const bases = (node.heritageClauses ?? []).flatMap(({ types: list }) => list.map(shapeOf));
        types[node.name.text] = { is: "object", ...propsOf(node.members), bases };
      } else if (ts.isTypeAliasDeclaration(node)) types[node.name.text] = shapeOf(node.type);
      else if (ts.isFunctionDeclaration(node) && node.name !== undefined)
        all[`${path} ${node.name.text}`] = parametersOf(node);
    }
    if (path !== join("src", "index.ts") && dirname(path) !== join("src", "doors")) continue;
    for (const node of source.statements) {
      if (!ts.isExportDeclaration(node) || node.exportClause === undefined) continue;
      const { moduleSpecifier, exportClause } = node;
      if (
        moduleSpecifier === undefined ||
        !ts.isStringLiteral(moduleSpecifier) ||
        !ts.isNamedExports(exportClause)
      )
        continue;
      for (const element of exportClause.elements) {
        exportedNames.push((element.propertyName ?? element.name).text);
        if (element.isTypeOnly || node.isTypeOnly) continue;
        exported.push({
          file: join(dirname(path), moduleSpecifier.text.replace(/\.js$/, ".ts")),
          name: (element.propertyName ?? element.name).text,
        });
      }
    }
  }
  for (const { file, name } of exported) {
    const callable = all[`${file} ${name}`];
    if (callable !== undefined) functions[name] = callable;
  }
  return { classes, types, functions, exported, exportedNames };
}
