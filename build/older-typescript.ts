/**
 * Makes declarations that TypeScript 5.4 to 5.6 read, too. There typed arrays have no type parameter: `Uint8Array<SharedArrayBuffer>`
 * is an error and becomes `any`. An alias is the exact type where it exists, and the plain one elsewhere.
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** @param folder of declarations, without its subfolders */
export function declareForOlder(folder: string): void {
  for (const name of readdirSync(folder).filter((each) => each.endsWith(".d.ts"))) {
    const file = join(folder, name);
    writeFileSync(file, withoutTypedArrayParameters(readFileSync(file, "utf8")));
  }
}

/** @param text of a declaration file that exports by list, so that further declarations in it are private */
function withoutTypedArrayParameters(text: string): string {
  const aliases = new Map<string, string>();
  const plain = text.replace(
    /\b(\w+Array)<(ArrayBuffer|SharedArrayBuffer|ArrayBufferLike)>/g,
    (exact, array, buffer) => {
      if (buffer === "ArrayBufferLike") return array;
      const alias = `${array}Of${buffer}`;
      aliases.set(alias, aliasFor(alias, exact, array));
      return alias;
    },
  );
  return [plain, ...aliases.values()].join("\n");
}

/** The comparison is of objects: TypeScript decides none with the bare type of an error. */
function aliasFor(alias: string, exact: string, array: string): string {
  return (
    `// @ts-ignore: any before TypeScript 5.7\ntype ${alias}57 = ${exact};\n` +
    `type ${alias} = { a: 0 } extends { a: 1 & ${alias}57 } ? ${array} : ${alias}57;`
  );
}
