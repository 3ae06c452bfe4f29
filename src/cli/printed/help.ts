/** The text of --help, made of descriptions. */
import { descriptions } from "../described/all.js";
import {
  type CommandDescription,
  type FlagOption,
  type OptionTable,
  STATUSES,
  type TermList,
  type ValueOption,
} from "../described/description.js";
import { nvmeDescription, nvmeDescriptions } from "../described/nvme.js";

/** Columns of a line. */
const WIDTH = 100;
/** The widest column of terms; a text goes below a wider term. */
const MAX_TERM = 26;

/** What --help prints of a command, or of a subcommand of nvme. */
export function helpText(command: CommandDescription): string {
  const names = Object.keys(command.aliases ?? {});
  const parts = [
    usageLines(command),
    ...command.text.map((each) => wrap(each, WIDTH).join("\n")),
    ...(names.length === 0 ? [] : [wrap(`Also: iova nvme ${names.join(", ")}.`, WIDTH).join("\n")]),
    ...(command === nvmeDescription ? [termLines(nvmeDescriptions.map(summaryTerm))] : []),
    ...(command.lists ?? []).map(listText),
    termLines(optionTerms(command.options)),
    `Examples:\n${termLines(command.examples.map((each) => [each.command, each.text]))}`,
    `Exit status:\n${termLines(statusesOf(command))}`,
  ];
  return `${parts.join("\n\n")}\n`;
}

/** What `iova help` prints. */
export function overviewText(): string {
  const closing =
    "iova COMMAND --help explains a command and its options; iova --version prints the version. A BDF is a PCI address such as " +
    "0000:00:03.0. Nothing is taken away from who uses it.";
  const parts = [
    "Usage: iova COMMAND [OPERANDS] [OPTIONS]",
    termLines(descriptions.map(summaryTerm)),
    wrap(closing, WIDTH).join("\n"),
  ];
  return `${parts.join("\n\n")}\n`;
}

/** Terms of a list, with their texts. */
export function listText({ title, terms }: TermList): string {
  return `${title}:\n${termLines(terms)}`;
}

export function statusesOf({ statuses }: CommandDescription): [string, string][] {
  return Object.entries({ ...STATUSES, ...statuses });
}

/** `--timeout MS, -t` and such, with their texts; --help is the last. */
export function optionTerms(options: OptionTable): [term: string, text: string][] {
  return [
    ...Object.entries(options).map(([name, option]): [string, string] => [
      optionTerm(name, option),
      option.text,
    ]),
    ["--help", "print this help"],
  ];
}

function optionTerm(name: string, option: FlagOption | ValueOption): string {
  const value = option.type === "boolean" ? "" : `${option.joined === true ? "=" : " "}${option.argument}`;
  return `--${name}${value}${option.short === undefined ? "" : `, -${option.short}`}`;
}

function summaryTerm({ name, operands, summary }: CommandDescription): [string, string] {
  return [`${name.replace(/^nvme (?=.)/, "")} ${operands}`.trimEnd(), summary];
}

function usageLines({ name, usage }: CommandDescription): string {
  return usage
    .map((each, index) => `${index === 0 ? "Usage:" : "      "} iova ${name} ${each}`.trimEnd())
    .join("\n");
}

function termLines(terms: readonly (readonly [term: string, text: string])[]): string {
  const widest = terms.reduce(
    (most, [term]) => (term.length <= MAX_TERM ? Math.max(most, term.length) : most),
    0,
  );
  const indent = " ".repeat(widest + 4);
  return terms
    .map(([term, text]) => {
      const lines = wrap(text, WIDTH - indent.length);
      const first = term.length <= widest ? `  ${term.padEnd(widest)}  ` : `  ${term}\n${indent}`;
      return first + lines.join(`\n${indent}`);
    })
    .join("\n");
}

/** Breaks a text between words. */
function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, line];
}
