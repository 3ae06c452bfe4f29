/** `iova nvme flush`, `compare`, `copy`, `verify`, `write-zeroes`, `write-uncor` and `dsm`. */
import { ArgumentError, IovaError } from "../../../core/errors.js";
import { NvmeError } from "../../../nvme/command/error.js";
import type { NvmeController } from "../../../nvme/controller.js";
import type { NvmeNamespace } from "../../../nvme/namespace/namespace.js";
import { BROADCAST_NSID } from "../../../nvme/spec/opcodes.js";
import { blockDescriptions } from "../../described/nvme/block-commands.js";
import { type Arguments, type Ask, commands, type Result } from "../command.js";
import {
  assertInside,
  blocksText,
  checkBlocks,
  type WantedBlocks,
  wantedBlocks,
} from "../commands/blocks.js";
import { namespaceId, openNamespace } from "../open.js";
import { detailsOf, metadataToSend, noDetails, protectionOf, shapeOf } from "./details.js";

type RangeArguments = Arguments<"start-block" | "blocks" | "block-count" | "data-size" | "namespace-id">;

const nsidOf = (args: Arguments<"namespace-id">) => args.number("namespace-id", BROADCAST_NSID - 1, 1);

function rangeOf(args: RangeArguments): WantedBlocks {
  const names = ["start-block", "blocks", "block-count", "data-size"] as const;
  return wantedBlocks(args.name, Object.fromEntries(names.map((name) => [name, args.text(name)])));
}

/** Formats of the source ranges of Copy. */
const copyFormats = [0, 1, 2, 3] as const;

/** A command's number of blocks is a 16-bit field, zero-based. */
const MOST_BLOCKS = 65_536;

/** Most blocks of one command, by a limit of Identify Controller of the NVM command set. */
async function limitOf(
  nvme: NvmeController,
  ns: NvmeNamespace,
  field: "vsl" | "wzsl" | "wusl",
): Promise<number> {
  try {
    const exponent = (await nvme.structures.nvmController())[field];
    if (exponent === 0) return MOST_BLOCKS;
    return Math.min(MOST_BLOCKS, (2 ** exponent * nvme.capabilities.minPageBytes) / ns.blockSizeBytes);
  } catch (error) {
    // Before NVMe 2.0 there was no such structure, and no limit.
    if (error instanceof NvmeError) return MOST_BLOCKS;
    throw error;
  }
}

interface OnBlocks {
  readonly args: RangeArguments;
  readonly limit: "vsl" | "wzsl" | "wusl";
  /** What is asked, before the blocks; undefined asks nothing. */
  readonly question?: string;
  /** What was done, before the blocks. */
  readonly done: string;
  run(ns: NvmeNamespace, lba: bigint, blocks: number): Promise<void>;
}

/** A command without data on any number of blocks. */
function onBlocks({ args, limit, question, done, run }: OnBlocks) {
  const wanted = rangeOf(args);
  if (wanted.blocks === undefined && wanted.bytes === undefined) args.missing("blocks N");
  const nsid = nsidOf(args);
  return async (nvme: NvmeController, ask: Ask): Promise<Result> => {
    const ns = await openNamespace(nvme, nsid);
    const blocks = checkBlocks(ns, wanted) ?? 1n;
    const what = `${blocksText(wanted.first, blocks)} of namespace ${ns.nsid}`;
    if (question !== undefined) await ask(`${question} ${what}`, ns.nsid);
    const most = await limitOf(nvme, ns, limit);
    for (let at = 0n; at < blocks; at += BigInt(most)) {
      const left = blocks - at;
      await run(ns, wanted.first + at, left < BigInt(most) ? Number(left) : most);
    }
    return { json: { nsid: ns.nsid, slba: wanted.first, blocks }, text: `${done} ${what}` };
  };
}

/** Ranges of `--slbs` and `--blocks`. @param zeroBased blocks are one less */
function rangesOf(args: Arguments<"slbs" | "blocks">, most: bigint, zeroBased: boolean) {
  const firsts = args.list("slbs", 2n ** 64n - 1n) ?? args.missing("slbs LIST");
  const counts = args.list("blocks", most, zeroBased ? 0n : 1n) ?? args.missing("blocks LIST");
  if (firsts.length !== counts.length)
    throw args.wrong(`--slbs has ${firsts.length} ranges, --blocks has ${counts.length}`);
  return firsts.map((lba, index) => ({ lba, blocks: Number(counts[index] ?? 0n) + (zeroBased ? 1 : 0) }));
}

export const blockCommands = commands(blockDescriptions, {
  flush(args) {
    const nsid = args.number("namespace-id", BROADCAST_NSID, 1);
    return async (nvme) => {
      const allNamespaces = nsid === BROADCAST_NSID;
      const id = await namespaceId(nvme, allNamespaces ? (await nvme.namespaceIds())[0] : nsid);
      await (await nvme.namespace(id)).flush({ allNamespaces });
      const text = allNamespaces ? "flushed all namespaces" : `flushed namespace ${id}`;
      return { json: { nsid: allNamespaces ? BROADCAST_NSID : id }, text };
    };
  },
  async compare(args) {
    const wanted = rangeOf(args);
    const details = detailsOf(args) ?? noDetails;
    const nsid = nsidOf(args);
    const data = (await args.file("data")) ?? args.missing("data FILE");
    const metadataBytes = await args.file("metadata");
    return async (nvme) => {
      const ns = await openNamespace(nvme, nsid);
      const size = BigInt(shapeOf(ns, details).data);
      const asked = checkBlocks(ns, wanted);
      if (asked !== undefined && BigInt(data.length) !== asked * size)
        throw new ArgumentError(`the data has ${data.length} bytes; ${asked} blocks are ${asked * size}`);
      if (BigInt(data.length) % size !== 0n)
        throw new ArgumentError(
          `the data has ${data.length} bytes, which is no whole number of blocks of ${size}`,
        );
      const blocks = BigInt(data.length) / size;
      assertInside(ns, wanted.first, blocks);
      const metadata = metadataToSend(ns, details, blocks, metadataBytes);
      const what = `${blocksText(wanted.first, blocks)} of namespace ${ns.nsid}`;
      if (!(await ns.compare(wanted.first, data, { ...details.options, metadata })))
        throw new IovaError("ERR_IOVA_NVME", `the data differs from ${what}`);
      return {
        json: { nsid: ns.nsid, slba: wanted.first, blocks, equal: true },
        text: `the data is equal to ${what}`,
      };
    };
  },
  verify(args) {
    const protection = protectionOf(args);
    return onBlocks({
      args,
      limit: "vsl",
      done: "verified",
      run: (ns, lba, blocks) => ns.verify(lba, blocks, protection),
    });
  },
  writeZeroes(args) {
    const options = { deallocate: args.has("deac"), fua: args.has("force-unit-access") };
    const protection = protectionOf(args);
    return onBlocks({
      args,
      limit: "wzsl",
      question: "This sets to zero",
      done: "set to zero",
      run: (ns, lba, blocks) => ns.writeZeroes(lba, blocks, { ...options, protection }),
    });
  },
  writeUncorrectable: (args) =>
    onBlocks({
      args,
      limit: "wusl",
      question: "This makes unreadable",
      done: "made unreadable",
      run: (ns, lba, blocks) => ns.writeUncorrectable(lba, blocks),
    }),
  copy(args) {
    const to = args.big("sdlba") ?? args.missing("sdlba N");
    const sources = args.list("snsids", BigInt(BROADCAST_NSID - 1), 1n);
    const ranges = rangesOf(args, 0xffffn, true).map((range, index) =>
      sources === undefined ? range : { ...range, nsid: Number(sources[index] ?? 0n) },
    );
    if (sources !== undefined && sources.length !== ranges.length)
      throw args.wrong(`--slbs has ${ranges.length} ranges, --snsids has ${sources.length}`);
    const format = copyFormats.find((each) => each === args.number("format", 3));
    const nsid = nsidOf(args);
    const options = {
      fua: args.has("force-unit-access"),
      limitedRetry: args.has("limited-retry"),
      format,
    } as const;
    return async (nvme, ask) => {
      const ns = await openNamespace(nvme, nsid);
      const blocks = ranges.reduce((sum, range) => sum + range.blocks, 0);
      const where = `${blocksText(to, BigInt(blocks))} of namespace ${ns.nsid}`;
      assertInside(ns, to, BigInt(blocks));
      for (const [index, range] of ranges.entries()) {
        const source = Number(sources?.[index] ?? ns.nsid);
        assertInside(source === ns.nsid ? ns : await nvme.namespace(source), range.lba, BigInt(range.blocks));
      }
      await ask(`This overwrites ${where}`, ns.nsid);
      if (sources !== undefined) {
        const { cdfe, ...others } = await nvme.features.structures.hostBehavior();
        await nvme.features.structures.setHostBehavior({ ...others, cdfe: cdfe | 0b1100 });
      }
      await ns.copy(to, ranges, options);
      return { json: { nsid: ns.nsid, sdlba: to, blocks }, text: `copied to ${where}` };
    };
  },
  dsm(args) {
    const attributes = {
      deallocate: args.has("ad"),
      integralRead: args.has("idr"),
      integralWrite: args.has("idw"),
    };
    if (!Object.values(attributes).includes(true)) throw args.wrong("dsm needs --ad, --idr or --idw");
    const hints = args.list("ctx-attrs", 0xffff_ffffn) ?? [];
    const ranges = rangesOf(args, 0xffff_ffffn, false).map((range, index) => {
      const word = Number(hints[index] ?? 0n);
      return {
        ...range,
        accessFrequency: word & 0xf,
        accessLatency: (word >>> 4) & 3,
        sequentialRead: (word & 0x100) !== 0,
        sequentialWrite: (word & 0x200) !== 0,
        writePrepare: (word & 0x400) !== 0,
        accessSizeBlocks: word >>> 24,
      };
    });
    const nsid = nsidOf(args);
    return async (nvme, ask) => {
      const ns = await openNamespace(nvme, nsid);
      for (const range of ranges) assertInside(ns, range.lba, BigInt(range.blocks));
      const what = `${ranges.length} ranges of namespace ${ns.nsid}`;
      if (attributes.deallocate) await ask(`This discards ${what}`, ns.nsid);
      else await ask(`This gives hints about ${what}`);
      await ns.datasetManagement(ranges, attributes);
      return { json: { nsid: ns.nsid, ranges: ranges.length }, text: `done for ${what}` };
    };
  },
});
