/** Fixes in the words of each distribution. */
import type { Distribution } from "../facts/distribution.js";
import type { CommandStep, Fix, FixStep } from "./check.js";

/** A command of root. @param undo what takes it back */
export function command(argv: readonly string[], undo?: readonly string[]): CommandStep {
  return { kind: "command", argv, undo };
}

/** Something that only a person can do. */
export function manual(summary: string, text: string, effect: Fix["effect"] = "now"): Fix {
  return { summary, steps: [{ kind: "manual", text }], effect };
}

/** Loads a module, now and at every boot. @param module as modprobe takes it */
export function loadModule({ init }: Distribution, module: string): Fix {
  const now = command(["modprobe", module], ["modprobe", "-r", module]);
  const atBoot: FixStep =
    init === "openrc"
      ? { kind: "manual", text: `add a line "${module}" to /etc/modules, so that it is loaded at boot` }
      : { kind: "file", path: `/etc/modules-load.d/iova-${module}.conf`, content: `${module}\n` };
  return { summary: `load ${module}, now and at boot`, steps: [now, atBoot], effect: "now" };
}

/** What makes GRUB's configuration of /etc/default/grub. */
function grubUpdate({ family }: Distribution): readonly string[] {
  if (family === "debian") return ["update-grub"];
  if (family === "suse") return ["grub2-mkconfig", "-o", "/boot/grub2/grub.cfg"];
  return ["grub-mkconfig", "-o", "/boot/grub/grub.cfg"];
}

/** `name=value` as a basic regular expression of sed. */
function literal(parameter: string): string {
  return parameter.replace(/[.[\]*^$/\\]/g, "\\$&");
}

/** A sed command that adds a parameter behind what a line begins with, and the one that takes it away. */
function edit(file: string, start: string, parameter: string): CommandStep {
  return command(
    ["sed", "-i", `s/^${start}/&${literal(parameter)} /`, file],
    ["sed", "-i", `/^${start}/ s/${literal(parameter)} //`, file],
  );
}

/** A sed command that adds a parameter at the end of a file's only line. */
function append(file: string, parameter: string): CommandStep {
  return command(
    ["sed", "-i", `1 s/$/ ${literal(parameter)}/`, file],
    ["sed", "-i", `1 s/ ${literal(parameter)}$//`, file],
  );
}

/** Adds a parameter to the kernel command line. */
export function addKernelParameter(distribution: Distribution, parameter: string): Fix {
  return {
    summary: `add ${parameter} to the kernel command line, and restart`,
    steps: addSteps(distribution, parameter),
    effect: "reboot",
  };
}

function addSteps(distribution: Distribution, parameter: string): FixStep[] {
  switch (distribution.boot) {
    case "grub": {
      const update = grubUpdate(distribution);
      return [edit("/etc/default/grub", 'GRUB_CMDLINE_LINUX="', parameter), command(update, update)];
    }
    case "grubby": {
      const all = ["grubby", "--update-kernel=ALL"];
      return [command([...all, `--args=${parameter}`], [...all, `--remove-args=${parameter}`])];
    }
    case "rpm-ostree":
      return [
        command(
          ["rpm-ostree", "kargs", `--append-if-missing=${parameter}`],
          ["rpm-ostree", "kargs", `--delete-if-present=${parameter}`],
        ),
      ];
    case "extlinux": {
      const update = ["update-extlinux"];
      return [
        edit("/etc/update-extlinux.conf", 'default_kernel_opts="\\?', parameter),
        command(update, update),
      ];
    }
    case "raspberry-pi":
      return [append("/boot/firmware/cmdline.txt", parameter)];
    case "kernel-install": {
      const update = distribution.family === "arch" ? ["mkinitcpio", "-P"] : ["kernel-install", "add-all"];
      return [append("/etc/kernel/cmdline", parameter), command(update, update)];
    }
    case "systemd-boot":
      return [
        {
          kind: "manual",
          text: `add ${parameter} to the line "options" of each file in /boot/loader/entries/`,
        },
      ];
    case "nixos":
      return [
        { kind: "manual", text: `add "${parameter}" to boot.kernelParams in /etc/nixos/configuration.nix` },
        command(["nixos-rebuild", "boot"]),
      ];
    default:
      return [
        {
          kind: "manual",
          text: `add ${parameter} to the kernel command line, in the boot loader's configuration`,
        },
      ];
  }
}

/** Takes a parameter off the kernel command line. */
export function removeKernelParameter(distribution: Distribution, parameter: string): Fix {
  const steps = addSteps(distribution, parameter).flatMap((step): FixStep[] => {
    if (step.kind === "manual")
      return [
        {
          kind: "manual",
          text: `remove ${parameter} from the kernel command line, in the boot loader's configuration`,
        },
      ];
    if (step.kind !== "command" || step.undo === undefined) return [step];
    // A parameter that a person wrote may stand anywhere in the line, and has no blank after it at the line's end.
    const [program, flag, , file] = step.argv;
    if (program !== "sed" || flag === undefined || file === undefined) return [command(step.undo, step.argv)];
    return [command([program, flag, `s/ *\\b${literal(parameter)}\\b//`, file], step.argv)];
  });
  return {
    summary: `remove ${parameter} from the kernel command line, and restart`,
    steps,
    effect: "reboot",
  };
}
