/** What was found, in plain sentences. Each says how many times one takes as long as the other, and of what. */
import type { ComparedBackend, CompareReport, MappingResult } from "./report.js";
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
      `To the first DMA of the NVMe controller it is ${formatTime(iommufd.toFirstDma.median)} and ` +
        `${formatTime(type1.toFirstDma.median)}; opening is ${threeDigits(share)} % of that, the rest is the controller's reset.`,
    );
  }
  return sentences;
}

function compared(a: Summary, b: Summary, other: string): string {
  const medians = `${formatTime(a.median)} and ${formatTime(b.median)}`;
  if (overlap(a, b)) return `can't be told from ${other} here (${medians})`;
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
  const smallestPage = Math.min(...both.map(({ pageBytes }) => pageBytes));
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

/** What huge pages are good for, at the largest size that all kinds of pages have. */
function pages(report: CompareReport): string[] {
  return (["iommufd", "type1"] as const).flatMap((backend) => {
    const own = report.mapping.filter((each) => each.backend === backend);
    const kinds = [...new Set(own.map(({ pageBytes }) => pageBytes))].sort((a, b) => a - b);
    const largestPage = kinds.at(-1);
    const smallestPage = kinds[0];
    if (largestPage === undefined || smallestPage === undefined || kinds.length < 2) return [];
    const has = (pageBytes: number, sizeBytes: number): MappingResult | undefined =>
      at(report, backend, pageBytes, sizeBytes);
    const sizes = own.filter(({ pageBytes }) => pageBytes === largestPage).map(({ sizeBytes }) => sizeBytes);
    const shared = sizes.filter((size) => has(smallestPage, size) !== undefined).sort((a, b) => a - b);
    const size = shared.at(-1);
    if (size === undefined) return [];
    const small = has(smallestPage, size);
    const large = has(largestPage, size);
    if (small === undefined || large === undefined) return [];
    const gain = small.bareMap.median / large.bareMap.median;
    return [
      `${backend}: ${formatBytes(size)} in pages of ${formatBytes(largestPage)} is mapped ${threeDigits(gain)} times ` +
        `as fast as in pages of ${formatBytes(smallestPage)}.`,
    ];
  });
}

function many(report: CompareReport): string[] {
  const sentences = report.manyOrOne.map(({ backend, totalBytes, pieceBytes, manyMap, oneMap }) => {
    const gain = manyMap.median / oneMap.median;
    return (
      `${backend}: ${formatBytes(totalBytes)} in pieces of ${formatBytes(pieceBytes)} take ` +
      `${threeDigits(gain)} times as long to map as in one piece: map once and large.`
    );
  });
  for (const { backend, mappings, inOneCall, oneByOne } of report.unmapAll) {
    if (inOneCall === null) continue;
    sentences.push(
      `${backend}: removing ${formatCount(mappings)} mappings in one call takes ${formatTime(inOneCall.median)}, ` +
        `one by one ${formatTime(oneByOne.median)}.`,
    );
  }
  return sentences;
}

function second(report: CompareReport): string[] {
  const time = (backend: ComparedBackend, method: string): Summary | undefined =>
    report.secondSpace.find((each) => each.backend === backend && each.method === method)?.time;
  const sentences: string[] = [];
  const copy = time("iommufd", "copy");
  const again = time("iommufd", "map-again");
  const count = report.secondSpace[0]?.mappings ?? 0;
  if (copy !== undefined && again !== undefined) {
    sentences.push(
      `Giving ${formatCount(count)} mappings to a second address space: with iommufd, copying ` +
        `${compared(copy, again, "mapping again")}, and pins nothing twice.`,
    );
  }
  for (const backend of ["iommufd", "type1", "iommufd-compat"] as const) {
    const attach = time(backend, "attach");
    if (attach !== undefined) {
      sentences.push(
        `A second device is put into the filled address space of ${backend} in ${formatTime(attach.median)}, ` +
          "with nothing mapped again.",
      );
    }
  }
  return sentences;
}

function accounts(report: CompareReport): string[] {
  return report.accounting.map(({ backend, mappedBytes, once, twice, copied }) => {
    const counter =
      once.pinnedBytes > 0 ? "VmPin" : once.lockedBytes > 0 ? "VmLck" : "neither VmPin nor VmLck";
    const sum = (each: { pinnedBytes: number; lockedBytes: number }): number =>
      each.pinnedBytes + each.lockedBytes;
    const size = formatBytes(mappedBytes);
    const again = `mapped twice it counts as ${formatBytes(sum(twice))}`;
    const copy =
      copied === null ? "" : `, copied to a second address space still as ${formatBytes(sum(copied))}`;
    return sum(once) === 0
      ? `${backend}: pinned memory shows in ${counter} of /proc/self/status.`
      : `${backend}: pinned memory shows in ${counter} of /proc/self/status; of ${size}, ${again}${copy}.`;
  });
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
      ? `NVMe reads don't tell iommufd from type1 (${rates}): once memory is mapped, no call is made to either.`
      : `NVMe reads through iommufd and type1: ${rates}.`,
  ];
}

function cost(report: CompareReport): string[] {
  return report.mapping
    .filter((each) => each.sizeBytes === 4096 && (each.backend === "iommufd" || each.backend === "type1"))
    .map(({ backend, bareMap, bareUnmap, libraryCost }) => {
      const bare = bareMap.median + bareUnmap.median;
      return (
        `${backend}: DmaSpace adds ${formatTime(libraryCost)} to the ${formatTime(bare)} that the bare calls take ` +
        `to map and unmap 4 KiB (${threeDigits((bare + libraryCost) / bare)} times).`
      );
    });
}

function caveats({ machine, quick }: CompareReport): string[] {
  return [
    ...(machine.hypervisor === null
      ? []
      : [
          `This machine is virtual (${machine.hypervisor}): the ratios say more than the times, which are not those of hardware.`,
        ]),
    ...(quick
      ? ["This was a quick run, to see that everything works: its times are not good for much."]
      : []),
  ];
}
