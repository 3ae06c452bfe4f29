/** Every command, in the order of the list that `iova help` prints. */
import { bindDescription } from "./bind.js";
import { compareDescription } from "./compare.js";
import { completionDescription } from "./completion.js";
import type { CommandDescription } from "./description.js";
import { doctorDescription } from "./doctor.js";
import { emulateDescription } from "./emulate.js";
import { helpDescription } from "./help.js";
import { hugePagesDescription } from "./hugepages.js";
import { listDescription } from "./list.js";
import { mdevDescription } from "./mdev.js";
import { newDriverDescription } from "./new-driver.js";
import { nvmeDescription, nvmeDescriptions } from "./nvme.js";
import { permissionsDescription } from "./permissions.js";
import { replDescription } from "./repl.js";
import { resetDescription } from "./reset.js";
import { restoreDescription } from "./restore.js";
import { serveDescription } from "./serve.js";
import { showDescription } from "./show.js";
import { sriovDescription } from "./sriov.js";
import { unbindDescription } from "./unbind.js";
import { vfsDescription } from "./vfs.js";
import { watchDescription } from "./watch.js";

export const descriptions = [
  doctorDescription,
  restoreDescription,
  listDescription,
  showDescription,
  bindDescription,
  unbindDescription,
  permissionsDescription,
  hugePagesDescription,
  serveDescription,
  watchDescription,
  resetDescription,
  sriovDescription,
  vfsDescription,
  mdevDescription,
  compareDescription,
  emulateDescription,
  replDescription,
  nvmeDescription,
  newDriverDescription,
  completionDescription,
  helpDescription,
] as const;

export type CommandName = (typeof descriptions)[number]["name"];

/** Finds a command, or a subcommand of nvme by any of its names. */
export function findDescription(name: string, subcommand?: string): CommandDescription | undefined {
  if (name === nvmeDescription.name && subcommand !== undefined) {
    const found = nvmeDescriptions.find(
      (each) => each.name === `nvme ${subcommand}` || Object.hasOwn(each.aliases ?? {}, subcommand),
    );
    return found;
  }
  return descriptions.find((each) => each.name === name);
}
