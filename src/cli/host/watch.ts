/** `iova watch`: which processes use devices, again and again. */
import { setTimeout } from "node:timers/promises";
import type { DeviceError } from "../../activity/read.js";
import { HostRoot } from "../../host/facts/root.js";
import { HostNames } from "../../host/facts/users.js";
import { type DeviceProcess, listDeviceProcesses } from "../../host/processes.js";
import { Interrupted } from "../binding/interrupted.js";
import { parseCommandLine, usageError } from "../command-line.js";
import { MAX_INTERVAL_S, watchDescription } from "../described/watch.js";
import { interruptible } from "../interruptible.js";
import { table } from "../table.js";
import { clearTerminal, print, printJsonText } from "../terminal.js";

/** Looks until Ctrl-C, or `--count` times. @throws ConfigError, UnsupportedError */
export async function runWatch(argv: readonly string[]): Promise<void> {
  const { values, positionals } = parseCommandLine(watchDescription, argv);
  if (positionals.length > 0) throw usageError(watchDescription, "watch takes no operands");
  const intervalMs = intervalOf(values.interval);
  const count = countOf(values.count);
  try {
    await interruptible((signal) => look(values.json === true, intervalMs, count, signal));
  } catch (error) {
    // Ctrl-C is how it ends.
    if (!(error instanceof Interrupted)) throw error;
  }
}

async function look(isJson: boolean, intervalMs: number, count: number, signal: AbortSignal): Promise<void> {
  const names = HostNames.read(new HostRoot());
  let last: Look | undefined;
  for (let i = 0; i < count; i++) {
    if (i > 0) await pause(intervalMs, signal);
    const now: Look = { atMs: Date.now(), processes: listDeviceProcesses() };
    if (isJson) printJsonText(JSON.stringify(now));
    else {
      clearTerminal();
      print(lookText(now, last, names));
    }
    last = now;
  }
}

/** @throws Interrupted */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await setTimeout(ms, undefined, { signal }).catch(() => undefined);
  signal.throwIfAborted();
}

/** What was there at one moment. */
export interface Look {
  /** Milliseconds since 1970. */
  readonly atMs: number;
  readonly processes: readonly DeviceProcess[];
}

const HEADER = ["pid", "user", "command", "device", "backend"];
const NUMBERS = ["mappings", "mapped", "pinned", "locked", "interrupts", "per s", "errors"];
const MOST_ERRORS = 8;
const COMMAND_LENGTH = 32;

/** A look as text. @param last the look before, for rates */
export function lookText(now: Look, last: Look | undefined, names: Pick<HostNames, "user">): string {
  const { processes } = now;
  if (processes.length === 0) return "no process that this user may see uses a device from user space";
  const rows = processes.flatMap((each) => rowsOf(each, now, last, names));
  const errors = processes.flatMap((each) => errorsOf(each)).sort((a, b) => a.atMs - b.atMs);
  return [
    table([...HEADER, ...NUMBERS], rows, HEADER.length),
    ...errors
      .slice(-MOST_ERRORS)
      .map(({ atMs, pid, text }) => `${new Date(atMs).toISOString()} ${pid}: ${text}`),
  ].join("\n");
}

/** A row for each device; the process's own numbers are in the first. */
function rowsOf(
  each: DeviceProcess,
  now: Look,
  last: Look | undefined,
  names: Pick<HostNames, "user">,
): string[][] {
  const { pid, uid, threads, pinnedBytes, lockedBytes } = each;
  const isOurs = threads.length > 0;
  const sum = (what: (thread: (typeof threads)[number]) => number): number =>
    threads.reduce((all, thread) => all + what(thread), 0);
  const before = last?.processes.find((other) => other.pid === pid);
  const seconds = last === undefined ? 0 : (now.atMs - last.atMs) / 1000;
  const taken = interruptsOf(each);
  const rate = before === undefined || seconds <= 0 ? undefined : (taken - interruptsOf(before)) / seconds;
  const numbers = [
    isOurs ? String(sum(({ mappings }) => mappings)) : "",
    isOurs ? bytesText(sum(({ mappedBytes }) => mappedBytes)) : "",
    bytesText(pinnedBytes),
    bytesText(lockedBytes),
    String(taken),
    rate === undefined || rate < 0 ? "" : rate.toFixed(0),
    isOurs ? String(sum(({ errors }) => errors)) : "",
  ];
  const [first, ...more] = each.devices;
  const row = [
    String(pid),
    names.user(uid),
    commandText(each.command),
    first?.address ?? "",
    first?.backend ?? "",
  ];
  return [
    [...row, ...numbers],
    ...more.map(({ address, backend }) => ["", "", "", address, backend ?? "", ...NUMBERS.map(() => "")]),
  ];
}

/** What the kernel has counted, or else what the drivers have: they may poll, and a server's interrupts aren't the kernel's. */
function interruptsOf({ devices, threads }: DeviceProcess): number {
  const counted = devices.reduce((sum, { interrupts = 0 }) => sum + interrupts, 0);
  return Math.max(
    counted,
    threads.reduce((sum, { interrupts }) => sum + interrupts, 0),
  );
}

function errorsOf({ pid, threads }: DeviceProcess): (DeviceError & { pid: number })[] {
  return threads.flatMap(({ lastErrors }) => lastErrors.map((error) => ({ ...error, pid })));
}

/** Program and arguments, without the folders of the first two words, which are long and alike. */
function commandText(command: readonly string[]): string {
  const short = command.map((word, i) => (i < 2 ? (word.split("/").at(-1) ?? word) : word)).join(" ");
  return short.length <= COMMAND_LENGTH ? short : `${short.slice(0, COMMAND_LENGTH - 1)}…`;
}

function bytesText(bytes: number): string {
  const [unit, factor] =
    bytes >= 2 ** 30 ? ["GiB", 2 ** 30] : bytes >= 2 ** 20 ? ["MiB", 2 ** 20] : ["KiB", 2 ** 10];
  const value = bytes / Number(factor);
  return `${Number.isInteger(value) ? value : value.toFixed(1)} ${unit}`;
}

/** @throws ConfigError */
function intervalOf(text = "1"): number {
  const seconds = /^\d{1,4}(?:\.\d{1,3})?$/.test(text) ? Number(text) : 0;
  if (seconds >= 0.1 && seconds <= MAX_INTERVAL_S) return seconds * 1000;
  throw usageError(
    watchDescription,
    `--interval ${JSON.stringify(text)}: expected seconds from 0.1 to ${MAX_INTERVAL_S}`,
  );
}

/** @throws ConfigError */
function countOf(text: string | undefined): number {
  if (text === undefined) return Number.POSITIVE_INFINITY;
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw usageError(watchDescription, `--count ${JSON.stringify(text)}: expected a number from 1`);
}
