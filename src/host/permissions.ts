/** Permissions of devices' nodes for an ordinary user or a group: udev rules, the nodes that exist, and the memlock limit. */
import { checkArray, checkInteger, checkKeys, checkString, show } from "../core/check.js";
import { ArgumentError, StateError } from "../core/errors.js";
import { checkSignal } from "../core/listeners.js";
import { append } from "../core/lists.js";
import { applySteps } from "./changes/apply.js";
import { type HostChange, listChanges } from "./changes/changes.js";
import { placesOf, type RecordOptions } from "./changes/options.js";
import { type RestoredChange, restoreChanges } from "./changes/restore.js";
import type { ChangeStep } from "./changes/steps.js";
import { ACCESS_GROUP, joinGroup, MADE_GROUP, makeGroup } from "./checks/access-group.js";
import { deviceRules, sharedRules } from "./checks/node-rules.js";
import { readDevice } from "./facts/device.js";
import { readDistribution, runsUdev } from "./facts/distribution.js";
import { HostRoot } from "./facts/root.js";
import { HostNames } from "./facts/users.js";
import { isIdNumber } from "./names/files.js";
import type { Spelling } from "./names/spelling.js";
import { fileAndReload, ruleSteps } from "./rule-steps.js";

/** Whom devices are given to: exactly one of both. */
export interface PermissionSubject {
  /** Name of a user, whose the devices' nodes become. It joins the group `iova`, which has the shared nodes. */
  readonly user?: string | undefined;
  /** Name of a group, whose the nodes become. */
  readonly group?: string | undefined;
}

/** Options of {@link grantPermissions}. */
export interface PermissionOptions extends PermissionSubject, RecordOptions {
  /** Addresses (domain:bus:device.function) of PCI functions; they needn't be bound to vfio-pci yet. */
  readonly devices: readonly string[];
  /** How much memory may be pinned, in bytes; 4 GiB by default. `Infinity`: no limit. */
  readonly memlockBytes?: number | undefined;
}

/** Options of {@link revokePermissions}. */
export interface RevokeOptions extends PermissionSubject, RecordOptions {
  /** Addresses of the devices; by default all that were given. */
  readonly devices?: readonly string[] | undefined;
}

/** One change that permissions consist of. */
export interface PermissionPart {
  /** What it is for, in words. */
  readonly purpose: string;
  /** Words by which it is found in the record. */
  readonly about: readonly string[];
  /** For `applySteps`. */
  readonly steps: readonly ChangeStep[];
}

/** What gives the permissions. */
export interface PermissionPlan {
  /** In the order in which they are made. */
  readonly parts: readonly PermissionPart[];
  /** What to know or to do besides, as sentences. */
  readonly notes: readonly string[];
}

const TAG = "permissions";
const SHARED = "shared";
const DEFAULT_MEMLOCK = 2 ** 32;
const NODE_MODE = 0o660;
/** As the kernel and udev make /dev/vfio/vfio: it gives access to nothing by itself. */
const CONTAINER_MODE = 0o666;
/** What no line of /etc/group can have as a member, or what would be an option of a program. */
const NO_NAME = /^-|[\p{Cc}:,]|^\s|\s$|^$/u;

/** A subject that exists. */
interface Subject {
  readonly kind: "user" | "group";
  readonly name: string;
  readonly spelling: Spelling;
  readonly uid: number;
  /** The group of the shared nodes; its number is unknown until it is made. */
  readonly sharedGroup: string;
  readonly sharedSpelling: Spelling;
  readonly sharedGid: number | undefined;
  /** Whether the user is in that group already. */
  readonly isMember: boolean;
}

/** @throws ArgumentError, TimeoutError */
function subjectOf(names: HostNames, { user, group }: PermissionSubject): Subject {
  const name = user ?? group;
  if (name === undefined || (user !== undefined && group !== undefined))
    throw new ArgumentError("give either user or group");
  const kind = user === undefined ? "group" : "user";
  if (NO_NAME.test(checkString(kind, name)) || isIdNumber(name))
    throw new ArgumentError(
      `${kind} must be a name that /etc/group can have, no number, and without "," and ":", got ${show(name)}`,
    );
  const found = names.group(kind === "group" ? name : ACCESS_GROUP);
  const shared = { sharedSpelling: found?.spelling ?? MADE_GROUP, sharedGid: found?.gid };
  if (kind === "group") {
    if (found === undefined) throw names.unknown("group", name, "make it first");
    return {
      kind,
      name,
      spelling: shared.sharedSpelling,
      uid: 0,
      sharedGroup: name,
      ...shared,
      isMember: true,
    };
  }
  const { uid, name: known, spelling, gids } = names.find(name);
  const first = names.user(uid);
  // A directory may ignore case, and a number may have several names.
  if (known !== name || first !== name)
    throw new ArgumentError(
      `the user ${show(name)} is also called ${show(known === name ? first : known)}: give that name`,
    );
  const isMember = found !== undefined && gids.includes(found.gid);
  return { kind, name, spelling, uid, sharedGroup: ACCESS_GROUP, ...shared, isMember };
}

/**
 * Says what would give a user or a group the nodes of devices: character device, group node, `/dev/iommu` and `/dev/vfio/vfio`.
 * @throws ArgumentError: no such device, user or group; StateError: another group has the shared
 *   nodes; TimeoutError: the host's directory of users doesn't answer
 */
export function planPermissions(options: PermissionOptions): PermissionPlan {
  return planWith(options, (host) => HostNames.read(host));
}

/** {@link planPermissions} for users and groups that are found in another way. */
export function planWith(options: PermissionOptions, namesOf: (root: HostRoot) => HostNames): PermissionPlan {
  checkKeys("options", options, ["root", "record", "user", "group", "devices", "memlockBytes"]);
  const { devices, memlockBytes = DEFAULT_MEMLOCK } = options;
  checkArray("devices", devices);
  if (devices.length === 0) throw new ArgumentError("devices must not be empty");
  if (memlockBytes !== Number.POSITIVE_INFINITY)
    checkInteger("memlockBytes", memlockBytes, 4096, Number.MAX_SAFE_INTEGER);
  const { root } = placesOf(options);
  const host = new HostRoot(root);
  const subject = subjectOf(namesOf(host), options);
  const notes: string[] = [];
  const parts = [
    sharedPart(host, subject),
    subjectPart(host, subject, memlockBytes, notes),
    ...devices.map((device) => devicePart(host, subject, device, notes)),
  ];
  if (!runsUdev(host))
    notes.push(
      "udev doesn't run: without it the rules do nothing, and the nodes' permissions last until the next start.",
    );
  return { parts: parts.filter(({ steps }) => steps.length > 0), notes };
}

/** The group, and the nodes that all devices share. @throws StateError */
function sharedPart(host: HostRoot, subject: Subject): PermissionPart {
  const { kind, sharedGroup, sharedSpelling, sharedGid } = subject;
  const { path, content } = sharedRules(sharedSpelling);
  const own = [content, ...(kind === "user" ? [sharedRules(MADE_GROUP).content] : [])];
  const now = host.text(path);
  if (now !== undefined && !own.some((each) => each.trim() === now))
    throw new StateError(
      `another group than ${sharedGroup} has /dev/iommu, by ${path}: use that one, or take it back first by iova permissions --remove`,
    );
  const make = kind === "user" && sharedGid === undefined ? [makeGroup(readDistribution(host))] : [];
  const steps: ChangeStep[] = [...make, ...ruleSteps(host, path, content)];
  if (sharedGid !== undefined) {
    append(steps, ownerSteps(host, "/dev/iommu", { gid: sharedGid, mode: NODE_MODE }));
    append(steps, ownerSteps(host, "/dev/vfio/vfio", { gid: sharedGid, mode: CONTAINER_MODE }));
  }
  return { purpose: `shared nodes for the group ${sharedGroup}`, about: [TAG, SHARED], steps };
}

/** The node as it is to be, if it exists. */
function ownerSteps(
  host: HostRoot,
  path: string,
  wanted: { readonly uid?: number; readonly gid?: number; readonly mode: number },
): ChangeStep[] {
  const state = host.state(path);
  return state === undefined ? [] : [{ kind: "owner", path, uid: state.uid, gid: state.gid, ...wanted }];
}

/** Membership and memlock limit. */
function subjectPart(
  host: HostRoot,
  subject: Subject,
  memlockBytes: number,
  notes: string[],
): PermissionPart {
  const { kind, name, uid, isMember, spelling } = subject;
  const distribution = readDistribution(host);
  const steps: ChangeStep[] = isMember ? [] : [joinGroup(distribution, name)];
  if (!isMember) notes.push(`${name} is in the group ${ACCESS_GROUP} from the next login on.`);
  const isLimited = memlockBytes !== Number.POSITIVE_INFINITY;
  if (host.exists("/etc/security")) {
    const value = isLimited ? Math.ceil(memlockBytes / 1024) : "unlimited";
    const content = `${spelling.inLimits} - memlock ${value}\n`;
    steps.push({
      kind: "file",
      path: `/etc/security/limits.d/91-iova-${kind}-${spelling.word}.conf`,
      content,
    });
    notes.push("The memlock limit takes effect at the next login.");
  } else notes.push("There is no /etc/security: set the memlock limit where logins get theirs (ulimit -l).");
  if (kind === "user" && distribution.init === "systemd") {
    const path = `/etc/systemd/system/user@${uid}.service.d/91-iova.conf`;
    const content = `[Service]\nLimitMEMLOCK=${isLimited ? memlockBytes : "infinity"}\n`;
    append(steps, fileAndReload(host, path, content, ["systemctl", "daemon-reload"]));
  }
  return { purpose: `group and limits of the ${kind} ${name}`, about: [TAG, tagOf(subject)], steps };
}

function tagOf({ kind, name }: Pick<Subject, "kind" | "name">): string {
  return `${kind}:${name}`;
}

/** The nodes of one device. @throws ArgumentError: no such device */
function devicePart(host: HostRoot, subject: Subject, address: string, notes: string[]): PermissionPart {
  const device = readDevice(host, checkString("device", address));
  const { bdf, isVfio, cdev, groupNode, members } = device;
  const { kind, name, uid, sharedGid = 0 } = subject;
  const { path, content } = deviceRules(bdf, subject.spelling);
  const owner = { ...(kind === "user" ? { uid } : { gid: sharedGid }), mode: NODE_MODE };
  const nodes = isVfio ? [cdev, groupNode].filter((node) => node !== undefined) : [];
  const others = members.filter((each) => each.bdf !== bdf).map((each) => each.bdf);
  if (!isVfio) notes.push(`${bdf} gets its nodes when it is bound: iova bind ${bdf}.`);
  if (others.length > 0)
    notes.push(`${bdf} shares its IOMMU group, and so the group's node, with ${others.join(", ")}.`);
  return {
    purpose: `${bdf} for the ${kind} ${name}`,
    about: [TAG, tagOf(subject), bdf],
    steps: [...ruleSteps(host, path, content), ...nodes.flatMap((node) => ownerSteps(host, node, owner))],
  };
}

/**
 * Gives a user or a group the nodes of devices, as {@link planPermissions} says, which needs root. The nodes that exist get their
 * permissions at once. Each part is a change in the record; all are made, or none.
 * @returns the changes; none if everything was so already
 * @throws as a rejection: as planPermissions() and applySteps()
 */
export async function grantPermissions(
  options: PermissionOptions & { readonly signal?: AbortSignal | undefined },
): Promise<HostChange[]> {
  checkKeys("options", options, ["root", "record", "user", "group", "devices", "memlockBytes", "signal"]);
  const { signal, ...rest } = options;
  checkSignal(signal);
  const { root, record } = options;
  const made: HostChange[] = [];
  try {
    // A group that the first round makes has its number in the second.
    for (const isSecond of [false, true]) {
      for (const { steps, purpose, about } of planPermissions(rest).parts) {
        if (isSecond && about[1] !== SHARED) continue;
        const change = await applySteps(steps, { root, record, purpose, about, signal });
        if (change !== undefined) made.push(change);
      }
    }
  } catch (error) {
    if (made.length > 0) await restoreChanges({ root, record, ids: made.map(({ id }) => id) });
    throw error;
  }
  return made;
}

/**
 * Takes permissions back that {@link grantPermissions} gave, which needs root. Group, limits and shared nodes are taken back with the last
 * device that needs them.
 * @returns what became of each change, as of restoreChanges()
 * @throws as a rejection: ArgumentError: nothing was given to them, or not this device; as restoreChanges()
 */
export async function revokePermissions(options: RevokeOptions): Promise<RestoredChange[]> {
  checkKeys("options", options, ["root", "record", "user", "group", "devices"]);
  const { root, record, user, group, devices } = options;
  const name = user ?? group;
  if (name === undefined || (user !== undefined && group !== undefined))
    throw new ArgumentError("give either user or group");
  const tag = tagOf({ kind: user === undefined ? "group" : "user", name });
  const given = listChanges({ root, record }).changes.filter(
    ({ about, state }) => about[0] === TAG && state !== "restored",
  );
  const isDevice = ({ about }: HostChange): boolean => about.length > 2;
  const own = given.filter(({ about }) => about[1] === tag);
  for (const device of devices ?? []) {
    if (!own.some(({ about }) => about[2] === device))
      throw new ArgumentError(`the record has no permissions of ${name} for ${show(device)}`);
  }
  if (own.length === 0) throw new ArgumentError(`the record has no permissions of ${name}`);
  const wanted = own.filter((each) => isDevice(each) && (devices?.includes(each.about[2] ?? "") ?? true));
  const staying = given.filter((each) => isDevice(each) && !wanted.includes(each));
  if (!staying.some(({ about }) => about[1] === tag))
    append(
      wanted,
      own.filter((each) => !isDevice(each)),
    );
  if (staying.length === 0)
    append(
      wanted,
      given.filter(({ about }) => about[1] === SHARED),
    );
  return await restoreChanges({ root, record, ids: wanted.map(({ id }) => id) });
}
