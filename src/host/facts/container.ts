/** Whether the process runs in a container, whose devices and limits its manager decides. */
import type { HostRoot } from "./root.js";

/** A container, and what shows it. */
export interface ContainerFacts {
  /** `docker`, `podman`, `kubernetes`, `lxc`, `systemd-nspawn`, `wsl`, or the name that the manager gives itself. */
  readonly kind: string;
  readonly where: string;
}

/** The manager by the paths of control groups. Never throws. */
export function containerOfCgroup(text: string): string | undefined {
  if (text.includes("kubepods")) return "kubernetes";
  const [, name] = /\/(docker|lxc|libpod)[/-]/.exec(text) ?? [];
  return name === "libpod" ? "podman" : name;
}

/** @param release of the kernel */
export function readContainer(root: HostRoot, release: string): ContainerFacts | undefined {
  // systemd's interface for containers: the manager names itself.
  const named = root.text("/run/systemd/container");
  if (named !== undefined && named !== "") return { kind: named, where: "/run/systemd/container" };
  if (root.exists("/run/.containerenv")) return { kind: "podman", where: "/run/.containerenv" };
  const ofFirst = root.text("/proc/1/cgroup") ?? "";
  const byCgroup = containerOfCgroup(ofFirst);
  if (byCgroup !== undefined) return { kind: byCgroup, where: "/proc/1/cgroup" };
  // A machine made of an image keeps this file. Only a machine shows the kernel's threads, or a container that shares its host's processes,
  // whose control groups are outside of its own.
  const isMachine = root.text("/proc/2/comm") === "kthreadd" && !ofFirst.includes("/..");
  const own = containerOfCgroup(root.text("/proc/self/cgroup") ?? "");
  if (own !== undefined) return { kind: own, where: "/proc/self/cgroup" };
  if (!isMachine && root.exists("/.dockerenv")) return { kind: "docker", where: "/.dockerenv" };
  const [, variable] = /(?:^|\0)container=([^\0]+)/.exec(root.text("/proc/1/environ") ?? "") ?? [];
  if (variable !== undefined) return { kind: variable, where: "/proc/1/environ" };
  return /microsoft/i.test(release) ? { kind: "wsl", where: "/proc/sys/kernel/osrelease" } : undefined;
}
