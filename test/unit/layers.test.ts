/**
 * The rooms of src/ and what each may import, type imports included. docs/architecture.md says why they stand in this order.
 * A new folder needs a row here; a new arrow between two rooms is a decision, so it is written down here, too.
 */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { circlesOf, sourceGraph } from "../../build/source-graph.js";
import { packageRoot } from "../../guest/paths.js";

const nvmeDriver = ["nvme/spec", "nvme/quirks", "nvme/command", "nvme/memory", "nvme/queues"];
const emulatedParts = ["emulator/nvme/medium", "emulator/nvme/host", "emulator/nvme/queues"];

/** What the files of a folder import from other folders. The last room holds the doors of the package. */
const rooms: Readonly<Record<string, readonly string[]>> = {
  core: [],
  "core/lifetime": ["core"],
  sys: ["core"],
  activity: ["core", "sys"],
  registers: ["core", "sys"],
  "dma/iova": ["core"],
  dma: ["core", "sys", "activity", "dma/iova"],
  rings: ["core", "dma/iova", "dma", "registers"],
  vfio: ["core", "sys", "dma"],
  iommufd: ["core", "sys", "dma/iova", "dma", "vfio"],
  "vfio-legacy": ["core", "sys", "dma/iova", "dma", "vfio"],
  "vfio-user/protocol": ["core", "sys"],
  "vfio-user/client": ["core", "sys", "dma/iova", "dma", "vfio", "vfio-user/protocol"],
  "vfio-user/server": ["core", "sys", "activity", "vfio", "vfio-user/protocol"],
  lending: ["core", "core/lifetime", "sys"],
  "pci/backends": ["core", "sys", "dma", "vfio", "iommufd", "vfio-legacy", "vfio-user/client", "lending"],
  "pci/capabilities": ["core", "registers", "vfio"],
  "pci/address": ["core", "sys"],
  "pci/steps": ["core", "sys"],
  "pci/usage": ["core", "sys", "pci/address"],
  pci: [
    "core",
    "sys",
    "activity",
    "registers",
    "dma",
    "vfio",
    "iommufd",
    "vfio-user/client",
    "lending",
    "pci/backends",
    "pci/capabilities",
    "pci/address",
    "pci/steps",
    "pci/usage",
  ],
  "pci/details": ["core", "sys", "pci", "pci/address", "pci/steps"],
  "lending/server": [
    "core",
    "sys",
    "vfio",
    "iommufd",
    "vfio-legacy",
    "pci",
    "pci/address",
    "pci/usage",
    "lending",
  ],
  "nvme/spec": ["core"],
  "nvme/spec/opal": ["core"],
  "nvme/quirks": ["core"],
  "nvme/command": ["core", "sys", "dma/iova", "dma", "nvme/spec", "nvme/quirks"],
  "nvme/memory": ["core", "sys", "dma/iova", "dma", "pci", "nvme/spec", "nvme/command"],
  "nvme/protection": ["core", "nvme/spec", "nvme/command"],
  "nvme/queues": [
    "core",
    "sys",
    "activity",
    "dma",
    "vfio",
    "pci",
    "nvme/spec",
    "nvme/command",
    "nvme/memory",
  ],
  "nvme/opal": ["core", "nvme/spec/opal", "nvme/command"],
  "nvme/admin": ["core", "dma", "nvme/spec", "nvme/quirks", "nvme/command", "nvme/opal"],
  "nvme/namespace": [
    "core",
    "dma",
    "nvme/spec",
    "nvme/quirks",
    "nvme/command",
    "nvme/memory",
    "nvme/protection",
    "nvme/queues",
  ],
  "nvme/engine": ["core", "sys", "activity", "dma", "vfio", "vfio-user/client", "pci", ...nvmeDriver],
  nvme: ["core", "sys", "dma", "pci", ...nvmeDriver, "nvme/admin", "nvme/namespace", "nvme/engine"],
  "emulator/faults": ["core", "registers", "vfio-user/server"],
  "emulator/edu": ["core", "registers", "vfio-user/server", "emulator/faults"],
  "emulator/nvme/medium": ["core", "sys", "nvme/spec", "nvme/spec/opal"],
  "emulator/nvme/host": ["core", "sys", "vfio-user/server", "nvme/spec", "emulator/nvme/medium"],
  "emulator/nvme/queues": [
    "core",
    "sys",
    "vfio-user/server",
    "nvme/spec",
    "emulator/nvme/medium",
    "emulator/nvme/host",
  ],
  "emulator/nvme/commands/io": ["core", "nvme/spec", "emulator/nvme/medium", "emulator/nvme/host"],
  "emulator/nvme/commands": [
    "core",
    "sys",
    "vfio-user/server",
    "nvme/spec",
    "nvme/spec/opal",
    ...emulatedParts,
    "emulator/nvme/commands/io",
  ],
  "emulator/nvme": [
    "core",
    "sys",
    "vfio-user/server",
    "nvme/spec",
    ...emulatedParts,
    "emulator/nvme/commands/io",
    "emulator/nvme/commands",
    "emulator/faults",
  ],
  emulator: [
    "core",
    "registers",
    "vfio-user/server",
    "nvme/spec",
    "emulator/faults",
    "emulator/edu",
    ...emulatedParts,
    "emulator/nvme/commands",
    "emulator/nvme",
  ],
  "host/names": ["core", "pci/steps"],
  "host/facts": ["core", "sys", "vfio", "iommufd", "pci", "pci/address", "pci/usage", "host/names"],
  "host/checks": ["core", "pci", "pci/usage", "nvme/quirks", "host/names", "host/facts"],
  "host/changes": ["core", "sys", "pci", "pci/steps", "host/facts", "host/checks"],
  host: [
    "core",
    "sys",
    "activity",
    "pci",
    "pci/steps",
    "host/names",
    "host/facts",
    "host/checks",
    "host/changes",
  ],
};

/** The command line is an application: it may use everything below it. */
const applications = [
  "cli",
  "cli/described",
  "cli/described/nvme",
  "cli/printed",
  "cli/printed/completion",
  "cli/topology",
  "cli/binding",
  "cli/host",
  "cli/nvme",
  "cli/nvme/admin",
  "cli/nvme/commands",
  "cli/nvme/io",
  "cli/nvme/conform",
  "cli/nvme/conform/checks",
  "cli/nvme/perf",
  "cli/nvme/raw",
  "cli/compare",
  "cli/new-driver",
  "cli/repl",
];
/** Doors re-export by name and hold no code. */
const doors = ["", "doors"];

/** Circles of files that stay: a parent makes its children, and children name their parent. */
const families: readonly (readonly string[])[] = [
  ["dma/buffer", "dma/space", "dma/window"],
  ["iommufd/fault-queue", "iommufd/hwpt", "iommufd/ioas", "iommufd/iommufd"],
  ["iommufd/hw-queue", "iommufd/vdevice", "iommufd/veventq", "iommufd/viommu"],
];

const src = join(packageRoot(), "src");
const files = readdirSync(src, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".ts"));

const roomOf = (file: string): string => (dirname(file) === "." ? "" : dirname(file));

const imports = sourceGraph(src);

test("each folder of src/ has a row in the table of rooms", () => {
  const known = [...Object.keys(rooms), ...applications, ...doors].sort();
  expect([...new Set(files.map(roomOf))].sort()).toEqual(known);
});

test("a file imports only from rooms that the table allows", () => {
  const wrong: string[] = [];
  for (const [file, targets] of imports) {
    const from = roomOf(file);
    if (applications.includes(from) || doors.includes(from)) continue;
    for (const target of targets) {
      const to = roomOf(target);
      const allowed = rooms[from] ?? [];
      // Where core may be used, so may the lifetimes in it.
      const isAllowed = allowed.includes(to) || (to === "core/lifetime" && allowed.includes("core"));
      if (to !== from && !isAllowed) wrong.push(`${file} imports ${target}`);
    }
  }
  expect(wrong).toEqual([]);
});

test("no arrow of the table leads back to an earlier row's user", () => {
  const order = Object.keys(rooms);
  const back = Object.entries(rooms).flatMap(([from, targets]) =>
    targets.filter((to) => order.indexOf(to) >= order.indexOf(from)).map((to) => `${from} -> ${to}`),
  );
  expect(back).toEqual([]);
});

test("no file outside src/sys/ imports koffi", () => {
  const users = files.filter((file) =>
    /(?:from|require\() ?["']koffi/.test(readFileSync(join(src, file), "utf8")),
  );
  expect(users.map(roomOf).filter((room) => room !== "sys")).toEqual([]);
});

test("files import one another in a circle only where a parent makes its children", () => {
  expect(circlesOf(imports)).toEqual(families);
});

test("no folder of src/ holds more than 25 files, but for the tables of specifications", () => {
  const counts = new Map<string, number>();
  for (const file of files) counts.set(roomOf(file), (counts.get(roomOf(file)) ?? 0) + 1);
  const long = [...counts].filter(([room, count]) => count > 25 && !room.endsWith("/spec"));
  expect(long).toEqual([]);
});
