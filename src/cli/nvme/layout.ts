/** Makes text of JSON: names and values, tables of equal objects, and what is below them. */
import { table } from "../table.js";
import { type Json, pairs } from "./output.js";

type Fields = Readonly<Record<string, Json | undefined>>;

function isFields(value: Json | undefined): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

const isPlain = (value: Json | undefined): boolean => typeof value !== "object" || value === null;
const cell = (value: Json | undefined): string =>
  Array.isArray(value) ? value.join(" ") : value === undefined ? "" : String(value);

/** A list of objects: a table if they are flat, otherwise one after the other. */
function listText(list: readonly Fields[]): string {
  const names = [...new Set(list.flatMap(Object.keys))];
  if (list.every((each) => Object.values(each).every(isPlain))) {
    return table(
      names,
      list.map((each) => names.map((name) => cell(each[name]))),
      0,
    );
  }
  return list.map((each, index) => `[${index}]\n${layout(each)}`).join("\n");
}

/** Text of a JSON value. */
export function layout(value: Json): string {
  if (Array.isArray(value)) return value.every(isFields) ? listText(value) : cell(value);
  if (!isFields(value)) return cell(value);
  const parts = Object.entries(value).filter(([, each]) => each !== undefined);
  const isBelow = ([, each]: readonly [string, Json | undefined]): boolean =>
    isFields(each) || (Array.isArray(each) && each.some(isFields));
  const flat = parts.filter((part) => !isBelow(part)).map(([name, each]) => [name, cell(each)] as const);
  const below = parts.filter(isBelow).map(([name, each]) => `${name}:\n${layout(each ?? null)}`);
  return [...(flat.length === 0 ? [] : [pairs(flat)]), ...below].join("\n");
}
