/** Options of the vfio-user client, and their check. */
import { checkInteger, checkKeys, MAX_TIMER_MS, show } from "../../core/check.js";
import { ArgumentError, ConfigError } from "../../core/errors.js";

/** When a server that has gone is looked for. */
export interface ReconnectOptions {
  /** How long, in milliseconds, before it counts as lost. The attempt that is under way is finished. 30,000 by default. */
  readonly timeoutMs?: number | undefined;
  /** Pause before the first attempt in milliseconds; each further one is twice as long. 10 by default. */
  readonly firstPauseMs?: number | undefined;
  /** Longest pause in milliseconds. 1000 by default. */
  readonly longestPauseMs?: number | undefined;
}

/** Options of `VfioUserClient.connect`. */
export interface VfioUserOptions {
  /** How long the server may take for any one answer, in milliseconds. 10,000 by default. */
  readonly timeoutMs?: number | undefined;
  /**
   * Maps regions also from files that the server could cut short under us, which would end this process (SIGBUS). Left
   * out, only sealed memfds are mapped, and the rest is reached by messages.
   */
  readonly trustServer?: boolean | undefined;
  /**
   * Looks for a server that has gone, or had to be left, until it is back or the time is up; the process stays alive
   * meanwhile. What was set up is set up again: see `DevicePresence` of `iova/pci`. Left out, the device stays gone.
   */
  readonly reconnect?: boolean | ReconnectOptions | undefined;
}

/** {@link ReconnectOptions} with what was left out. */
export type ReconnectPlan = { readonly [K in keyof ReconnectOptions]-?: number };

/** {@link VfioUserOptions} with what was left out. */
export interface VfioUserConfig {
  readonly timeoutMs: number;
  readonly trustServer: boolean;
  /** Left out: the device stays gone. */
  readonly reconnect: ReconnectPlan | undefined;
}

/**
 * Checks by hand, without zod: a connection is made synchronously, so that zod would have to be loaded with the package.
 * @throws ConfigError naming every option that is wrong
 */
export function parseVfioUserOptions(options: VfioUserOptions): VfioUserConfig {
  const problems = new Problems();
  problems.keys("options", options, ["timeoutMs", "trustServer", "reconnect"]);
  const { timeoutMs, trustServer, reconnect } = Object(options) as VfioUserOptions;
  const config = {
    timeoutMs: problems.milliseconds("timeoutMs", timeoutMs, 10_000),
    trustServer: problems.flag("trustServer", trustServer),
    reconnect: planOf(problems, reconnect),
  };
  problems.end();
  return config;
}

function planOf(problems: Problems, reconnect: VfioUserOptions["reconnect"]): ReconnectPlan | undefined {
  if (typeof reconnect !== "object" && !problems.flag("reconnect", reconnect)) return undefined;
  const given = typeof reconnect === "object" ? reconnect : {};
  problems.keys("reconnect", given, ["timeoutMs", "firstPauseMs", "longestPauseMs"]);
  const { timeoutMs, firstPauseMs, longestPauseMs } = Object(given) as ReconnectOptions;
  return {
    timeoutMs: problems.milliseconds("reconnect.timeoutMs", timeoutMs, 30_000),
    firstPauseMs: problems.milliseconds("reconnect.firstPauseMs", firstPauseMs, 10),
    longestPauseMs: problems.milliseconds("reconnect.longestPauseMs", longestPauseMs, 1000),
  };
}

/** What is wrong with the options, collected so that one error names it all. */
class Problems {
  private readonly found: ArgumentError[] = [];

  keys(name: string, value: object, known: readonly string[]): void {
    this.run(() => {
      if (Array.isArray(value)) throw new ArgumentError(`${name} must be an object, got an array`);
      checkKeys(name, value, known);
    }, undefined);
  }

  milliseconds(name: string, value: number | undefined, otherwise: number): number {
    return this.run(
      () => (value === undefined ? otherwise : checkInteger(name, value, 1, MAX_TIMER_MS)),
      otherwise,
    );
  }

  /** false by default. */
  flag(name: string, value: boolean | undefined): boolean {
    return this.run(() => {
      if (value === undefined || typeof value === "boolean") return value === true;
      throw new ArgumentError(`${name} must be true or false, got ${show(value)}`);
    }, false);
  }

  /** @throws ConfigError */
  end(): void {
    const [first] = this.found;
    if (first === undefined) return;
    const texts = this.found.map(({ message }) => message);
    throw new ConfigError(`vfio-user options: ${texts.join("; ")}`, { cause: first });
  }

  private run<T>(check: () => T, otherwise: T): T {
    try {
      return check();
    } catch (error) {
      if (!(error instanceof ArgumentError)) throw error;
      this.found.push(error);
      return otherwise;
    }
  }
}
