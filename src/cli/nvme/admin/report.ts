/** `iova nvme report`: everything that a controller says of itself, by the decoders of the other subcommands. */
import { IovaError } from "../../../core/errors.js";
import { append } from "../../../core/lists.js";
import { visible, visibleLines } from "../../../core/visible.js";
import type { NvmeController } from "../../../nvme/controller.js";
import { FeatureId } from "../../../nvme/spec/opcodes.js";
import { escapeHtml } from "../../compare/charts.js";
import { reportDescriptions } from "../../described/nvme/report.js";
import { checkWritable, day, heading, page, table, writeNamed } from "../../page.js";
import { deviceText } from "../../terminal.js";
import { commands } from "../command.js";
import { readFeature } from "../commands/feature.js";
import { structures } from "../commands/identify.js";
import { namedLogs } from "../commands/log-pages.js";
import { readAll, registersJson, textOf } from "../commands/regs.js";
import { layout } from "../layout.js";
import type { Json } from "../output.js";
import { dataCommands } from "./data.js";
import { logCommands } from "./logs.js";
import { namespaceCommands } from "./namespaces.js";

/** Namespaces that are looked at, unless one is asked for. */
const MOST_NAMESPACES = 32;

/** Logs and lists that reading doesn't change. */
const lasting = new Set([
  "ana-log",
  "boot-part-log",
  "persistent-event-log",
  "fid-support-effects-log",
  "mi-cmd-support-effects-log",
  "media-unit-stat-log",
  "predictable-lat-log",
  "rotational-media-info-log",
  "mgmt-addr-list-log",
  "reachability-groups-log",
  "reachability-associations-log",
  "list-ctrl",
  "list-secondary",
  "primary-ctrl-caps",
  "id-nvmset",
  "id-uuid",
  "id-iocs",
  "id-domain",
  "list-endgrp",
  "id-ns-granularity",
]);

/** A part of the report, and how it is read. */
interface Part {
  readonly key: string;
  readonly title: string;
  read(nvme: NvmeController): Promise<{ readonly json: Json; readonly text?: string }>;
}

function structureParts(nsid: number | undefined): Part[] {
  return Object.entries(structures)
    .filter(([, { ofNamespace }]) => ofNamespace === (nsid !== undefined))
    .map(([key, { title, cns, csi, json, text }]) => ({
      key,
      title: nsid === undefined ? title : `${title}: namespace ${nsid}`,
      async read(nvme) {
        const bytes = await nvme.structures.read(cns, { csi: csi ?? 0, nsid: nsid ?? 0 });
        const fields = json(bytes);
        return { json: fields, text: text(fields, bytes) };
      },
    }));
}

const logParts: readonly Part[] = Object.entries(namedLogs).map(([key, { title, read }]) => ({
  key: `${key}-log`,
  title,
  read: (nvme) => read(nvme, { nsid: undefined, lsi: undefined, csi: undefined, rae: true }),
}));

const commandParts: readonly Part[] = [...logCommands, ...namespaceCommands, ...dataCommands].flatMap(
  ({ description: { name, summary }, onOpen }) => {
    const key = name.replace("nvme ", "");
    if (!lasting.has(key)) return [];
    return [
      { key, title: `${key}: ${summary}`, read: async (nvme) => (await onOpen(nvme)) ?? { json: null } },
    ];
  },
);

const featureParts: readonly Part[] = Object.entries(FeatureId).map(([key, fid]) => ({
  key,
  title: "",
  read: (nvme) => readFeature(nvme, fid),
}));

const registerPart: Part = {
  key: "registers",
  title: "Registers",
  async read(nvme) {
    const all = readAll(nvme.device.bar(0), nvme.bdf);
    return { json: registersJson(all), text: all.map(textOf).join("\n") };
  },
};

/** What was read, and what was refused with the reason. */
interface Gathered {
  readonly json: Record<string, Json>;
  readonly texts: (readonly [title: string, text: string])[];
  readonly refused: (readonly [what: string, why: string])[];
}

async function gather(nvme: NvmeController, parts: readonly Part[], of = ""): Promise<Gathered> {
  const found: Gathered = { json: {}, texts: [], refused: [] };
  for (const { key, title, read } of parts) {
    try {
      const { json, text } = await read(nvme);
      found.json[key] = json;
      found.texts.push([title, text ?? layout(json)]);
    } catch (error) {
      if (!(error instanceof IovaError)) throw error;
      found.refused.push([`${key}${of}`, error.message]);
    }
  }
  return found;
}

export const reportCommands = commands(reportDescriptions, {
  report(args) {
    const nsid = args.number("namespace-id", 0xffff_fffe, 1);
    const html = args.text("html");
    if (html !== undefined) checkWritable(html);
    return async (nvme) => {
      const controller = await gather(nvme, [registerPart, ...structureParts(undefined)]);
      const refused = [...controller.refused];
      const texts = [...controller.texts];
      const namespaces: Json[] = [];
      let ids: readonly number[] = nsid === undefined ? [] : [nsid];
      try {
        ids = nsid === undefined ? await nvme.namespaceIds() : ids;
      } catch (error) {
        if (!(error instanceof IovaError)) throw error;
        refused.push(["namespaces", error.message]);
      }
      for (const id of ids.slice(0, MOST_NAMESPACES)) {
        const own = await gather(nvme, structureParts(id), ` of namespace ${id}`);
        namespaces.push({ nsid: id, ...own.json });
        append(texts, own.texts);
        append(refused, own.refused);
      }
      const left = ids.length - MOST_NAMESPACES;
      if (left > 0) refused.push(["namespaces", `${left} more: --namespace-id N has one of them`]);
      const logs = await gather(nvme, [...logParts, ...commandParts]);
      const features = await gather(nvme, featureParts, " (feature)");
      append(texts, logs.texts);
      texts.push(["Features", features.texts.map(([, text]) => text).join("\n")]);
      append(refused, logs.refused);
      append(refused, features.refused);
      const [model, serial] = [nvme.identify.mn, nvme.identify.sn].map(deviceText);
      const title = `${model}, serial ${serial}, at ${nvme.bdf}`;
      if (html !== undefined) writeNamed("--html", html, reportHtml(title, texts, refused));
      const shown = refused.map(([what, why]) => `${what}: ${why}`).join("\n");
      return {
        json: {
          target: nvme.bdf,
          ...controller.json,
          namespaces,
          ...logs.json,
          features: features.json,
          refused: Object.fromEntries(refused),
        },
        text: [["NVMe controller", title] as const, ...texts, ["Not reported", shown] as const]
          .map(([head, text]) => `=== ${head}\n${text}\n`)
          .join("\n"),
      };
    };
  },
});

function reportHtml(title: string, texts: Gathered["texts"], refused: Gathered["refused"]): string {
  const cards = texts.flatMap(([head, text]) => [
    heading(visible(head)),
    `<section class="card"><pre>${escapeHtml(visibleLines(text))}</pre></section>`,
  ]);
  const rows = refused.map((row) => row.map(visible));
  return page({
    title: visible(title),
    subtitle: `What the NVMe controller says of itself, read by iova nvme report on ${day(new Date().toISOString())}`,
    parts: [...cards, heading("Not reported"), table(["What", "Why"], rows, 2)],
    style: "pre { margin: 0; padding: 14px 22px; overflow-x: auto; font-size: 13px; }",
  });
}
