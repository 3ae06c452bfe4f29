import type { AdminTarget } from "./admin-target.js";
import { AdminOpcode, AsyncEventType } from "./spec/opcodes.js";

/** Something a controller tells by itself (NVMe Base 2.x, section "Asynchronous Event Request command"). */
export interface NvmeEvent {
  /** What kind; "reserved" for one that this library doesn't know. */
  readonly type: keyof typeof AsyncEventType | "reserved";
  /** Asynchronous Event Information: its meaning depends on the type. */
  readonly info: number;
  /** The log page to read: the controller tells no more of this type before that was done. */
  readonly logPage: number;
}

/** Events kept for the next reader while nobody reads. */
const BACKLOG = 16;

/**
 * Events of a controller, each to everybody who iterates at the time. One request is with the controller from the first
 * iteration on, and costs nothing while it waits there. Iterations end when the controller is closed, and fail when it
 * fails. See {@link NvmeController.events}.
 */
export class NvmeEvents implements AsyncIterable<NvmeEvent> {
  private readonly readers = new Set<Reader>();
  private readonly backlog: NvmeEvent[] = [];
  private isRequested = false;

  constructor(
    private readonly target: AdminTarget,
    private readonly isClosed: () => boolean,
  ) {}

  [Symbol.asyncIterator](): AsyncIterableIterator<NvmeEvent> {
    const reader = new Reader(this.backlog.splice(0), () => this.readers.delete(reader));
    this.readers.add(reader);
    void this.request();
    return reader;
  }

  /** Keeps one request outstanding as long as somebody reads. */
  private async request(): Promise<void> {
    if (this.isRequested) return;
    this.isRequested = true;
    try {
      while (this.readers.size > 0) {
        const { dw0 } = await this.target.admin({
          name: "Asynchronous Event Request",
          opcode: AdminOpcode.asyncEventRequest,
          background: true,
        });
        this.deliver(decode(dw0));
      }
    } catch (error) {
      // The end of the controller is the end of its events, and no failure.
      const end = this.isClosed() ? undefined : { error };
      for (const reader of [...this.readers]) reader.finish(end);
    } finally {
      this.isRequested = false;
    }
  }

  private deliver(event: NvmeEvent): void {
    if (this.readers.size === 0) {
      this.backlog.push(event);
      if (this.backlog.length > BACKLOG) this.backlog.shift();
    }
    for (const reader of this.readers) reader.push(event);
  }
}

/** One iteration, with what came while its loop was busy. */
class Reader implements AsyncIterableIterator<NvmeEvent> {
  private waiting:
    | { resolve: (result: IteratorResult<NvmeEvent>) => void; reject: (error: unknown) => void }
    | undefined;
  private end: { error?: unknown } | undefined;

  constructor(
    private readonly events: NvmeEvent[],
    private readonly leave: () => void,
  ) {}

  [Symbol.asyncIterator](): this {
    return this;
  }

  push(event: NvmeEvent): void {
    const { waiting } = this;
    this.waiting = undefined;
    if (waiting === undefined) this.events.push(event);
    else waiting.resolve({ value: event, done: false });
  }

  finish(failure: { error: unknown } | undefined): void {
    this.leave();
    this.end = failure ?? {};
    const { waiting } = this;
    this.waiting = undefined;
    if (failure === undefined) waiting?.resolve({ value: undefined, done: true });
    else waiting?.reject(failure.error);
  }

  next(): Promise<IteratorResult<NvmeEvent>> {
    const event = this.events.shift();
    if (event !== undefined) return Promise.resolve({ value: event, done: false });
    if (this.end !== undefined) {
      const { end } = this;
      // A failure is told once.
      this.end = {};
      if ("error" in end) return Promise.reject(end.error);
      return Promise.resolve({ value: undefined, done: true });
    }
    return new Promise((resolve, reject) => {
      this.waiting = { resolve, reject };
    });
  }

  return(): Promise<IteratorResult<NvmeEvent>> {
    this.finish(undefined);
    return Promise.resolve({ value: undefined, done: true });
  }
}

function decode(dw0: number): NvmeEvent {
  const number = dw0 & 7;
  const known = Object.entries(AsyncEventType).find(([, value]) => value === number)?.[0];
  const type = isType(known) ? known : "reserved";
  return { type, info: (dw0 >>> 8) & 0xff, logPage: (dw0 >>> 16) & 0xff };
}

function isType(name: string | undefined): name is keyof typeof AsyncEventType {
  return name !== undefined && Object.hasOwn(AsyncEventType, name);
}
