/**
 * Channels of node:diagnostics_channel, and their log. With NODE_DEBUG=iova, each message goes to stderr; otherwise this
 * library subscribes to no channel.
 */
import { type Channel, channel } from "node:diagnostics_channel";
import { debuglog, inspect } from "node:util";
import { errnoName } from "../core/errno.js";
import { visible } from "../core/visible.js";

const log = debuglog("iova");

/** A diagnostics channel whose messages NODE_DEBUG=iova prints. Publish only if it `hasSubscribers`. */
export function debugChannel(name: string): Channel {
  const made = channel(name);
  if (log.enabled) {
    made.subscribe((message) => log("%s %s", name, textOf(message)));
  }
  return made;
}

/** The fields of a message on one line, safe for a terminal: addresses in hexadecimal, an errno by its name. */
function textOf(message: unknown): string {
  const text = Object.entries(message ?? {})
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => `${key}=${valueText(key, value)}`)
    .join(" ");
  return visible(text);
}

function valueText(key: string, value: unknown): string {
  if (typeof value === "string") return value;
  if (typeof value === "bigint") return `0x${value.toString(16)}`;
  if (key === "errno" && typeof value === "number") return errnoName(value);
  return inspect(value, { depth: 0, breakLength: Number.POSITIVE_INFINITY, maxArrayLength: 8 });
}
