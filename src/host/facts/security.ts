/** What restricts even root: lockdown, secure boot, security modules, a read-only sysfs. */
import { chosenWord } from "./huge-pages.js";
import { parseMounts } from "./mounts.js";
import type { HostRoot } from "./root.js";

/** Restrictions of a host. */
export interface SecurityFacts {
  /** `none`, `integrity` or `confidentiality`; undefined if the kernel doesn't tell. */
  readonly lockdown: string | undefined;
  /** Undefined on hosts without UEFI, or where the variable can't be read. */
  readonly secureBoot: boolean | undefined;
  /** Linux security modules that are on. */
  readonly modules: readonly string[];
  /** Whether SELinux enforces its policy; undefined without SELinux. */
  readonly selinuxEnforcing: boolean | undefined;
  /** The AppArmor profile or SELinux context of this process; undefined if it has none. */
  readonly confinement: string | undefined;
  /** sysfs is mounted read-only, as in most containers: drivers can't be changed from here. */
  readonly readOnlySysfs: boolean;
  /** sysfs is there. Without it nothing is known of devices and IOMMUs. */
  readonly hasSysfs: boolean;
}

// EFI_GLOBAL_VARIABLE
const SECURE_BOOT = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";

export function readSecurity(root: HostRoot): SecurityFacts {
  // 4 bytes of attributes, then the value.
  const variable = root.bytes(SECURE_BOOT)?.[4];
  const enforcing = root.text("/sys/fs/selinux/enforce");
  const confinement = root.text("/proc/self/attr/current")?.replaceAll("\0", "");
  const sysfs = parseMounts(root.text("/proc/self/mounts") ?? "").filter(({ target }) => target === "/sys");
  return {
    lockdown: chosenWord(root.text("/sys/kernel/security/lockdown") ?? ""),
    secureBoot: variable === undefined ? undefined : variable === 1,
    modules: (root.text("/sys/kernel/security/lsm") ?? "").split(",").filter(Boolean),
    selinuxEnforcing: enforcing === undefined ? undefined : enforcing === "1",
    confinement: confinement === "" || confinement === "unconfined" ? undefined : confinement,
    readOnlySysfs: sysfs.at(-1)?.options.includes("ro") === true,
    hasSysfs: root.names("/sys").length > 0,
  };
}
