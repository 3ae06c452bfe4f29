/** The kernel command line (Documentation/admin-guide/kernel-parameters.rst). */
import type { HostRoot } from "./root.js";

/** One parameter of the command line. */
export interface KernelParameter {
  /** With `_` for `-`, which the kernel takes for the same. */
  readonly name: string;
  /** Undefined for a name without `=`. */
  readonly value: string | undefined;
}

/** The kernel command line, taken apart. */
export class KernelCommandLine {
  constructor(
    /** As the kernel got it. */
    readonly text: string,
    /** Its parameters in order, up to `--`. */
    readonly parameters: readonly KernelParameter[],
  ) {}

  /** Values of a parameter, in order; the empty text for one without `=`. */
  all(name: string): string[] {
    const wanted = name.replaceAll("-", "_");
    return this.parameters.flatMap((each) => (each.name === wanted ? [each.value ?? ""] : []));
  }

  /** The last value of a parameter, which counts for most; undefined if it isn't there. */
  last(name: string): string | undefined {
    return this.all(name).at(-1);
  }

  /** Whether some value of a parameter has an item: `intel_iommu=on,sm_on` has `on` and `sm_on`. */
  has(name: string, item: string): boolean {
    return this.all(name).some((value) => value.split(",").includes(item));
  }
}

/** Takes a command line apart; `"` keeps blanks together. Never throws. */
export function parseCommandLine(text: string): KernelCommandLine {
  const words: readonly string[] = text.match(/(?:"[^"]*(?:"|$)|[^\s"])+/g) ?? [];
  const end = words.indexOf("--");
  const own = end < 0 ? words : words.slice(0, end);
  const parameters = own.map((word) => {
    const plain = word.replaceAll('"', "");
    const at = plain.indexOf("=");
    return {
      name: (at < 0 ? plain : plain.slice(0, at)).replaceAll("-", "_"),
      value: at < 0 ? undefined : plain.slice(at + 1),
    };
  });
  return new KernelCommandLine(text, parameters);
}

export function readCommandLine(root: HostRoot): KernelCommandLine {
  return parseCommandLine(root.text("/proc/cmdline") ?? "");
}

/** A boolean parameter as the kernel reads it (kstrtobool()); a name alone means yes. Undefined for another text. */
export function kernelBoolean(value: string): boolean | undefined {
  if (/^(?:|1|y|yes|t|true|on)$/i.test(value)) return true;
  if (/^(?:0|n|no|f|false|off)$/i.test(value)) return false;
  return undefined;
}
