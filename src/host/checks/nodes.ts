/** Checks of device nodes: whether they exist, and whether the user can open them. */
import { type HostFacts, optionOf } from "../facts/facts.js";
import type { DeviceNode } from "../facts/nodes.js";
import { joinGroup, makeGroup } from "./access-group.js";
import type { Finding, Fix } from "./check.js";
import { command, loadModule, manual } from "./fixes.js";

/** The node at a path; undefined if there is none. */
export function nodeAt({ nodes }: HostFacts, path: string | undefined): DeviceNode | undefined {
  return nodes.find((node) => node.path === path);
}

const RULES = `KERNEL=="iommu", SUBSYSTEM=="misc", GROUP="iova", MODE="0660"
SUBSYSTEM=="vfio-dev", GROUP="iova", MODE="0660"
KERNEL=="vfio", SUBSYSTEM=="misc", GROUP="iova", MODE="0660"
SUBSYSTEM=="vfio", GROUP="iova", MODE="0660"
`;

/** Gives the nodes to a group, and the user to the group. */
function permissionFix({ user, container, distribution, accessGroup, udev }: HostFacts): Fix {
  if (container !== undefined) {
    const text =
      "give the container the nodes with its manager's options, such as --device /dev/iommu --device /dev/vfio";
    return manual("pass the nodes to the container", text);
  }
  const reload = ["udevadm", "control", "--reload"];
  const trigger = [
    "udevadm",
    "trigger",
    "--subsystem-match=misc",
    "--subsystem-match=vfio",
    "--subsystem-match=vfio-dev",
  ];
  return {
    summary: `give the nodes to a group, and ${user.name} to it`,
    steps: [
      ...(accessGroup === undefined ? [makeGroup(distribution)] : []),
      ...(accessGroup?.members.includes(user.name) === true ? [] : [joinGroup(distribution, user.name)]),
      { kind: "file", path: "/etc/udev/rules.d/90-iova.rules", content: RULES },
      ...(udev ? [command(reload, reload), command(trigger, trigger)] : []),
    ],
    effect: "login",
  };
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
  module: string,
): Finding {
  const node = nodeAt(facts, path);
  if (node === undefined) {
    if (isOff) return { state: "not-applicable", found: "this kernel has none", where: path };
    const fix = facts.container === undefined ? loadModule(facts.distribution, module) : permissionFix(facts);
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
    fixes: [permissionFix(facts)],
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
export function deviceNodes(facts: HostFacts, paths: readonly (string | undefined)[]): Finding {
  const wanted = paths.filter((path) => path !== undefined);
  const nodes = wanted.flatMap((path) => nodeAt(facts, path) ?? []);
  const where = wanted[0] ?? "/dev/vfio";
  if (wanted.length === 0)
    return { state: "not-applicable", found: "it has none: it isn't bound to a driver of VFIO", where };
  if (nodes.length === 0) {
    const fix =
      facts.container === undefined
        ? manual("make them", "udev or devtmpfs makes them: mount devtmpfs on /dev, or start udev")
        : permissionFix(facts);
    return { state: "problem", found: `there is no ${wanted.join(", no ")}`, where, fixes: [fix] };
  }
  const found = nodes.map(described).join("; ");
  if (nodes.every(({ canOpen }) => canOpen)) return { state: "ok", found, where };
  const state = nodes.some(({ canOpen }) => canOpen) ? "warning" : "problem";
  return { state, found, where, fixes: [permissionFix(facts)] };
}
