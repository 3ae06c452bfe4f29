/** Asynchronous events and the requests that report them. */
import * as z from "zod/mini";
import { lazily } from "../../../core/lazy.js";
import { append } from "../../../core/lists.js";
import { AsyncEventType, LogPageId } from "../../../nvme/spec/opcodes.js";
import { u16, u32 } from "../medium/state-schema.js";

/** The part of a migration state that holds events and the requests for them. */
export const asyncEventsState = lazily(() =>
  z.strictObject({
    requests: z.array(u16()).check(z.maxLength(8)),
    waiting: z.array(z.strictObject({ type: u32(), info: u32(), logPage: u32() })).check(z.maxLength(256)),
    silent: z.array(u32()).check(z.maxLength(256)),
    reported: z.array(z.tuple([u32(), z.array(u32()).check(z.maxLength(256))])).check(z.maxLength(256)),
  }),
);
export type AsyncEventsState = z.output<ReturnType<typeof asyncEventsState>>;

/** Asynchronous Event Requests outstanding at most (AERL is zero-based). */
export const MAX_EVENT_REQUESTS = 8;

/** An event that waits for a request, or for its log page to be read. */
interface Event {
  readonly type: number;
  readonly info: number;
  readonly logPage: number;
}

/**
 * Answers the host's requests with events. After an event of a type was reported, that type is silent until the host
 * has read the log page that explains it.
 */
export class AsyncEvents {
  private readonly requests: number[] = [];
  private readonly waiting: Event[] = [];
  private readonly silent = new Set<number>();

  /** @param complete posts the completion of a request: its cid, and DW0 */
  constructor(
    private readonly complete: (cid: number, dw0: number) => void,
    /** Whether a type is silent after an event. */
    private readonly silences: boolean,
  ) {}

  reset(): void {
    this.requests.length = 0;
    this.waiting.length = 0;
    this.silent.clear();
    this.reported.clear();
  }

  save(): AsyncEventsState {
    return {
      requests: [...this.requests],
      waiting: [...this.waiting],
      silent: [...this.silent],
      reported: [...this.reported].map(([logPage, types]) => [logPage, [...types]]),
    };
  }

  load({ requests, waiting, silent, reported }: AsyncEventsState): void {
    this.reset();
    append(this.requests, requests);
    append(this.waiting, waiting);
    for (const type of silent) this.silent.add(type);
    for (const [logPage, types] of reported) this.reported.set(logPage, new Set(types));
  }

  /** Command ids of the requests. */
  get outstanding(): readonly number[] {
    return this.requests;
  }

  /** @returns false if too many requests are outstanding */
  request(cid: number): boolean {
    if (this.requests.length >= MAX_EVENT_REQUESTS) return false;
    this.requests.push(cid);
    this.deliver();
    return true;
  }

  /** Aborts a request. @returns whether it was outstanding */
  abort(cid: number): boolean {
    const index = this.requests.indexOf(cid);
    if (index < 0) return false;
    this.requests.splice(index, 1);
    return true;
  }

  raise(type: (typeof AsyncEventType)[keyof typeof AsyncEventType], info: number, logPage: number): void {
    const known = this.waiting.some((event) => event.type === type && event.info === info);
    if (!known) this.waiting.push({ type, info, logPage });
    this.deliver();
  }

  /** Something went wrong that no command reports; the Error Information log explains it. */
  raiseError(info: number): void {
    this.raise(AsyncEventType.error, info, LogPageId.errorInformation);
  }

  /** The host has read this log page without "retain asynchronous event". */
  logPageRead(logPage: number): void {
    for (const type of this.reported.get(logPage) ?? []) this.silent.delete(type);
    this.reported.delete(logPage);
    this.deliver();
  }

  private deliver(): void {
    for (let i = 0; i < this.waiting.length && this.requests.length > 0; ) {
      const event = this.waiting[i];
      if (event === undefined || this.silent.has(event.type)) {
        i++;
        continue;
      }
      this.waiting.splice(i, 1);
      const cid = this.requests.shift();
      if (cid === undefined) return;
      if (this.silences) this.silent.add(event.type);
      const types = this.reported.get(event.logPage) ?? new Set();
      types.add(event.type);
      this.reported.set(event.logPage, types);
      this.complete(cid, event.type | (event.info << 8) | (event.logPage << 16));
    }
  }

  private readonly reported = new Map<number, Set<number>>();
}
