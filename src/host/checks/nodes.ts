/** Checks of device nodes: whether they exist, and whether the user can open them. */
import { type HostFacts, optionOf } from "../facts/facts.js";
import type { DeviceNode } from "../facts/nodes.js";
import { joinGroup, MADE_GROUP, makeGroup } from "./access-group.js";
import type { Finding, Fix, FixStep } from "./check.js";
import { command, manual } from "./fixes.js";
import { moduleFix } from "./modules.js";
import { deviceRules, type RuleFile, sharedRules } from "./node-rules.js";

/** The node at a path; undefined if there is none. */
export function nodeAt({ nodes }: HostFacts, path: string | undefined): DeviceNode | undefined {
  return nodes.find((node) => node.path === path);
}

const RELOAD = ["udevadm", "control", "--reload"];
const TRIGGER = [
  ...["udevadm", "trigger"],
  ...["misc", "vfio", "vfio-dev"].map((subsystem) => `--subsystem-match=${subsystem}`),
];

/** A rule as `iova permissions` writes it, which takes effect at once if udev runs. */
function ruleFix(facts: HostFacts, summary: string, groupSteps: readonly FixStep[], rules: RuleFile): Fix {
  const udev = facts.udev ? [command(RELOAD, RELOAD), command(TRIGGER, TRIGGER)] : [];
  return {
    summary,
    steps: [...groupSteps, { kind: "file", ...rules }, ...udev],
    effect: groupSteps.length > 0 ? "login" : "now",
  };
}

function containerFix(): Fix {
  const text =
    "give the container the nodes with its manager's options, such as --device /dev/iommu --device /dev/vfio";
  return manual("pass the nodes to the container", text);
}

/** Gives the nodes that all devices share to a group, and the user to the group. */
function sharedFix(facts: HostFacts): Fix {
  const { user, container, distribution, accessGroup } = facts;
  if (container !== undefined) return containerFix();
  const groupSteps = [
    ...(accessGroup === undefined ? [makeGroup(distribution)] : []),
    ...(accessGroup?.members.includes(user.name) === true ? [] : [joinGroup(distribution, user.name)]),
  ];
  return ruleFix(
    facts,
    `give the nodes to a group, and ${user.name} to it`,
    groupSteps,
    sharedRules(accessGroup?.spelling ?? MADE_GROUP),
  );
}

/** Gives a device's nodes to the user. */
function deviceFix(facts: HostFacts, bdf: string): Fix {
  const { user, container } = facts;
  if (container !== undefined) return containerFix();
  const rules = deviceRules(bdf, user.spelling);
  return ruleFix(facts, `give the nodes of ${bdf} to ${user.name}`, [], rules);
}

function described({ path, owner, group, mode, canOpen, errno }: DeviceNode): string {
  const reason = errno === undefined ? "" : ` (${errno})`;
  return `${path} of ${owner}:${group}, mode ${mode.toString(8).padStart(4, "0")}${canOpen ? "" : `, can't be opened${reason}`}`;
}

function nodeFinding(
  facts: HostFacts,
  path: string,
  isOff: boolean,
  isNeeded: boolean,
  module: "vfio-pci" | "iommufd",
): Finding {
  const node = nodeAt(facts, path);
  if (node === undefined) {
    if (isOff) return { state: "not-applicable", found: "this kernel has none", where: path };
    const fix = facts.container === undefined ? moduleFix(facts, module) : sharedFix(facts);
    return {
      state: isNeeded ? "problem" : "warning",
      found: `there is no ${path}`,
      where: path,
      fixes: [fix],
    };
  }
  if (node.canOpen) return { state: "ok", found: described(node), where: path };
  return {
    state: isNeeded ? "problem" : "warning",
    found: described(node),
    where: path,
    fixes: [sharedFix(facts)],
  };
}

/** iommufd is needed where type1 can't serve. */
export function iommufdNode(facts: HostFacts): Finding {
  const isOff = optionOf(facts, "IOMMUFD").state === "off";
  const container = nodeAt(facts, "/dev/vfio/vfio");
  return nodeFinding(facts, "/dev/iommu", isOff, container?.canOpen !== true, "iommufd");
}

export function containerNode(facts: HostFacts): Finding {
  const isOff = optionOf(facts, "VFIO").state === "off";
  const iommufd = nodeAt(facts, "/dev/iommu");
  return nodeFinding(facts, "/dev/vfio/vfio", isOff, iommufd?.canOpen !== true, "vfio-pci");
}

/** The nodes of one device. */
export function deviceNodes(facts: HostFacts, bdf: string, paths: readonly (string | undefined)[]): Finding {
  const wanted = paths.filter((path) => path !== undefined);
  const nodes = wanted.flatMap((path) => nodeAt(facts, path) ?? []);
  const where = wanted[0] ?? "/dev/vfio";
  if (wanted.length === 0)
    return { state: "not-applicable", found: "it has none: it isn't bound to a driver of VFIO", where };
  if (nodes.length === 0) {
    const fix =
      facts.container === undefined
        ? manual("make them", "udev or devtmpfs makes them: mount devtmpfs on /dev, or start udev")
        : deviceFix(facts, bdf);
    return { state: "problem", found: `there is no ${wanted.join(", no ")}`, where, fixes: [fix] };
  }
  const found = nodes.map(described).join("; ");
  if (nodes.every(({ canOpen }) => canOpen)) return { state: "ok", found, where };
  const state = nodes.some(({ canOpen }) => canOpen) ? "warning" : "problem";
  return { state, found, where, fixes: [deviceFix(facts, bdf)] };
}
