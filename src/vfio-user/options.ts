import { z } from "zod";
import { ConfigError } from "../sys/errors.js";
import { lazily } from "../sys/lazy.js";

/** What timers and poll(2) take. */
const MAX_MS = 2 ** 31 - 1;

const milliseconds = lazily(() => z.int().min(1).max(MAX_MS));

const plan = lazily(() =>
  z.strictObject({
    timeoutMs: milliseconds().default(30_000),
    firstPauseMs: milliseconds().default(10),
    longestPauseMs: milliseconds().default(1000),
  }),
);

const schema = lazily(() =>
  z.strictObject({
    timeoutMs: milliseconds().default(10_000),
    trustServer: z.boolean().default(false),
    reconnect: z
      .union([z.boolean(), plan()])
      .optional()
      .transform((value) =>
        typeof value === "object" ? value : value === true ? plan().parse({}) : undefined,
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
  // Once per connection: compiling a parser takes longer than it saves.
  const result = schema().safeParse(options, { jitless: true });
  if (result.success) return result.data;
  const problems = result.error.issues.map(
    ({ path, message }) => `${path.join(".") || "options"}: ${message}`,
  );
  throw new ConfigError(`vfio-user options: ${problems.join("; ")}`, { cause: result.error });
}
