/** The findings of a comparison, as sentences. */
import { smallestOf } from "../../core/lists.js";
import type { ComparedBackend, CompareReport } from "./report.js";
import { overlap, type Summary } from "./statistics.js";
import { comparison, formatBytes, formatCount, formatTime, threeDigits } from "./units.js";

export function findings(report: CompareReport): string[] {
  return [
    ...ways(report),
    ...opening(report),
    ...mapping(report),
    ...pages(report),
    ...many(report),
    ...second(report),
    ...accounts(report),
    ...nvme(report),
    ...cost(report),
    ...caveats(report),
  ];
}

function of<T extends { readonly backend: ComparedBackend }>(
  list: readonly T[],
  backend: ComparedBackend,
): T | undefined {
  return list.find((each) => each.backend === backend);
}

function ways({ backends }: CompareReport): string[] {
  const there = backends.filter(({ available }) => available).map(({ name }) => name);
  const first = there[0];
  if (there.length > 1) return [`This device can be reached through ${there.join(", ")}.`];
  return first === undefined ? [] : [`This device can be reached through ${first} only.`];
}

function opening(report: CompareReport): string[] {
  const iommufd = of(report.opening, "iommufd");
  const type1 = of(report.opening, "type1");
  if (iommufd === undefined || type1 === undefined) return [];
  const sentences = [
    `From nothing to a mapped page, iommufd ${compared(iommufd.toMapped, type1.toMapped, "type1")}.`,
  ];
  if (iommufd.toFirstDma !== null && type1.toFirstDma !== null) {
    const slower = Math.max(iommufd.toFirstDma.median, type1.toFirstDma.median);
    const share = (Math.max(iommufd.toMapped.median, type1.toMapped.median) / slower) * 100;
    sentences.push(
      `The device's first DMA ends after ${formatTime(iommufd.toFirstDma.median)} and ` +
        `${formatTime(type1.toFirstDma.median)}; opening is ${threeDigits(share)} % of that, and the device takes the rest.`,
    );
  }
  return sentences;
}

function compared(a: Summary, b: Summary, other: string): string {
  const medians = `${formatTime(a.median)} and ${formatTime(b.median)}`;
  if (overlap(a, b)) return `shows no clear difference from ${other} here (${medians})`;
  return `${comparison(a.median, b.median)} as ${other} (${medians})`;
}

function at(report: CompareReport, backend: ComparedBackend, pageBytes: number, sizeBytes: number) {
  return report.mapping.find(
    (each) => each.backend === backend && each.pageBytes === pageBytes && each.sizeBytes === sizeBytes,
  );
}

/** The smallest and the largest mapping that both backends have. */
function mapping(report: CompareReport): string[] {
  const both = report.mapping.filter(
    (each) => each.backend === "iommufd" && at(report, "type1", each.pageBytes, each.sizeBytes) !== undefined,
  );
  const smallestPage = smallestOf(both.map(({ pageBytes }) => pageBytes));
  const cases = both.filter(({ pageBytes }) => pageBytes === smallestPage);
  const ends = cases.length > 1 ? [cases[0], cases[cases.length - 1]] : cases;
  return ends.flatMap((iommufd) => {
    if (iommufd === undefined) return [];
    const type1 = at(report, "type1", iommufd.pageBytes, iommufd.sizeBytes);
    if (type1 === undefined) return [];
    const what = `${formatBytes(iommufd.sizeBytes)} of ${formatBytes(iommufd.pageBytes)} pages`;
    return [
      `Mapping ${what}: iommufd ${compared(iommufd.bareMap, type1.bareMap, "type1")}; ` +
        `unmapping it: ${compared(iommufd.bareUnmap, type1.bareUnmap, "type1")}.`,
    ];
  });
}

/** Parts of one sentence, `a with iommufd, b with type1`; undefined if there are none. */
function each<T extends { readonly backend: ComparedBackend }>(
  list: readonly T[],
  say: (entry: T) => string | undefined,
): string | undefined {
  const parts = list.flatMap((entry) => {
    const part = say(entry);
    return part === undefined ? [] : [`${part} with ${entry.backend}`];
  });
  return parts.length === 0 ? undefined : parts.join(", ");
}

/** The gain of huge pages, at the largest size measured with the largest pages. */
function pages(report: CompareReport): string[] {
  const kinds = [...new Set(report.mapping.map(({ pageBytes }) => pageBytes))].sort((a, b) => a - b);
  const largestPage = kinds.at(-1);
  const smallestPage = kinds[0];
  if (largestPage === undefined || smallestPage === undefined || kinds.length < 2) return [];
  const size = Math.max(
    ...report.mapping.filter(({ pageBytes }) => pageBytes === largestPage).map(({ sizeBytes }) => sizeBytes),
  );
  const gains = each(
    report.mapping.filter(({ pageBytes, sizeBytes }) => pageBytes === largestPage && sizeBytes === size),
    ({ backend, bareMap }) => {
      const small = at(report, backend, smallestPage, size);
      return small === undefined
        ? undefined
        : `${threeDigits(small.bareMap.median / bareMap.median)} times as fast`;
    },
  );
  if (gains === undefined) return [];
  const [large, small] = [formatBytes(largestPage), formatBytes(smallestPage)];
  return [`${formatBytes(size)} in pages of ${large} is mapped ${gains}, compared with pages of ${small}.`];
}

function many(report: CompareReport): string[] {
  const sentences: string[] = [];
  const [first] = report.manyOrOne;
  const slower = each(
    report.manyOrOne,
    ({ manyMap, oneMap }) => `${threeDigits(manyMap.median / oneMap.median)} times as long`,
  );
  if (first !== undefined && slower !== undefined) {
    const what = `${formatBytes(first.totalBytes)} in pieces of ${formatBytes(first.pieceBytes)}`;
    sentences.push(`Mapping ${what} takes ${slower}, compared with one piece: map once and large.`);
  }
  const saved = each(report.unmapAll, ({ inOneCall, oneByOne }) =>
    inOneCall === null
      ? undefined
      : `${formatTime(inOneCall.median)} instead of ${formatTime(oneByOne.median)} one by one`,
  );
  const count = report.unmapAll[0]?.mappings ?? 0;
  if (saved !== undefined)
    sentences.push(`Removing ${formatCount(count)} mappings in one call takes ${saved}.`);
  return sentences;
}

function second(report: CompareReport): string[] {
  const time = (method: string): Summary | undefined =>
    report.secondSpace.find((entry) => entry.backend === "iommufd" && entry.method === method)?.time;
  const sentences: string[] = [];
  const copy = time("copy");
  const again = time("map-again");
  const count = formatCount(report.secondSpace[0]?.mappings ?? 0);
  if (copy !== undefined && again !== undefined) {
    sentences.push(
      `Copying ${count} mappings to a second address space, which only iommufd can, ` +
        `${compared(copy, again, "mapping all again")}; it pins nothing twice.`,
    );
  }
  const attached = each(
    report.secondSpace.filter(({ method }) => method === "attach"),
    ({ time: taken }) => formatTime(taken.median),
  );
  if (attached !== undefined) {
    sentences.push(
      `A second device joins an address space of ${count} mappings in ${attached}; nothing is mapped again.`,
    );
  }
  return sentences;
}

function accounts(report: CompareReport): string[] {
  const sum = (counted: { pinnedBytes: number; lockedBytes: number }): number =>
    counted.pinnedBytes + counted.lockedBytes;
  const counters = each(report.accounting, ({ once }) =>
    once.pinnedBytes > 0 ? "VmPin" : once.lockedBytes > 0 ? "VmLck" : "neither VmPin nor VmLck",
  );
  if (counters === undefined) return [];
  const sentences = [`In /proc/self/status mapped memory shows as ${counters}.`];
  const [first] = report.accounting;
  if (first !== undefined && sum(first.once) > 0) {
    const twice = each(report.accounting, (account) => formatBytes(sum(account.twice)));
    const copied =
      first.copied === null ? "" : `; copied, it still counts as ${formatBytes(sum(first.copied))}`;
    sentences.push(`${formatBytes(first.mappedBytes)} mapped twice counts as ${twice}${copied}.`);
  }
  return sentences;
}

function nvme(report: CompareReport): string[] {
  const iommufd = of(report.nvme, "iommufd");
  const type1 = of(report.nvme, "type1");
  if (iommufd === undefined || type1 === undefined) return [];
  const rates =
    `${formatCount(iommufd.readsPerSecond.median)} and ${formatCount(type1.readsPerSecond.median)} reads a second ` +
    `at depth ${iommufd.depth}, ${formatTime(iommufd.latency.median)} and ${formatTime(type1.latency.median)} for one`;
  const same = overlap(iommufd.readsPerSecond, type1.readsPerSecond);
  return [
    same
      ? `NVMe reads show no clear difference between iommufd and type1 (${rates}): they make no call to either.`
      : `NVMe reads through iommufd and type1: ${rates}.`,
  ];
}

function cost(report: CompareReport): string[] {
  const costs = each(
    report.mapping.filter(({ sizeBytes }) => sizeBytes === 4096),
    ({ bareMap, bareUnmap, libraryCost }) => {
      const bare = bareMap.median + bareUnmap.median;
      return `${formatTime(libraryCost)} to ${formatTime(bare)} (${threeDigits((bare + libraryCost) / bare)} times)`;
    },
  );
  return costs === undefined ? [] : [`To map and unmap 4 KiB, DmaSpace adds to the bare calls: ${costs}.`];
}

function caveats({ machine, quick }: CompareReport): string[] {
  return [
    ...(machine.hypervisor === null
      ? []
      : [`This machine is virtual (${machine.hypervisor}): trust the ratios more than the times.`]),
    ...(quick
      ? ["This was a quick run, which only shows that everything works: its times mean little."]
      : []),
  ];
}
