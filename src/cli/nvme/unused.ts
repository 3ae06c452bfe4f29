/** Looks for partitions, file systems and volumes before a command destroys data, and refuses if there are some. */
import { BusyError, IovaError, UnsupportedError } from "../../core/errors.js";
import { NvmeError } from "../../nvme/command/error.js";
import type { NvmeController } from "../../nvme/controller.js";
import { contentsOf } from "../../nvme/namespace/contents.js";

/** The namespace whose data is destroyed, or all of the controller. */
export type Destroyed = number | "all";

/**
 * The kernel knows no partitions of a controller that it doesn't drive, so the blocks are read.
 * @param force don't look
 * @throws BusyError if a namespace holds something, IovaError if it can't be read
 */
export async function assertUnused(nvme: NvmeController, which: Destroyed, force: boolean): Promise<void> {
  if (force) return;
  const ids = await nvme.namespaceIds();
  // One that isn't attached can't be read.
  for (const nsid of which === "all" ? ids : ids.filter((id) => id === which)) {
    const found = await contents(nvme, nsid);
    if (found.length === 0) continue;
    throw new BusyError(
      `namespace ${nsid} of ${nvme.bdf} holds ${found.join(" and ")}: nothing was changed; --force destroys it`,
    );
  }
}

async function contents(nvme: NvmeController, nsid: number): Promise<readonly string[]> {
  try {
    return await contentsOf(await nvme.namespace(nsid));
  } catch (error) {
    // It has no blocks: its command set is another one.
    if (error instanceof UnsupportedError) return [];
    if (!(error instanceof NvmeError)) throw error;
    throw new IovaError(
      error.code,
      `what namespace ${nsid} of ${nvme.bdf} holds can't be read (${error.message}): nothing was changed; --force doesn't look`,
      { cause: error },
    );
  }
}
