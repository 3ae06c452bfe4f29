/** Options of the vfio-user client, and their check. */
import * as z from "zod/mini";
import { MAX_TIMER_MS } from "../../core/check.js";
import { GivenOptions, integer } from "../../core/options.js";

const milliseconds = () => integer(1, MAX_TIMER_MS);

const planSchema = () =>
  z.strictObject({
    timeoutMs: z._default(milliseconds(), 30_000),
    firstPauseMs: z._default(milliseconds(), 10),
    longestPauseMs: z._default(milliseconds(), 1000),
  });

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
   * meanwhile. What was set up is set up again: see {@link DevicePresence}. Left out, the device stays gone.
   */
  readonly reconnect?: boolean | ReconnectOptions | undefined;
}

/** {@link ReconnectOptions} with what was left out. */
export type ReconnectPlan = z.output<ReturnType<typeof planSchema>>;

/** @throws ConfigError naming every option that is wrong */
export function parseVfioUserOptions(options: VfioUserOptions) {
  const given = new GivenOptions("vfio-user options", options);
  const reconnect =
    given.get("reconnect", () => (typeof options.reconnect === "object" ? planSchema() : z.boolean())) ??
    false;
  const config = {
    timeoutMs: given.get("timeoutMs", milliseconds) ?? 10_000,
    trustServer: given.get("trustServer", z.boolean) ?? false,
    reconnect: planOf(reconnect),
  };
  given.end();
  return config;
}

function planOf(reconnect: boolean | ReconnectPlan): ReconnectPlan | undefined {
  if (reconnect === false) return undefined;
  return reconnect === true ? z.parse(planSchema(), {}) : reconnect;
}
