/** Which distribution this is, and how it boots: advice names its own commands. */
import { linesOf } from "./lines.js";
import type { HostRoot } from "./root.js";

/** Distributions whose commands are the same. */
export type Family = "debian" | "fedora" | "suse" | "arch" | "alpine" | "nixos" | "other";

/** How the kernel command line is changed. */
export type BootTool =
  | "grub"
  | "grubby"
  | "systemd-boot"
  | "kernel-install"
  | "extlinux"
  | "raspberry-pi"
  | "rpm-ostree"
  | "nixos"
  | "unknown";

/** A distribution. */
export interface Distribution {
  /** `debian`, `fedora`, ...; empty if the host has no os-release. */
  readonly id: string;
  /** For people: `Debian GNU/Linux 13 (trixie)`. */
  readonly name: string;
  readonly family: Family;
  readonly boot: BootTool;
  /** What starts services. */
  readonly init: "systemd" | "openrc" | "unknown";
}

/** Parses os-release(5): shell assignments. Never throws. */
export function parseOsRelease(text: string): Map<string, string> {
  const values = new Map<string, string>();
  for (const line of linesOf(text)) {
    const [, name, value = ""] = /^\s*([A-Z][A-Z0-9_]*)=(.*)$/.exec(line) ?? [];
    if (name === undefined) continue;
    const [, double, single] = /^(?:"(.*)"|'(.*)')$/.exec(value) ?? [];
    values.set(name, (double ?? single ?? value).replace(/\\(["$`\\])/g, "$1"));
  }
  return values;
}

const families: readonly (readonly [Family, RegExp])[] = [
  ["nixos", /^nixos$/],
  ["debian", /^(?:debian|ubuntu|raspbian)$/],
  ["fedora", /^(?:fedora|rhel|centos)$/],
  ["suse", /^(?:suse|opensuse.*|sles)$/],
  ["arch", /^(?:arch|archarm)$/],
  ["alpine", /^alpine$/],
];

/** The family by ID, then by ID_LIKE. */
export function familyOf(values: ReadonlyMap<string, string>): Family {
  const ids = [values.get("ID") ?? "", ...(values.get("ID_LIKE") ?? "").split(/\s+/)];
  for (const id of ids) {
    const found = families.find(([, pattern]) => pattern.test(id));
    if (found !== undefined) return found[0];
  }
  return "other";
}

export function readDistribution(root: HostRoot): Distribution {
  const values = parseOsRelease(root.text("/etc/os-release") ?? root.text("/usr/lib/os-release") ?? "");
  const family = familyOf(values);
  const id = values.get("ID") ?? "";
  return {
    id,
    name: values.get("PRETTY_NAME") ?? values.get("NAME") ?? (id === "" ? "an unknown distribution" : id),
    family,
    boot: bootTool(root, family),
    init: root.exists("/run/systemd/system") ? "systemd" : root.exists("/run/openrc") ? "openrc" : "unknown",
  };
}

function bootTool(root: HostRoot, family: Family): BootTool {
  if (family === "nixos") return "nixos";
  if (root.exists("/run/ostree-booted")) return "rpm-ostree";
  if (root.exists("/boot/firmware/cmdline.txt")) return "raspberry-pi";
  if (family === "fedora") return "grubby";
  if (root.exists("/etc/update-extlinux.conf")) return "extlinux";
  if (root.exists("/etc/default/grub")) return "grub";
  if (root.exists("/etc/kernel/cmdline")) return "kernel-install";
  return root.exists("/boot/loader/entries") ? "systemd-boot" : "unknown";
}

const UDEV_SOCKET = "/run/udev/control";

/**
 * Whether udev runs, which reads rules and makes nodes: by its socket. In containers and small systems udevadm may be there without
 * udev, and fails then. A udev that has ended leaves its socket behind, so on this host the kernel's list of open sockets must have it, too.
 */
export function runsUdev(root: HostRoot): boolean {
  if (!root.exists(UDEV_SOCKET)) return false;
  const open = root.isLive ? root.text("/proc/net/unix") : undefined;
  return open === undefined || open.split("\n").some((line) => line.endsWith(` ${UDEV_SOCKET}`));
}
