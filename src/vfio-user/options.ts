import * as z from "zod/mini";
import { lazily } from "../sys/lazy.js";
import { integer, isEmpty, readOptions } from "../sys/schema.js";

/** What timers and poll(2) take. */
const MAX_MS = 2 ** 31 - 1;

/** What is left out. */
const usual = { timeoutMs: 10_000, trustServer: false, reconnect: undefined } as const;

const milliseconds = lazily(() => integer(1, MAX_MS));

const plan = lazily(() =>
  z.strictObject({
    timeoutMs: z._default(milliseconds(), 30_000),
    firstPauseMs: z._default(milliseconds(), 10),
    longestPauseMs: z._default(milliseconds(), 1000),
  }),
);

const schema = lazily(() =>
  z.strictObject({
    timeoutMs: z._default(milliseconds(), usual.timeoutMs),
    trustServer: z._default(z.boolean(), usual.trustServer),
    reconnect: z.pipe(
      z.optional(z.union([z.boolean(), plan()])),
      z.transform((value) =>
        typeof value === "object" ? value : value === true ? z.parse(plan(), {}) : undefined,
      ),
    ),
  }),
);

/** When a server that has gone is looked for. */
export interface ReconnectOptions {
  /** How long, in milliseconds, before it counts as lost. The attempt that is under way is finished. 30,000 by default. */
  readonly timeoutMs?: number | undefined;
  /** Pause before the first attempt in milliseconds; each further one is twice as long. 10 by default. */
  readonly firstPauseMs?: number | undefined;
  /** Longest pause in milliseconds. 1000 by default. */
  readonly longestPauseMs?: number | undefined;
}

/** Options of {@link VfioUserClient.connect}. */
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
export type ReconnectPlan = z.output<ReturnType<typeof plan>>;

/** @throws ConfigError naming every option that is wrong */
export function parseVfioUserOptions(options: VfioUserOptions): z.output<ReturnType<typeof schema>> {
  if (isEmpty(options)) return usual;
  return readOptions("vfio-user options", schema(), options);
}
