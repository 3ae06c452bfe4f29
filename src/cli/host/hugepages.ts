/** `iova hugepages`: shows, reserves and mounts huge pages. */
import { stepText } from "../../host/changes/steps.js";
import { type HugePages, listHugePages, planHugePages, setHugePages } from "../../host/huge-pages.js";
import { parseCommandLine, usageError } from "../command-line.js";
import { hugePagesDescription } from "../described/hugepages.js";
import { interruptible } from "../interruptible.js";
import { table } from "../table.js";
import { print, printJson } from "../terminal.js";
import { sizeOf } from "./size.js";

/** @throws ConfigError, and as planHugePages() and setHugePages() */
export async function runHugePages(argv: readonly string[]): Promise<void> {
  const { values, positionals } = parseCommandLine(hugePagesDescription, argv);
  const { mount, persist, json: isJson = false } = values;
  const [count, ...more] = positionals;
  if (more.length > 0) throw usageError(hugePagesDescription, "hugepages takes one number of pages");
  const options = {
    ...(count === undefined ? {} : { count: wholeNumber("N", count) }),
    ...(values.size === undefined ? {} : { pageBytes: sizeOf(hugePagesDescription, "--size", values.size) }),
    ...(values.node === undefined ? {} : { node: wholeNumber("--node", values.node) }),
    mount,
    persist,
  };
  if (count === undefined && mount === undefined) {
    if (
      values.size !== undefined ||
      values.node !== undefined ||
      persist === true ||
      values["dry-run"] === true
    )
      throw usageError(hugePagesDescription, "these options need a number of pages, or --mount");
  } else if (values["dry-run"] === true) {
    const steps = planHugePages(options);
    if (isJson) printJson(steps);
    else
      for (const step of steps)
        print(step.kind === "file" ? `${stepText(step)}: ${step.content}` : stepText(step));
    return;
  } else {
    const change = await interruptible((signal) => setHugePages({ ...options, signal }));
    if (!isJson)
      print(
        change === undefined
          ? "everything was so already"
          : `change ${change.id}: ${change.steps.join("; ")}`,
      );
  }
  const pages = listHugePages();
  if (isJson) printJson(pages);
  else print(poolTable(pages));
}

/** @throws ConfigError */
function wholeNumber(name: string, text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw usageError(hugePagesDescription, `${name} ${JSON.stringify(text)}: expected a whole number`);
}

/** The pools as a table; nodes below their sum. */
export function poolTable({ pools, mounts, transparent }: HugePages): string {
  const rows = pools.flatMap(({ pageBytes, total, free, reserved, nodes }) => [
    [sizeText(pageBytes), "all", String(total), String(free), String(reserved)],
    ...nodes.map((each) => ["", `node ${each.node}`, String(each.total), String(each.free), ""]),
  ]);
  const pool =
    rows.length === 0
      ? "this kernel shows no huge pages: it has none, or /sys isn't mounted"
      : table(["size", "where", "total", "free", "reserved"], rows, 2);
  const mounted = mounts.length === 0 ? "nowhere" : mounts.join(", ");
  return [pool, `mounted: ${mounted}`, `transparent: ${transparent ?? "none"}`].join("\n");
}

function sizeText(bytes: number): string {
  const [unit, factor] =
    bytes >= 2 ** 30 ? ["G", 2 ** 30] : bytes >= 2 ** 20 ? ["M", 2 ** 20] : ["K", 2 ** 10];
  return `${bytes / Number(factor)}${unit}`;
}
