/** `iova mdev`: lists, creates and removes mediated devices. */
import { ConfigError } from "../core/errors.js";
import { visible } from "../core/visible.js";
import {
  createMediatedDevice,
  listMediatedDevices,
  listMediatedParents,
  removeMediatedDevice,
} from "../pci/mediated-devices.js";
import { print, printJsonText } from "./terminal.js";

/** What `iova mdev` was asked for. */
export interface MdevRequest {
  readonly json: boolean;
  readonly timeoutMs: number | undefined;
  /** The type to create. */
  readonly create: string | undefined;
  /** The new device's UUID. */
  readonly uuid: string | undefined;
  readonly remove: boolean;
}

/**
 * @param operand the parent for `create`, the UUID for `remove`
 * @throws ConfigError, and as createMediatedDevice() and removeMediatedDevice()
 */
export async function mdev(operand: string | undefined, request: MdevRequest): Promise<void> {
  const { json, timeoutMs, create, uuid, remove } = request;
  if (create !== undefined && remove)
    throw new ConfigError("mdev takes either --create or --remove; see iova help");
  if (uuid !== undefined && create === undefined)
    throw new ConfigError("--uuid is for what --create makes; see iova help");
  const needed =
    create !== undefined ? "--create needs the parent" : remove ? "--remove needs the UUID" : undefined;
  if (needed !== undefined && operand === undefined) throw new ConfigError(`mdev ${needed}; see iova help`);
  if (needed === undefined && operand !== undefined)
    throw new ConfigError("mdev takes an operand with --create or --remove only; see iova help");
  if (create !== undefined && operand !== undefined) {
    const device = await createMediatedDevice(operand, create, { uuid, timeoutMs });
    // It outlives this process.
    device.relinquish();
    if (json) printJsonText(JSON.stringify({ uuid: device.uuid }, undefined, 2));
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
    printJsonText(JSON.stringify({ parents, devices }, undefined, 2));
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
