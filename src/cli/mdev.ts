/** `iova mdev`: lists, creates and removes mediated devices. */
import { visible } from "../core/visible.js";
import {
  createMediatedDevice,
  listMediatedDevices,
  listMediatedParents,
  removeMediatedDevice,
} from "../pci/mediated-devices.js";
import { parseCommandLine, stepTimeoutOf, usageError } from "./command-line.js";
import { mdevDescription } from "./described/mdev.js";
import { print, printJson } from "./terminal.js";

/** @throws ConfigError, and as createMediatedDevice() and removeMediatedDevice() */
export async function runMdev(argv: readonly string[]): Promise<void> {
  const { values, positionals } = parseCommandLine(mdevDescription, argv);
  const { create, uuid } = values;
  const [json, remove] = [values.json === true, values.remove === true];
  const timeoutMs = stepTimeoutOf(mdevDescription, values.timeout);
  const wrong = (problem: string) => usageError(mdevDescription, problem);
  // The parent for --create, the UUID for --remove.
  const [operand, ...more] = positionals;
  if (more.length > 0) throw wrong("mdev takes one operand");
  if (create !== undefined && remove) throw wrong("mdev takes either --create or --remove");
  if (uuid !== undefined && create === undefined) throw wrong("--uuid is for what --create makes");
  const needed =
    create !== undefined ? "--create needs the parent" : remove ? "--remove needs the UUID" : undefined;
  if (needed !== undefined && operand === undefined) throw wrong(`mdev ${needed}`);
  if (needed === undefined && operand !== undefined)
    throw wrong("mdev takes an operand with --create or --remove only");
  if (create !== undefined && operand !== undefined) {
    const device = await createMediatedDevice(operand, create, { uuid, timeoutMs });
    // It outlives this process.
    device.relinquish();
    if (json) printJson({ uuid: device.uuid });
    else print(device.uuid);
  } else if (remove && operand !== undefined) {
    await removeMediatedDevice(operand, { timeoutMs });
    if (!json) print(`removed ${operand.toLowerCase()}`);
  } else list(json);
}

function list(json: boolean): void {
  const parents = listMediatedParents();
  const devices = listMediatedDevices();
  if (json) {
    printJson({ parents, devices });
    return;
  }
  if (parents.length === 0) print("no driver of this host makes mediated devices");
  for (const { name, types } of parents) {
    for (const type of types) {
      const { id, deviceApi, availableInstances, description } = type;
      const title = type.name === id ? undefined : type.name;
      const notes = [deviceApi, `${availableInstances} available`, title, description];
      print(
        `${name}  ${id}  ${notes.flatMap((note) => (note === undefined ? [] : visible(note))).join(", ")}`,
      );
    }
  }
  for (const { uuid, parent, type, driver, iommuGroup } of devices) {
    const group = iommuGroup === undefined ? "no IOMMU group" : `group ${iommuGroup}`;
    print(`${uuid}  ${type} of ${parent}, ${group}, ${driver ?? "no driver"}`);
  }
}
