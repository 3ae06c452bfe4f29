/** `iova serve`: lends PCI functions to users who may not open them. */
import { HostRoot } from "../../host/facts/root.js";
import { HostNames } from "../../host/facts/users.js";
import type { LendingRule } from "../../lending/server/rules.js";
import { DeviceServer, type LendingEvent } from "../../lending/server/server.js";
import { parseBdf } from "../../pci/address/bdf.js";
import { readPciFunction } from "../../pci/sysfs.js";
import { parseCommandLine, usageError } from "../command-line.js";
import { serveDescription } from "../described/serve.js";
import { print, printJsonText } from "../terminal.js";

/** Serves until SIGINT or SIGTERM, then removes the socket. @throws ConfigError, ArgumentError, BusyError, SysError */
export async function runServe(argv: readonly string[]): Promise<void> {
  const { values, positionals } = parseCommandLine(serveDescription, argv);
  const { socket, user = [], group = [], allow = [], json: isJson = false } = values;
  if (socket === undefined) throw usageError(serveDescription, "serve needs --socket PATH");
  const names = HostNames.read(new HostRoot());
  const rules = [
    ...commonRule(positionals, user, group, names),
    ...allow.map((text) => allowRule(text, names)),
  ];
  if (rules.length === 0) throw usageError(serveDescription, "serve needs a BDF, or --allow WHO=BDF");
  const devices = [...new Set(rules.flatMap((rule) => rule.devices))];
  const stopped = new Promise<void>((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => resolve());
  });
  using _server = new DeviceServer(socket, {
    rules,
    onEvent: (event) => (isJson ? printJsonText(JSON.stringify(event)) : print(eventText(event, names))),
  });
  if (!isJson) print(`${devices.join(", ")} at served:${socket}@BDF; Ctrl-C ends it`);
  await stopped;
}

/** All of these devices for all of these users and groups. @throws ConfigError, ArgumentError */
function commonRule(
  bdfs: readonly string[],
  users: readonly string[],
  groups: readonly string[],
  names: HostNames,
): LendingRule[] {
  if (bdfs.length === 0) {
    if (users.length + groups.length === 0) return [];
    throw usageError(serveDescription, "--user and --group need a BDF");
  }
  if (users.length + groups.length === 0)
    throw usageError(serveDescription, "serve needs --user or --group: whom to lend these devices to");
  const uids = users.map((name) => names.find(name).uid);
  const gids = groups.map((name) => groupId(names, name));
  return [{ devices: bdfs.map(deviceAt), uids, gids }];
}

/** What `--allow` says. @throws ConfigError, ArgumentError */
function allowRule(text: string, names: HostNames): LendingRule {
  const [, percent, who, bdfs] = /^(%?)([^=%]+)=(.+)$/.exec(text) ?? [];
  if (who === undefined || bdfs === undefined)
    throw usageError(
      serveDescription,
      `--allow ${JSON.stringify(text)}: expected USER=BDF[,BDF...] or %GROUP=BDF[,BDF...]`,
    );
  const devices = bdfs.split(",").map(deviceAt);
  return percent === "%"
    ? { devices, gids: [groupId(names, who)] }
    : { devices, uids: [names.find(who).uid] };
}

/** @throws ArgumentError: malformed, or no such device */
function deviceAt(text: string): string {
  return readPciFunction(parseBdf(text)).bdf;
}

/** @throws ArgumentError, TimeoutError */
function groupId(names: HostNames, name: string): number {
  const gid = names.group(name)?.gid;
  if (gid === undefined) throw names.unknown("group", name, "give the name of one");
  return gid;
}

function eventText(event: LendingEvent, names: HostNames): string {
  const client = `process ${event.pid} of ${names.user(event.uid)}`;
  switch (event.kind) {
    case "lent":
      return `${event.bdf} lent to ${client} (${event.backend})`;
    case "returned":
      return `${event.bdf} came back from ${client}`;
    case "refused":
      return `refused ${client}: ${event.reason}`;
  }
}
