/** `iova nvme sed`: TCG Opal, by nvme-cli's verbs. */
import type { NvmeOpal, OpalLock } from "../../../nvme/opal/opal.js";
import { OPAL_PIN_BYTES } from "../../../nvme/spec/opal/numbers.js";
import { sedDescriptions } from "../../described/nvme/sed.js";
import { type Arguments, type Ask, commands, type Result } from "../command.js";
import type { Json } from "../output.js";

type SedArguments = Arguments<
  "key" | "keyfile" | "new-key" | "new-keyfile" | "range" | "start-block" | "blocks" | "read-only" | "psid"
>;
type Action = (opal: NvmeOpal, ask: Ask) => Promise<Result>;

const MOST_RANGE = 254;

async function passwordOf(args: SedArguments, prefix: "" | "new-"): Promise<Uint8Array> {
  const [key, keyfile] = [`${prefix}key`, `${prefix}keyfile`] as const;
  const text = args.text(key);
  if (text !== undefined && args.text(keyfile) !== undefined)
    throw args.wrong(`--${key} and --${keyfile} can't be combined`);
  const password = text === undefined ? await args.file(keyfile) : Buffer.from(text);
  if (password === undefined) return args.missing(`${key} TEXT or --${keyfile} FILE`);
  if (password.length === 0 || password.length > OPAL_PIN_BYTES)
    throw args.wrong(
      `--${text === undefined ? keyfile : key} has ${password.length} bytes; passwords have 1 to ${OPAL_PIN_BYTES}`,
    );
  return password;
}

async function discovered(opal: NvmeOpal): Promise<Result> {
  const { features, opal: ssc, locking, geometry } = await opal.discover();
  const json: Json = {
    opal_version: ssc?.version ?? null,
    comid: ssc?.comId ?? null,
    locking_supported: locking?.supported ?? false,
    locking_enabled: locking?.enabled ?? false,
    locked: locking?.locked ?? false,
    media_encryption: locking?.mediaEncryption ?? false,
    mbr_enabled: locking?.mbrEnabled ?? false,
    mbr_done: locking?.mbrDone ?? false,
    alignment_granularity: geometry === undefined ? null : String(geometry.granularity),
    features: features.map(({ code, version }) => ({ code, version })),
  };
  return { json };
}

const locking = (range: number, lock: OpalLock, password: Uint8Array): Action => {
  return async (opal, ask) => {
    await ask(`This sets locking range ${range} to ${lock}`);
    await opal.lock(password, range, lock);
    return { json: { range, state: lock }, text: `locking range ${range} is ${lock}` };
  };
};

async function prepared(args: SedArguments): Promise<Action> {
  const { verb } = args;
  const range = args.number("range", MOST_RANGE) ?? 0;
  const start = args.number("start-block", Number.MAX_SAFE_INTEGER);
  const blocks = args.number("blocks", Number.MAX_SAFE_INTEGER);
  const setsUp = start !== undefined || blocks !== undefined;
  args.asks = verb !== "discover" && (verb !== "range" || setsUp);
  if (verb === "discover") return discovered;
  const password = await passwordOf(args, "");
  switch (verb) {
    case "initialize":
      return async (opal, ask) => {
        await ask("This takes ownership of the drive, and locks it whenever its power is lost");
        await opal.takeOwnership(password);
        await opal.activate(password);
        const enabled = { readLockEnabled: true, writeLockEnabled: true };
        await opal.setRange(password, 0, { ...enabled, readLocked: false, writeLocked: false });
        return {
          json: { initialized: true },
          text: "initialized: the drive is unlocked until its power is lost",
        };
      };
    case "range":
      return async (opal, ask) => {
        if (setsUp) {
          await ask(`This sets up locking range ${range}`);
          await opal.setRange(password, range, {
            start,
            blocks,
            ...{ readLockEnabled: true, writeLockEnabled: true },
          });
        }
        const found = await opal.range(password, range);
        return {
          json: {
            range,
            start: found.start,
            blocks: found.blocks,
            read_lock_enabled: found.readLockEnabled,
            write_lock_enabled: found.writeLockEnabled,
            read_locked: found.readLocked,
            write_locked: found.writeLocked,
          },
        };
      };
    case "lock":
      return locking(range, args.has("read-only") ? "readOnly" : "locked", password);
    case "unlock":
      return locking(range, args.has("read-only") ? "readOnly" : "unlocked", password);
    case "password": {
      const newPassword = await passwordOf(args, "new-");
      return async (opal, ask) => {
        await ask("This changes the passwords of the owner and of the administrator");
        await opal.changePassword(password, newPassword);
        return { json: { changed: true }, text: "changed the password" };
      };
    }
    default: {
      const psid = args.has("psid");
      return async (opal, ask) => {
        // Locked blocks can't be read, and who forgot the password has no other way.
        const isLocked = (await opal.discover()).locking?.locked === true;
        await ask("This erases all data of the drive", isLocked ? undefined : "all");
        await opal.revert(password, psid);
        return { json: { reverted: true }, text: "reverted: all data is erased" };
      };
    }
  }
}

export const sedCommands = commands(sedDescriptions, {
  async sed(args) {
    const action = await prepared(args);
    return async (nvme, ask) => await action(nvme.security.opal(), ask);
  },
});
