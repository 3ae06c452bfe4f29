/** Checks of the IOMMU: whether it is on, what keeps it off, interrupts, how mappings are made. */
import { type HostFacts, optionOf } from "../facts/facts.js";
import type { Finding, Fix } from "./check.js";
import { addKernelParameter, command, manual, removeKernelParameter } from "./fixes.js";

const CMDLINE = "/proc/cmdline";
const UNITS = "/sys/class/iommu";

/** Whether devices have groups that an IOMMU made. */
export function isIommuOn({ iommu }: HostFacts): boolean {
  return iommu.groups > 0;
}

const OFF_SWITCHES = ["intel_iommu", "amd_iommu", "iommu"];

export function iommuOn(facts: HostFacts): Finding {
  const { iommu } = facts;
  if (!isIommuOn(facts)) return whyOff(facts);
  const kinds = new Map<string, number>();
  for (const { kind } of iommu.units) kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
  const units = [...kinds].map(([kind, count]) => `${count} of kind ${kind}`).join(", ");
  return {
    state: "ok",
    found: `on: ${iommu.units.length} units (${units === "" ? "not listed" : units}), ${iommu.groups} groups`,
    where: UNITS,
  };
}

function whyOff(facts: HostFacts): Finding {
  const { commandLine, iommu, distribution, switches, security } = facts;
  const problem = (found: string, where: string, fix: Fix): Finding => ({
    state: "problem",
    found,
    where,
    fixes: [fix],
  });
  const name = OFF_SWITCHES.find((each) => commandLine.has(each, "off"));
  if (name !== undefined) {
    return problem(
      `off: ${name}=off is on the kernel command line`,
      CMDLINE,
      removeKernelParameter(distribution, `${name}=off`),
    );
  }
  if (!security.hasSysfs) {
    return problem(
      "unknown, as all devices are: /sys isn't mounted",
      "/sys",
      manual(
        "mount sysfs",
        "mount it (sudo mount -t sysfs sysfs /sys), or let the container's manager do that",
      ),
    );
  }
  if (switches.noiommu === true) {
    return {
      state: "warning",
      found: "off, and no-IOMMU mode is on: devices reach all memory",
      where: "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode",
    };
  }
  const tables = "/sys/firmware/acpi/tables";
  const has = (table: string): boolean => iommu.tables?.includes(table) === true;
  if (has("DMAR")) {
    const { state, source } = optionOf(facts, "INTEL_IOMMU");
    return state === "off"
      ? problem(
          "off: the firmware announces VT-d, and the kernel has no driver for it (INTEL_IOMMU)",
          source,
          manual("use another kernel", "install a kernel with CONFIG_INTEL_IOMMU, and start it", "reboot"),
        )
      : problem(
          "off: the firmware announces VT-d, and the kernel doesn't use it",
          CMDLINE,
          addKernelParameter(distribution, "intel_iommu=on"),
        );
  }
  if (has("IVRS")) {
    return problem(
      "off: the firmware announces AMD-Vi, and the kernel doesn't use it",
      tables,
      manual(
        "use a kernel with CONFIG_AMD_IOMMU",
        "install a kernel with CONFIG_AMD_IOMMU; sudo dmesg | grep -i AMD-Vi says what failed",
        "reboot",
      ),
    );
  }
  if (has("IORT") || has("VIOT") || iommu.deviceTree.length > 0) {
    return problem(
      "off: the firmware announces an IOMMU, and the kernel has no driver for it",
      tables,
      manual(
        "use another kernel",
        "install a kernel with CONFIG_ARM_SMMU_V3, CONFIG_ARM_SMMU or CONFIG_VIRTIO_IOMMU, whichever the machine has",
        "reboot",
      ),
    );
  }
  return problem(
    "off: the firmware announces no IOMMU (no DMAR, IVRS, IORT or VIOT table)",
    tables,
    manual(
      "switch it on in the firmware",
      "enable VT-d (Intel) or AMD-Vi, also called IOMMU (AMD), in the firmware's setup. In a virtual machine, give it an IOMMU (QEMU: -device intel-iommu,intremap=on). There may be none: then use an emulated device",
      "reboot",
    ),
  );
}

export function interruptRemapping(facts: HostFacts): Finding {
  const { iommu, switches, commandLine, distribution } = facts;
  const where = "/proc/interrupts";
  if (!isIommuOn(facts)) return { state: "not-applicable", found: "there is no IOMMU that could", where };
  if (iommu.interruptRemapping === undefined)
    return { state: "not-applicable", found: "this architecture isolates interrupts by other means", where };
  if (iommu.interruptRemapping) return { state: "ok", found: "interrupts are remapped", where };
  const found = "interrupts aren't remapped";
  if (switches.iommufdUnsafeInterrupts === true || switches.type1UnsafeInterrupts === true) {
    return { state: "warning", found: `${found}, and allow_unsafe_interrupts accepts that`, where };
  }
  const parameter = ["intremap=off", "nointremap"].find((each) => {
    const [name = "", value = ""] = each.split("=");
    return commandLine.all(name).includes(value);
  });
  if (parameter !== undefined) {
    const fixes = [removeKernelParameter(distribution, parameter), ...acceptUnsafe(facts)];
    return {
      state: "problem",
      found: `${found}: ${parameter} is on the kernel command line`,
      where: CMDLINE,
      fixes,
    };
  }
  const text =
    "enable interrupt remapping or x2APIC in the firmware's setup (QEMU: -device intel-iommu,intremap=on). If you trust the device, " +
    "accept it without: iommufd.allow_unsafe_interrupts=1 or vfio_iommu_type1.allow_unsafe_interrupts=1 on the kernel command line";
  return {
    state: "problem",
    found,
    where,
    fixes: [manual("switch it on", text, "reboot"), ...acceptUnsafe(facts)],
  };
}

/** Lets a device that is trusted be used, where the modules that can allow it are loaded. */
function acceptUnsafe({ switches }: HostFacts): Fix[] {
  const flags = [
    ...(switches.iommufdUnsafeInterrupts === false ? ["iommufd"] : []),
    ...(switches.type1UnsafeInterrupts === false ? ["vfio_iommu_type1"] : []),
  ];
  const set = (module: string, value: string): string[] => [
    ...["sh", "-c"],
    `echo ${value} > /sys/module/${module}/parameters/allow_unsafe_interrupts`,
  ];
  const steps = flags.map((module) => command(set(module, "1"), set(module, "0")));
  return steps.length === 0
    ? []
    : [{ summary: "or, if you trust the device, accept it until the next start", steps, effect: "now" }];
}

export function translation(facts: HostFacts): Finding {
  const where = "/sys/kernel/iommu_groups/*/type";
  const { domainTypes } = facts.iommu;
  if (domainTypes.size === 0) return { state: "not-applicable", found: "there are no groups", where };
  const words: Readonly<Record<string, string>> = {
    DMA: "strict",
    "DMA-FQ": "lazy",
    identity: "passthrough",
    blocked: "blocked",
    unmanaged: "managed by programs",
  };
  const found = [...domainTypes].map(([type, count]) => `${count} ${words[type] ?? type}`).join(", ");
  return { state: "ok", found: `groups of the kernel's own drivers: ${found}`, where };
}
