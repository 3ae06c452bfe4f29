/** Opens the controller that a command line names. */
import { ArgumentError, UnsupportedError } from "../../core/errors.js";
import { NvmeController } from "../../nvme/controller.js";
import type { NvmeOptions } from "../../nvme/engine/options.js";
import type { NvmeNamespace } from "../../nvme/namespace/namespace.js";
import { readPciFunction } from "../../pci/sysfs.js";
import { isVfioBound, VFIO_PCI } from "../../pci/vfio-driver.js";
import { isSocketTarget } from "../target.js";

/**
 * Checks that a function is bound to vfio-pci. The error names the command that binds it.
 * @throws ArgumentError (no such device), UnsupportedError (not bound to vfio-pci)
 */
export function assertBound(target: string): void {
  if (isSocketTarget(target)) return;
  const { driver } = readPciFunction(target);
  if (isVfioBound(target)) return;
  const has = driver === undefined ? "has no driver" : `is driven by the kernel's ${driver}`;
  throw new UnsupportedError(`${target} ${has}: bind it to ${VFIO_PCI} with "iova bind ${target}" first`);
}

/** @throws as assertBound() and NvmeController.open() */
export async function openController(target: string, options: NvmeOptions = {}): Promise<NvmeController> {
  assertBound(target);
  return await NvmeController.open(target, options);
}

/** Opens a controller for as long as `work` takes. @throws as openController(), and what `work` throws */
export async function withController<T>(
  target: string,
  options: NvmeOptions,
  work: (nvme: NvmeController) => Promise<T>,
): Promise<T> {
  await using nvme = await openController(target, options);
  return await work(nvme);
}

const SHOWN_IDS = 32;

/** Namespace ids for a message. */
function idsText(ids: readonly number[]): string {
  const more = ids.length - SHOWN_IDS;
  return ids.slice(0, SHOWN_IDS).join(", ") + (more > 0 ? ` and ${more} more` : "");
}

/** The wanted namespace, or the only one. @throws ArgumentError: not active, or several and none is wanted */
export async function namespaceId(nvme: NvmeController, wanted: number | undefined): Promise<number> {
  const ids = await nvme.namespaceIds();
  const [only, ...more] = ids;
  if (only === undefined) throw new ArgumentError(`${nvme.bdf} has no active namespace`);
  if (wanted !== undefined) {
    if (ids.includes(wanted)) return wanted;
    throw new ArgumentError(`${nvme.bdf} has no active namespace ${wanted}: it has ${idsText(ids)}`);
  }
  if (more.length > 0) {
    throw new ArgumentError(`${nvme.bdf} has the namespaces ${idsText(ids)}: say which with --namespace-id`);
  }
  return only;
}

/** @throws as namespaceId() and NvmeController.namespace() */
export async function openNamespace(
  nvme: NvmeController,
  wanted: number | undefined,
): Promise<NvmeNamespace> {
  return await nvme.namespace(await namespaceId(nvme, wanted));
}
