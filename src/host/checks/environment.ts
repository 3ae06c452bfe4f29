/** Checks of what surrounds the program: Node.js, containers, security modules. */

import { allows } from "../facts/device-rules.js";
import type { HostFacts } from "../facts/facts.js";
import type { Finding } from "./check.js";
import { manual } from "./fixes.js";

const LEAST_NODE = 20;

export function nodeVersion({ runtime }: HostFacts): Finding {
  const { node, arch, libc, koffiError } = runtime;
  const where = "process.versions";
  const found = `Node.js ${node} on ${arch}, C library ${libc}`;
  if (Number.parseInt(node, 10) < LEAST_NODE) {
    const text = `install Node.js ${LEAST_NODE} or later`;
    return { state: "problem", found, where, fixes: [manual("use a newer Node.js", text)] };
  }
  if (koffiError === undefined) return { state: "ok", found, where };
  const text =
    "install the package again on this machine: npm rebuild koffi, or npm install with optional packages";
  return {
    state: "problem",
    found: `${found}; koffi can't be loaded: ${koffiError}`,
    where,
    fixes: [manual("install koffi for this machine", text)],
  };
}

export function inContainer({ container, security, user }: HostFacts): Finding {
  if (container === undefined) {
    return security.readOnlySysfs
      ? {
          state: "warning",
          found: "sysfs is read-only: drivers can't be changed from here",
          where: "/proc/self/mounts",
        }
      : { state: "not-applicable", found: "this is no container", where: "/proc/1" };
  }
  const lacks = (["CAP_SYS_ADMIN", "CAP_SYS_RAWIO", "CAP_IPC_LOCK"] as const).filter(
    (name) => !user.capabilities.has(name),
  );
  const notes = [
    `a container of ${container.kind}`,
    ...(security.readOnlySysfs ? ["sysfs is read-only, so bind devices on its host"] : []),
    ...(lacks.length === 0 ? [] : [`without ${lacks.join(", ")}`]),
  ];
  return { state: notes.length === 1 ? "ok" : "warning", found: notes.join("; "), where: container.where };
}

export function securityModules({ security, nodes }: HostFacts): Finding {
  const where = "/sys/kernel/security/lsm";
  const names = security.modules.length === 0 ? "not listed" : security.modules.join(", ");
  const selinux = security.selinuxEnforcing === true ? "; SELinux enforces its policy" : "";
  const found = `${names}${selinux}${security.confinement === undefined ? "" : `; this process is ${security.confinement}`}`;
  const refused = nodes.filter(
    ({ canOpen, errno, mode }) =>
      !canOpen && (errno === "EPERM" || ((mode & 6) === 6 && errno !== undefined)),
  );
  if (refused.length === 0) return { state: "ok", found, where };
  const text =
    "a security module, a control group's device rules or a container's manager refuses it: look for denials (sudo ausearch -m avc, " +
    "sudo dmesg | grep apparmor), and allow the nodes (systemd: DeviceAllow=)";
  const paths = refused.map(({ path, errno }) => `${path} (${errno})`).join(", ");
  return {
    state: "problem",
    found: `${found}; refused although permissions allow it: ${paths}`,
    where,
    fixes: [manual("allow the nodes", text)],
  };
}

/** Device rules of this process's control group. */
export function deviceRules({ deviceRules: list, nodes, container }: HostFacts): Finding {
  const text =
    container === undefined
      ? "allow the nodes in the unit of systemd that this process belongs to (DeviceAllow=/dev/iommu rw, DeviceAllow=char-vfio rw)"
      : "let the container's manager allow the nodes (--device /dev/iommu --device /dev/vfio, or --device-cgroup-rule)";
  const fixes = [manual("allow the nodes", text)];
  const named = (paths: readonly { readonly path: string }[]): string =>
    paths.map(({ path }) => path).join(", ");
  const failed = nodes.filter(({ errno }) => errno === "EPERM");
  if (list !== undefined) {
    const where = list.path;
    const refused = nodes.filter(({ number }) => number !== undefined && !allows(list.rules, number));
    if (refused.length > 0)
      return {
        state: "problem",
        found: `the rules of this control group refuse ${named(refused)}`,
        where,
        fixes,
      };
    // Where all devices but a few are allowed, the kernel's list has no exceptions.
    const excepted = list.rules.some(({ type }) => type === "a") ? failed : [];
    if (excepted.length === 0)
      return { state: "ok", found: "the rules of this control group refuse no node of VFIO", where };
    const found = `open() of ${named(excepted)} fails with EPERM, as by an exception of this control group's rules, which the list lacks`;
    return { state: "problem", found, where, fixes };
  }
  const where = "/proc/self/cgroup";
  if (container === undefined || failed.length === 0)
    return { state: "not-applicable", found: "there are no device rules that can be read", where };
  return {
    state: "problem",
    found: `open() of ${named(failed)} fails with EPERM, as by device rules of a control group of version 2, which can't be read`,
    where,
    fixes,
  };
}
