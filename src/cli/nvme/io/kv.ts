/** `iova nvme kv`: keys and values of the Key Value Command Set. */
import { ArgumentError, ConfigError } from "../../../core/errors.js";
import type { KeyValueNamespace } from "../../../nvme/namespace/key-value-namespace.js";
import { BROADCAST_NSID } from "../../../nvme/spec/opcodes.js";
import { kvDescriptions } from "../../described/nvme/kv.js";
import { type Arguments, type Ask, commands, type Result } from "../command.js";
import { openSink, STANDARD } from "../commands/data-file.js";
import { namespaceId } from "../open.js";
import { hexDump } from "../output.js";

type KvArguments = Arguments<Extract<keyof typeof kvDescriptions.kv.options, string>>;
/** What a verb does with the open namespace. @returns undefined if it has printed what there is */
type Act = (ns: KeyValueNamespace, ask: Ask) => Promise<Result | undefined>;

/** The Key Value Command Set has no longer ones. */
const MOST_KEY_BYTES = 16;

/** A key as text where it is printable, and as digits otherwise. */
function shownKey(key: Uint8Array): string {
  const text = Buffer.from(key).toString("latin1");
  return /^[!-~]+$/.test(text) ? text : `0x${Buffer.from(key).toString("hex")}`;
}

/** @throws ConfigError */
function keyOf(args: KvArguments): Uint8Array | undefined {
  const [text, digits] = [args.text("key"), args.text("key-hex")];
  if (text !== undefined && digits !== undefined) throw args.wrong("--key or --key-hex, not both");
  if (digits !== undefined && !/^(0x)?([0-9a-f]{2})+$/i.test(digits))
    throw args.wrong(`--key-hex ${digits}: expected pairs of hexadecimal digits, such as 00ff`);
  const key = digits === undefined ? text : Buffer.from(digits.replace(/^0x/i, ""), "hex");
  if (key === undefined) return undefined;
  const bytes = Buffer.from(key);
  if (bytes.length === 0 || bytes.length > MOST_KEY_BYTES)
    throw args.wrong(`the key has ${bytes.length} bytes: expected 1 to ${MOST_KEY_BYTES}`);
  return bytes;
}

function neededKey(args: KvArguments): Uint8Array {
  return keyOf(args) ?? args.missing("key KEY");
}

const verbs: Readonly<Record<string, (args: KvArguments) => Act | Promise<Act>>> = {
  async store(args) {
    const key = neededKey(args);
    const [isNew, isExisting] = [args.has("new"), args.has("existing")];
    if (isNew && isExisting) throw args.wrong("--new or --existing, not both");
    const value = (await args.file("data")) ?? args.missing("data FILE");
    const when = isNew ? "new" : isExisting ? "existing" : "always";
    return async (ns, ask) => {
      await ask(`This stores ${value.length} bytes under ${shownKey(key)} in namespace ${ns.nsid}`);
      if (!(await ns.store(key, value, { when })))
        throw new ArgumentError(
          `namespace ${ns.nsid} ${isNew ? "has" : "doesn't have"} the key ${shownKey(key)}: nothing was stored`,
        );
      const text = `stored ${value.length} bytes under ${shownKey(key)}`;
      return { json: { key: shownKey(key), bytes: value.length }, text };
    };
  },
  retrieve(args) {
    const key = neededKey(args);
    const path = args.text("data");
    return async (ns) => {
      const value = await ns.retrieve(key);
      if (value === undefined)
        throw new ArgumentError(`namespace ${ns.nsid} doesn't have the key ${shownKey(key)}`);
      const json = { key: shownKey(key), bytes: value.length };
      if (path === undefined)
        return { json: { ...json, value: value.toString("hex") }, text: hexDump(value) };
      await using sink = await openSink(path);
      await sink.write(value);
      if (path === STANDARD) return undefined;
      return { json: { ...json, file: path }, text: `wrote ${value.length} bytes to ${path}` };
    };
  },
  delete(args) {
    const key = neededKey(args);
    return async (ns, ask) => {
      await ask(`This deletes ${shownKey(key)} and its value from namespace ${ns.nsid}`);
      if (!(await ns.delete(key)))
        throw new ArgumentError(`namespace ${ns.nsid} doesn't have the key ${shownKey(key)}`);
      return { json: { key: shownKey(key) }, text: `deleted ${shownKey(key)}` };
    };
  },
  exist(args) {
    const key = neededKey(args);
    return async (ns) => {
      const exists = await ns.exist(key);
      if (!exists) process.exitCode = 1;
      return {
        json: { key: shownKey(key), exists },
        text: `${shownKey(key)} ${exists ? "exists" : "doesn't exist"}`,
      };
    };
  },
  list(args) {
    const from = keyOf(args);
    const limit = args.number("limit", Number.MAX_SAFE_INTEGER, 1) ?? Number.POSITIVE_INFINITY;
    return async (ns) => {
      const keys: string[] = [];
      for await (const key of ns.keys(from)) {
        keys.push(shownKey(key));
        if (keys.length >= limit) break;
      }
      return { json: { nsid: ns.nsid, keys }, text: keys.length === 0 ? "no keys" : keys.join("\n") };
    };
  },
};

export const kvCommands = commands(kvDescriptions, {
  async kv(args) {
    const verb = verbs[args.verb];
    if (verb === undefined) throw new ConfigError(`nvme kv has no ${args.verb}`);
    args.asks = args.verb === "store" || args.verb === "delete";
    const act = await verb(args);
    const wanted = args.number("namespace-id", BROADCAST_NSID - 1, 1);
    return async (nvme, ask) => await act(await nvme.keyValueNamespace(await namespaceId(nvme, wanted)), ask);
  },
});
