/** The page iova(1), made of descriptions. The build writes it to man/iova.1. */
import { descriptions } from "../described/all.js";
import { type CommandDescription, type OptionTable, STATUSES } from "../described/description.js";
import { controllerOptions, jsonOptions, yesOption } from "../described/nvme/common.js";
import { nvmeDescription, nvmeDescriptions } from "../described/nvme.js";
import { optionTerms, statusesOf } from "./help.js";

/** What many subcommands of nvme have. */
const sharedOptions: OptionTable = { ...jsonOptions, ...controllerOptions, yes: yesOption };

/** @param version of the package */
export function manPage(version: string): string {
  const lines = [
    `.TH IOVA 1 "" "iova ${roff(version)}" "User Commands"`,
    ".SH NAME",
    "iova \\- the IOMMU and PCI functions for programs in user space",
    ".SH SYNOPSIS",
    ".B iova",
    ".I COMMAND",
    "[\\fIOPERANDS\\fR] [\\fIOPTIONS\\fR]",
    ".SH DESCRIPTION",
    roff(
      "Shows the PCI functions of this host, binds them to VFIO drivers, and uses them from user space through the IOMMU. Results go to " +
        "standard output, errors in one line to standard error.",
    ),
    ".SH COMMANDS",
    ...descriptions.flatMap(commandLines),
    ".SH EXIT STATUS",
    ...Object.entries(STATUSES).flatMap(termLines),
    ".SH SEE ALSO",
    roff("lspci(8), modprobe(8), nvme(1), udev(7)"),
  ];
  return `${lines.join("\n")}\n`;
}

function commandLines(command: CommandDescription): string[] {
  const { name, usage, summary, text, lists, examples, statuses } = command;
  return [
    `.SS "iova ${roff(name)}"`,
    ...usage
      .flatMap((each) => [`.B iova ${roff(name)}`, ...(each === "" ? [] : [roff(each)]), ".br"])
      .slice(0, -1),
    ".PP",
    roff(`${summary.charAt(0).toUpperCase()}${summary.slice(1)}.`),
    ...text.flatMap((each) => [".PP", roff(each)]),
    ...(lists ?? []).flatMap(({ title, terms }) => [".PP", roff(`${title}:`), ...terms.flatMap(termLines)]),
    ...optionLines(command),
    ".PP",
    "Examples:",
    ...examples.flatMap((each) => termLines([each.command, each.text])),
    ...(statuses === undefined ? [] : [".PP", "Exit status:", ...statusLines(command)]),
  ];
}

function optionLines(command: CommandDescription): string[] {
  if (command !== nvmeDescription) return optionTerms(command.options).flatMap(termLines);
  // The page would be three times as long with the options and examples of each.
  return [
    ".PP",
    roff("Subcommands, of which iova nvme SUBCOMMAND --help tells more:"),
    ...nvmeDescriptions.flatMap(subcommandLines),
    ".PP",
    "Options of most subcommands:",
    ...optionTerms(sharedOptions).flatMap(termLines),
  ];
}

function subcommandLines({ name, usage, summary, aliases }: CommandDescription): string[] {
  const names = Object.keys(aliases ?? {});
  const also = names.length === 0 ? "" : ` (also ${names.join(", ")})`;
  return termLines([`iova ${name} ${usage[0] ?? ""}`.trimEnd(), `${summary}${also}`]);
}

function statusLines(command: CommandDescription): string[] {
  return statusesOf(command).flatMap(termLines);
}

function termLines([term, text]: readonly [string, string]): string[] {
  return [".TP", `.B ${roff(term)}`, roff(text)];
}

/** What roff would print as another character, or take as its own. */
const escapes: Readonly<Record<string, string>> = {
  "\\": "\\e",
  "-": "\\-",
  '"': "\\(dq",
  "'": "\\(aq",
  "`": "\\(ga",
  "^": "\\(ha",
  "~": "\\(ti",
};

/** Text as it is: no escapes, no requests, and dashes that can be copied. */
function roff(text: string): string {
  const escaped = text.replace(/[\\"'`^~-]/g, (character) => escapes[character] ?? character);
  return escaped.startsWith(".") ? `\\&${escaped}` : escaped;
}
