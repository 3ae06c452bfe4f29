/** `iova serve`: lends PCI functions to users who may not open them. */
import { ArgumentError } from "../../core/errors.js";
import { HostRoot } from "../../host/facts/root.js";
import { HostNames } from "../../host/facts/users.js";
import { DeviceServer, type LendingEvent } from "../../lending/server/server.js";
import { parseBdf } from "../../pci/bdf.js";
import { readPciFunction } from "../../pci/sysfs.js";
import { parseCommandLine, usageError } from "../command-line.js";
import { serveDescription } from "../described/serve.js";
import { print, printJsonText } from "../terminal.js";

/** Serves until SIGINT or SIGTERM, then removes the socket. @throws ConfigError, ArgumentError, BusyError, SysError */
export async function runServe(argv: readonly string[]): Promise<void> {
  const { values, positionals } = parseCommandLine(serveDescription, argv);
  const { socket, user = [], group = [], json: isJson = false } = values;
  if (socket === undefined) throw usageError(serveDescription, "serve needs --socket PATH");
  if (positionals.length === 0) throw usageError(serveDescription, "serve needs a BDF");
  if (user.length + group.length === 0)
    throw usageError(serveDescription, "serve needs --user or --group: whom to lend to");
  const devices = positionals.map((text) => readPciFunction(parseBdf(text)).bdf);
  const names = HostNames.read(new HostRoot());
  const uids = user.map((name) => names.find(name).uid);
  const gids = group.map((name) => groupId(names, name));
  const stopped = new Promise<void>((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => resolve());
  });
  using _server = new DeviceServer(socket, {
    rules: [{ devices, uids, gids }],
    onEvent: (event) => (isJson ? printJsonText(JSON.stringify(event)) : print(eventText(event, names))),
  });
  if (!isJson) print(`${devices.join(", ")} at served:${socket}@BDF; Ctrl-C ends it`);
  await stopped;
}

/** @throws ArgumentError */
function groupId(names: HostNames, name: string): number {
  const gid = names.group(name)?.gid;
  if (gid === undefined) throw new ArgumentError(`there is no group ${JSON.stringify(name)} in /etc/group`);
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
