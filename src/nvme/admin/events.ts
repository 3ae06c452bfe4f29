import type { AdminTarget } from "../command/admin-target.js";
import { AdminOpcode, AsyncEventInfo, AsyncEventType, LogPageId } from "../spec/opcodes.js";
import { NvmeLogs } from "./logs.js";

/** Names of the events of a type. */
type InfoName<T extends keyof typeof AsyncEventInfo> = keyof (typeof AsyncEventInfo)[T];

interface EventBase {
  /** Asynchronous Event Information: its meaning depends on the type. */
  readonly info: number;
  /** The log page to read: the controller tells no more of this type before that was done. See {@link NvmeEvents.clear}. */
  readonly logPage: number;
  /** Event Specific Parameter (DW1), e.g. the namespace whose zones changed. */
  readonly parameter: number;
}

/** Something a controller tells by itself (NVMe Base 2.x, section "Asynchronous Event Request command"). */
export type NvmeEvent =
  | {
      [T in keyof typeof AsyncEventInfo]: EventBase & {
        readonly type: T;
        /** What happened, a key of `AsyncEventInfo[type]`; undefined where this library doesn't know it. */
        readonly name: InfoName<T> | undefined;
      };
    }[keyof typeof AsyncEventInfo]
  | (EventBase & {
      /** A type that this library doesn't know. */
      readonly type: "reserved";
      readonly name: undefined;
    });

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

  /**
   * Reads the log page that an event named, so that the controller tells of the next one of its type. Who reads that page
   * anyway (nvme.logs) has no need of it.
   * @throws NvmeError, TimeoutError, DeviceGoneError, ClosedError
   */
  async clear(event: NvmeEvent): Promise<void> {
    // Some events have no log page: nothing is to be cleared.
    if (event.logPage === 0) return;
    const logs = new NvmeLogs(this.target);
    if (event.logPage === LogPageId.changedZones) await logs.changedZones(event.parameter);
    else await logs.read(event.logPage, clearBytes.get(event.logPage) ?? CLEAR_BYTES);
  }

  /** Keeps one request outstanding as long as somebody reads. */
  private async request(): Promise<void> {
    if (this.isRequested) return;
    this.isRequested = true;
    try {
      while (this.readers.size > 0) {
        const { dw0, dw1 } = await this.target.admin({
          name: "Asynchronous Event Request",
          opcode: AdminOpcode.asyncEventRequest,
          background: true,
        });
        this.deliver(decode(dw0, dw1));
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

/** What is read of a log page to clear its event. */
const CLEAR_BYTES = 512;
/** Lists that have to be read as a whole, and what is shorter. */
const clearBytes = new Map<number, number>([
  [LogPageId.changedNamespaces, 4096],
  [LogPageId.changedAllocatedNamespaces, 4096],
  [LogPageId.errorInformation, 64],
  [LogPageId.reservationNotification, 64],
]);

function decode(dw0: number, parameter: number): NvmeEvent {
  const number = dw0 & 7;
  const base = { info: (dw0 >>> 8) & 0xff, logPage: (dw0 >>> 16) & 0xff, parameter };
  const type = Object.entries(AsyncEventType).find(([, value]) => value === number)?.[0];
  if (!isType(type)) return { ...base, type: "reserved", name: undefined };
  const name = Object.entries(AsyncEventInfo[type]).find(([, value]) => value === base.info)?.[0];
  // The name was looked up under this very type.
  return { ...base, type, name } as NvmeEvent;
}

function isType(name: string | undefined): name is keyof typeof AsyncEventType {
  return name !== undefined && Object.hasOwn(AsyncEventType, name);
}
