/**
 * Users and groups that the host knows beside its files: a directory (LDAP, Active Directory by sssd), systemd-homed. getent(1) asks
 * whatever nsswitch.conf names.
 */
import { StateError, TimeoutError } from "../../core/errors.js";
import { askProgram, programAt, programPlaces } from "../../pci/steps/programs.js";
import { type GroupEntry, type PasswdEntry, parseGroup, parsePasswd } from "./files.js";

/** sssd itself waits 6 s for a server that doesn't answer. */
const TIMEOUT_MS = 10_000;
/** What names no user or group, or would be an option of getent. */
const NO_NAME = /^-|[:\n\0]|^$/;

/** Where programs are, and how long they may take. */
export interface NameServiceOptions {
  /** Folder below which the programs are; `/` by default. */
  readonly root?: string | undefined;
  /** Milliseconds for each answer; 10 s by default. */
  readonly timeoutMs?: number | undefined;
}

/** Asks for one user or group at a time, and asks nothing twice. It throws nothing: see {@link failure}. */
export class NameService {
  readonly #root: string;
  readonly #timeoutMs: number;
  readonly #answers = new Map<string, string | undefined>();
  #failure: Error | undefined;

  constructor({ root = "/", timeoutMs = TIMEOUT_MS }: NameServiceOptions = {}) {
    this.#root = root;
    this.#timeoutMs = timeoutMs;
  }

  /** Why it couldn't be asked; it isn't asked again then, since each question may take the whole time. */
  get failure(): Error | undefined {
    return this.#failure;
  }

  /** A user by name, or by number as text. */
  user(key: string): PasswdEntry | undefined {
    return parsePasswd(this.#ask("getent", ["passwd", key]) ?? "")[0];
  }

  /** A group by name, or by number as text. */
  group(key: string): GroupEntry | undefined {
    return parseGroup(this.#ask("getent", ["group", key]) ?? "")[0];
  }

  /** Numbers of a user's groups, the main one first; undefined if they aren't known. */
  groupIds(user: string): number[] | undefined {
    const answer = this.#ask("id", ["-G", user])?.trim();
    return answer === undefined || !/^\d+(?: \d+)*$/.test(answer) ? undefined : answer.split(" ").map(Number);
  }

  /** What a program answers; undefined if it knows no such name, or can't be asked. */
  #ask(program: string, args: readonly [string, string]): string | undefined {
    const what = [program, ...args].join(" ");
    if (this.#failure !== undefined || NO_NAME.test(args[1])) return undefined;
    if (!this.#answers.has(what)) this.#answers.set(what, this.#run(program, args, what));
    return this.#answers.get(what);
  }

  #run(program: string, args: readonly string[], what: string): string | undefined {
    const path = programAt(programPlaces(program, this.#root));
    if (path === undefined) return undefined;
    const hint = "a service that nsswitch.conf names doesn't answer, such as a directory's server";
    try {
      const { how, answer } = askProgram({
        path,
        args,
        what,
        cwd: this.#root,
        timeoutMs: this.#timeoutMs,
        hint,
      });
      return how === 0 ? answer : undefined;
    } catch (error) {
      const isLate = error instanceof TimeoutError;
      this.#failure = isLate
        ? error
        : new StateError(`${what} could not be run: ${String(error)}`, { cause: error });
      return undefined;
    }
  }
}
