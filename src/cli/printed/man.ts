/** The page iova(1), made of descriptions. The build writes it to man/iova.1. */
import { descriptions } from "../described/all.js";
import { type CommandDescription, STATUSES } from "../described/description.js";
import { nvmeDescriptions } from "../described/nvme.js";
import { optionTerms, statusesOf } from "./help.js";

/** @param version of the package */
export function manPage(version: string): string {
  const commands = descriptions.flatMap((each) =>
    each.name === "nvme" ? [each, ...nvmeDescriptions] : [each],
  );
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
    ...commands.flatMap(commandLines),
    ".SH EXIT STATUS",
    ...Object.entries(STATUSES).flatMap(termLines),
    ".SH SEE ALSO",
    roff("lspci(8), modprobe(8), nvme(1), udev(7)"),
  ];
  return `${lines.join("\n")}\n`;
}

function commandLines(command: CommandDescription): string[] {
  const { name, usage, summary, text, lists, options, examples, statuses, aliases } = command;
  const names = Object.keys(aliases ?? {});
  return [
    `.SS "iova ${roff(name)}"`,
    ...usage
      .flatMap((each) => [`.B iova ${roff(name)}`, ...(each === "" ? [] : [roff(each)]), ".br"])
      .slice(0, -1),
    ".PP",
    roff(`${summary.charAt(0).toUpperCase()}${summary.slice(1)}.`),
    ...text.flatMap((each) => [".PP", roff(each)]),
    ...(names.length === 0 ? [] : [".PP", roff(`Also: iova nvme ${names.join(", ")}.`)]),
    ...(lists ?? []).flatMap(({ title, terms }) => [".PP", roff(`${title}:`), ...terms.flatMap(termLines)]),
    ...optionTerms(options).flatMap(termLines),
    ".PP",
    "Examples:",
    ...examples.flatMap((each) => termLines([each.command, each.text])),
    ...(statuses === undefined ? [] : [".PP", "Exit status:", ...statusLines(command)]),
  ];
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
