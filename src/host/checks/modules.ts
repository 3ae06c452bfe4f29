/** Checks of kernel modules: loaded, kept from loading, and switches that give protection away. */
import { type HostFacts, type HostModule, moduleNames, optionOf } from "../facts/facts.js";
import { obstaclesOf, vfioPciIds } from "../facts/modprobe.js";
import type { Finding, Fix } from "./check.js";
import { command, loadModule, manual } from "./fixes.js";

export function vfioPciLoaded(facts: HostFacts): Finding {
  const state = facts.modules.vfio_pci;
  const option = optionOf(facts, "VFIO_PCI");
  if (state === "loaded") return { state: "ok", found: "vfio-pci is loaded", where: "/proc/modules" };
  if (state === "built-in" || option.state === "built-in")
    return { state: "ok", found: "vfio-pci is built in", where: option.source };
  if (option.state === "off")
    return { state: "not-applicable", found: "this kernel has no vfio-pci", where: option.source };
  if (facts.container !== undefined && state === "unknown") {
    const text = "run modprobe vfio-pci on the host of this container";
    return {
      state: "problem",
      found: "vfio-pci isn't loaded",
      where: "/proc/modules",
      fixes: [manual("load it on the host", text)],
    };
  }
  const lists = `/lib/modules/${facts.kernel.release}`;
  const found = {
    missing: `vfio-pci isn't loaded, and isn't among the modules in ${lists}`,
    unknown: `vfio-pci isn't loaded, and there is no list of this kernel's modules in ${lists}`,
    loadable: "vfio-pci isn't loaded",
  }[state];
  return { state: "problem", found, where: "/proc/modules", fixes: [moduleFix(facts, "vfio-pci")] };
}

/** Whether a module can't be loaded by a command, because it isn't there. */
export function isModuleAbsent({ modules }: HostFacts, module: HostModule): boolean {
  return modules[module] === "missing" || modules[module] === "unknown";
}

/** Loads a module, or says where it is to be had. @param module as modprobe takes it */
export function moduleFix(facts: HostFacts, module: "vfio-pci" | "iommufd"): Fix {
  const { distribution, kernel } = facts;
  if (!isModuleAbsent(facts, module === "iommufd" ? module : "vfio_pci"))
    return loadModule(distribution, module);
  const { release } = kernel;
  const id = distribution.id === "ubuntu" ? "ubuntu" : distribution.family;
  const commands: Partial<Record<string, string>> = {
    ubuntu: `sudo apt-get install --reinstall linux-modules-${release} linux-modules-extra-${release}`,
    debian: `sudo apt-get install --reinstall linux-image-${release}`,
    fedora: `sudo dnf install kernel-modules-${release}`,
  };
  const install = commands[id] ?? `install the package with the modules of the kernel ${release}`;
  const text = `restart the machine if its kernel was updated; else: ${install}, then: sudo modprobe ${module}`;
  return manual("install the modules of this kernel", text);
}

export function obstacles(facts: HostFacts): Finding {
  const lines = moduleNames.flatMap((name) => obstaclesOf(facts.modprobe, name));
  const [first] = lines;
  if (first === undefined)
    return { state: "ok", found: "no configuration keeps VFIO's modules away", where: "/etc/modprobe.d" };
  const found = lines
    .map(({ kind, module, rest, where }) => `${kind} ${module} ${rest}`.trimEnd().concat(` (${where})`))
    .join(", ");
  const isReplaced = lines.some(({ kind }) => kind === "install");
  const text = `remove these lines: ${lines.map(({ where }) => where).join(", ")}`;
  return {
    state: isReplaced ? "problem" : "warning",
    found,
    where: first.where,
    fixes: [manual("let them load", text)],
  };
}

export function claimedIds({ modprobe, switches, commandLine }: HostFacts): Finding {
  const where = "/etc/modprobe.d";
  const ids = [
    ...new Set([...vfioPciIds(modprobe), ...switches.vfioPciIds, ...commandLine.all("vfio_pci.ids")]),
  ];
  if (ids.length === 0)
    return { state: "not-applicable", found: "vfio-pci claims no devices by their ids", where };
  const softdeps = modprobe.filter(({ kind, rest }) => kind === "softdep" && /vfio[-_]pci/.test(rest));
  const early = softdeps.length > 0 ? "; softdep lines load vfio-pci first" : "";
  return { state: "ok", found: `vfio-pci claims every device with the id ${ids.join(", ")}${early}`, where };
}

export function unsafeSwitches({ switches }: HostFacts): Finding {
  const on = [
    { on: switches.iommufdUnsafeInterrupts, path: "/sys/module/iommufd/parameters/allow_unsafe_interrupts" },
    {
      on: switches.type1UnsafeInterrupts,
      path: "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts",
    },
    { on: switches.noiommu, path: "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode" },
  ].filter((each) => each.on === true);
  const [first] = on;
  if (first === undefined)
    return { state: "ok", found: "no switch gives protection away", where: "/sys/module" };
  return {
    state: "warning",
    found: `on: ${on.map(({ path }) => path).join(", ")}`,
    where: first.path,
    fixes: [
      {
        summary: "switch it off until the next start",
        steps: on.map(({ path }) =>
          command(["sh", "-c", `echo 0 > ${path}`], ["sh", "-c", `echo 1 > ${path}`]),
        ),
        effect: "now",
      },
    ],
  };
}
