/** Who may borrow which functions. */
import { checkArray, checkInteger, checkKeys, checkObject } from "../../core/check.js";
import { Errno } from "../../core/errno.js";
import { ArgumentError, SysError } from "../../core/errors.js";
import { parseBdf } from "../../pci/address/bdf.js";
import type { Peer } from "../../sys/unix-socket.js";

/** Which functions some users may borrow. Root may borrow all that a rule names. */
export interface LendingRule {
  /** PCI addresses. */
  readonly devices: readonly string[];
  /** User ids. */
  readonly uids?: readonly number[] | undefined;
  /** Group ids; a user's main group counts, and so do the others. */
  readonly gids?: readonly number[] | undefined;
}

const MAX_ID = 0xffff_fffe;

interface CheckedRule {
  readonly devices: readonly string[];
  readonly uids: readonly number[];
  readonly gids: readonly number[];
}

/** Checked rules. */
export class LendingRules {
  private readonly rules: readonly CheckedRule[];

  /** @throws ArgumentError */
  constructor(rules: readonly LendingRule[]) {
    checkArray("rules", rules);
    this.rules = rules.map((rule, i) => {
      checkObject(`rules[${i}]`, rule);
      checkKeys(`rules[${i}]`, rule, ["devices", "uids", "gids"]);
      const { devices, uids = [], gids = [] } = rule;
      checkArray(`rules[${i}].devices`, devices);
      checkIds(`rules[${i}].uids`, uids);
      checkIds(`rules[${i}].gids`, gids);
      if (devices.length === 0) throw new ArgumentError(`rules[${i}] names no device`);
      if (uids.length + gids.length === 0)
        throw new ArgumentError(`rules[${i}] names nobody: give uids, gids or both`);
      return { devices: devices.map((bdf) => parseBdf(bdf)), uids: [...uids], gids: [...gids] };
    });
    if (rules.length === 0)
      throw new ArgumentError("without a rule nobody could borrow anything: give rules");
  }

  /** The functions that rules name, each once. */
  get devices(): string[] {
    return [...new Set(this.rules.flatMap(({ devices }) => devices))];
  }

  /** @throws SysError: EACCES. It is the same whether the function exists or not. */
  assertAllowed(bdf: string, { uid, gids }: Peer): void {
    const isAllowed = this.rules.some(
      (rule) =>
        rule.devices.includes(bdf) &&
        (uid === 0 || rule.uids.includes(uid) || rule.gids.some((gid) => gids.includes(gid))),
    );
    if (isAllowed) return;
    const hint = "no rule of this server lends it to this user: see --allow of iova serve";
    throw new SysError("open", Errno.EACCES, { object: `${bdf} for user ${uid}`, hint });
  }
}

function checkIds(name: string, ids: readonly number[]): void {
  checkArray(name, ids);
  for (const [i, id] of ids.entries()) checkInteger(`${name}[${i}]`, id, 0, MAX_ID);
}
