/** A table of declared registers for documentation. */
import type { ArraySpec, BlockSpec, NestedSpec, RegisterSpec } from "./declaration.js";

const HEAD = ["| offset | register | bits | access | reset | meaning |", "|---|---|---|---|---|---|"];

/** The registers of a block and their fields as a table in Markdown; an array is one row. */
export function registersToMarkdown(title: string, registers: BlockSpec): string {
  const lines = Object.entries(registers).flatMap(([name, spec]) => rowsOf(name, spec, 0, ""));
  return `${[`## ${title}`, "", ...HEAD, ...lines].join("\n")}\n`;
}

function rowsOf(
  name: string,
  spec: RegisterSpec | ArraySpec | NestedSpec,
  base: number,
  steps: string,
): string[] {
  switch (spec.kind) {
    case "block":
      return Object.entries(spec.registers).flatMap(([inner, each]) =>
        rowsOf(`${name}.${inner}`, each, base + spec.offset, steps),
      );
    case "array": {
      const step = ` + ${hex(spec.strideBytes)} × 0 to ${spec.count - 1}`;
      return rowsOf(`${name}[]`, spec.element, base, steps + step);
    }
    case "register":
      return [registerRow(name, spec, base, steps), ...fieldRows(name, spec)];
  }
}

function registerRow(name: string, spec: RegisterSpec, base: number, steps: string): string {
  const { offset, width, access, reset, doc = "" } = spec;
  const value = reset === undefined ? "" : hex(reset);
  return `| ${hex(base + offset)}${steps} | ${name} | ${width} | ${access} | ${value} | ${cell(doc)} |`;
}

function fieldRows(register: string, spec: RegisterSpec): string[] {
  return Object.entries(spec.fields).map(([name, { high, low, access, doc, names }]) => {
    const values = [...(names ?? [])].map(([value, number]) => `${number}: ${value}`).join(", ");
    const meaning = [doc ?? "", values].filter((part) => part !== "").join("; ");
    const range = high === low ? `${low}` : `${high}:${low}`;
    return `| | ${register}.${name} | ${range} | ${access ?? spec.access} | | ${cell(meaning)} |`;
  });
}

/** A text in one cell: bars and line ends would end it. */
function cell(text: string): string {
  return text.replaceAll("|", "\\|").replaceAll(/\s*\n\s*/g, " ");
}

function hex(value: number | bigint): string {
  return `${value.toString(16)}h`;
}
