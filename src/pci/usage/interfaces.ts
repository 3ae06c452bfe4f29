/** What uses a function's network interfaces: they are up, or part of others. */
import { devicesBehind, list, text } from "./behind.js";

const IFF_UP = 1;

/** What uses them, in words. @throws ArgumentError (no such device) */
export function networkUsers(bdf: string): string[] {
  const users: string[] = [];
  for (const name of devicesBehind(bdf, "net")) {
    const folder = `/sys/class/net/${name}`;
    for (const entry of list(folder)) {
      const [, upper] = /^upper_(.+)$/.exec(entry) ?? [];
      if (upper !== undefined) users.push(`network interface ${name} ${upperText(upper)}`);
    }
    if ((Number(text(`${folder}/flags`)) & IFF_UP) !== 0) users.push(`network interface ${name} is up`);
  }
  return users;
}

/** What an interface is to another one that lies above it. */
function upperText(upper: string): string {
  const entries = list(`/sys/class/net/${upper}`);
  if (entries.includes("bonding")) return `is part of the bond ${upper}`;
  if (entries.includes("bridge")) return `is part of the bridge ${upper}`;
  return `carries ${upper}`;
}
