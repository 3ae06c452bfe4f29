/** Finds the kernel's uAPI headers. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { cacheDirectory } from "../../guest/cache.js";
import { headersBeside } from "../../guest/kernel.js";

/**
 * A folder whose include/ has a kernel's uAPI headers: IOVA_KERNEL_HEADERS, or those of a guest kernel that was built
 * before. Never builds one. The distribution's headers may be older than the declarations here.
 * @throws Error if IOVA_KERNEL_HEADERS leads nowhere
 */
export function findKernelHeaders(): string | undefined {
  const given = process.env["IOVA_KERNEL_HEADERS"];
  if (given) {
    if (existsSync(join(given, "include", "linux", "iommufd.h"))) return given;
    throw new Error(`IOVA_KERNEL_HEADERS is ${given}, where there is no include/linux/iommufd.h`);
  }
  const store = join(cacheDirectory(), "kernels");
  // The newest kernel that the guest tool has recorded. Older series lack some declarations.
  const record = join(store, "latest");
  if (!existsSync(record)) return undefined;
  const version = readFileSync(record, "utf8").trim();
  for (const folder of readdirSync(store)) {
    const headers = folder.startsWith(`${version}-`) && headersBeside(join(store, folder, "bzImage"));
    if (headers) return headers;
  }
  return undefined;
}
