/** Asynchronous events of a controller, as an async iterator. */
import { checkInteger, checkObject } from "../../core/check.js";
import { type ListenOptions, onAbort, signalOf } from "../../core/listeners.js";
import type { AdminTarget } from "../command/admin-target.js";
import { NvmeError, NvmeResetError } from "../command/error.js";
import { AdminOpcode, AsyncEventInfo, AsyncEventType, FeatureId, LogPageId } from "../spec/opcodes.js";
import { NvmeLogs } from "./logs.js";

/** Names of the events of a type. */
type InfoName<T extends keyof typeof AsyncEventInfo> = keyof (typeof AsyncEventInfo)[T];

interface EventBase {
  /** Asynchronous Event Information: its meaning depends on the type. */
  readonly info: number;
  /**
   * Log page to read, 0 for none. The controller reports no further event of this type until the page is read: see
   * {@link NvmeEvents.clear}.
   */
  readonly logPage: number;
  /** Event Specific Parameter (DW1), e.g. the namespace whose zones changed. */
  readonly parameter: number;
}

/** An asynchronous event of a controller (NVMe Base 2.x, section "Asynchronous Event Request command"). */
export type NvmeEvent =
  | {
      [T in keyof typeof AsyncEventInfo]: EventBase & {
        /** Type of the event, a key of AsyncEventType. */
        readonly type: T;
        /** What happened, a key of `AsyncEventInfo[type]`; undefined for an `info` that isn't in the table. */
        readonly name: InfoName<T> | undefined;
      };
    }[keyof typeof AsyncEventInfo]
  | (EventBase & {
      /** A type that the specification reserves. */
      readonly type: "reserved";
      /** Always undefined. */
      readonly name: undefined;
    });

/** The controller, as its events use it. */
export interface EventTarget extends AdminTarget {
  /** Whether the program has set this feature since the controller was opened. */
  hasSetFeature(fid: number): boolean;
}

/** Asynchronous Event Configuration: critical warnings of the SMART / Health log, which every controller has. */
const HEALTH_WARNINGS = 0x1f;
/** Events with the same bit in OAES and in Asynchronous Event Configuration: 8 to 31. */
const OPTIONAL_EVENTS = 0xffff_ff00;

/** Most events that wait for the next iteration while none runs. */
const BACKLOG = 16;

/**
 * Events of a controller. The first iteration enables all events that the controller supports (Asynchronous Event
 * Configuration), unless the program has set that feature itself. Each running iteration gets each event, by one outstanding
 * Asynchronous Event Request. Up to 16 events wait while no iteration runs. Iterations end when the controller is closed,
 * and throw when it fails. See {@link NvmeController.events}.
 */
export class NvmeEvents implements AsyncIterable<NvmeEvent> {
  private readonly readers = new Set<Reader>();
  private readonly backlog: NvmeEvent[] = [];
  private isRequested = false;
  private isSwitchedOn = false;

  constructor(
    private readonly target: EventTarget,
    private readonly isClosed: () => boolean,
  ) {}

  /** Starts an iteration. It ends with `break`, or with the controller. @throws ArgumentError */
  values(options: ListenOptions = {}): AsyncIterableIterator<NvmeEvent> {
    const signal = signalOf(options);
    let forgetSignal = (): void => {};
    const reader = new Reader(signal?.aborted === true ? [] : this.backlog.splice(0), () => {
      this.readers.delete(reader);
      forgetSignal();
    });
    this.readers.add(reader);
    forgetSignal = onAbort(signal, () => reader.finish({ error: signal?.reason }));
    void this.request();
    return reader;
  }

  /** values() without options, for `for await`. */
  [Symbol.asyncIterator](): AsyncIterableIterator<NvmeEvent> {
    return this.values();
  }

  /**
   * Reads the log page that an event names, so that the controller reports the next event of that type. Not needed if the
   * program reads that page anyway (nvme.logs).
   * @throws ArgumentError, NvmeError, TimeoutError, DeviceGoneError, ClosedError
   */
  async clear(event: NvmeEvent): Promise<void> {
    checkObject("event", event);
    checkInteger("event.logPage", event.logPage, 0, 0xff);
    // Events without a log page need no clearing.
    if (event.logPage === 0) return;
    const logs = new NvmeLogs(this.target);
    if (event.logPage === LogPageId.changedZones) await logs.changedZones(event.parameter);
    else await logs.read(event.logPage, clearBytes.get(event.logPage) ?? CLEAR_BYTES);
  }

  /** Keeps one request outstanding while an iteration runs. */
  private async request(): Promise<void> {
    if (this.isRequested) return;
    this.isRequested = true;
    try {
      await this.switchOn();
      while (this.readers.size > 0) {
        const { dw0, dw1 } = await this.target.admin({
          name: "Asynchronous Event Request",
          opcode: AdminOpcode.asyncEventRequest,
          background: true,
        });
        this.deliver(decode(dw0, dw1));
      }
    } catch (error) {
      // Closing the controller ends its events without an error.
      const end = this.isClosed() ? undefined : { error };
      for (const reader of [...this.readers]) reader.finish(end);
    } finally {
      this.isRequested = false;
    }
  }

  /** Enables all events that the controller supports, unless the program has set that feature. */
  private async switchOn(): Promise<void> {
    const { target } = this;
    if (this.isSwitchedOn || target.hasSetFeature(FeatureId.asyncEventConfiguration)) return;
    const get = { name: "Get Features (Asynchronous Event Configuration)", opcode: AdminOpcode.getFeatures };
    try {
      const { dw0 } = await target.admin({ ...get, cdw10: FeatureId.asyncEventConfiguration });
      const wanted = (dw0 | HEALTH_WARNINGS | (target.identify.oaes & OPTIONAL_EVENTS)) >>> 0;
      // The program may have set it in the meantime.
      if (wanted !== dw0 && !target.hasSetFeature(FeatureId.asyncEventConfiguration)) {
        await target.admin({
          name: "Set Features (Asynchronous Event Configuration)",
          opcode: AdminOpcode.setFeatures,
          cdw10: FeatureId.asyncEventConfiguration,
          cdw11: wanted,
        });
      }
    } catch (error) {
      // The command was outstanding at a reset: repeat it.
      if (error instanceof NvmeResetError && this.readers.size > 0) return await this.switchOn();
      // A controller without that feature has no choice of events.
      if (!(error instanceof NvmeError)) throw error;
    }
    this.isSwitchedOn = true;
  }

  private deliver(event: NvmeEvent): void {
    if (this.readers.size === 0) {
      this.backlog.push(event);
      if (this.backlog.length > BACKLOG) this.backlog.shift();
    }
    for (const reader of this.readers) reader.push(event);
  }
}

/** An iteration, with the events that arrived while its loop body ran. */
class Reader implements AsyncIterableIterator<NvmeEvent> {
  /** Calls of next() that found no event, oldest first: there may be several at once. */
  private readonly waiting: {
    readonly resolve: (result: IteratorResult<NvmeEvent>) => void;
    readonly reject: (error: unknown) => void;
  }[] = [];
  private end: { error?: unknown } | undefined;

  constructor(
    private readonly events: NvmeEvent[],
    private readonly leave: () => void,
  ) {}

  [Symbol.asyncIterator](): this {
    return this;
  }

  push(event: NvmeEvent): void {
    const next = this.waiting.shift();
    if (next === undefined) this.events.push(event);
    else next.resolve({ value: event, done: false });
  }

  finish(failure: { error: unknown } | undefined): void {
    this.leave();
    const [first, ...others] = this.waiting.splice(0);
    // A failure is thrown once.
    this.end = first === undefined ? (failure ?? {}) : {};
    if (failure !== undefined) first?.reject(failure.error);
    else first?.resolve({ value: undefined, done: true });
    for (const { resolve } of others) resolve({ value: undefined, done: true });
  }

  next(): Promise<IteratorResult<NvmeEvent>> {
    const event = this.events.shift();
    if (event !== undefined) return Promise.resolve({ value: event, done: false });
    if (this.end !== undefined) {
      const { end } = this;
      // Only the first next() after a failure rejects.
      this.end = {};
      if ("error" in end) return Promise.reject(end.error);
      return Promise.resolve({ value: undefined, done: true });
    }
    return new Promise((resolve, reject) => {
      this.waiting.push({ resolve, reject });
    });
  }

  return(): Promise<IteratorResult<NvmeEvent>> {
    this.finish(undefined);
    return Promise.resolve({ value: undefined, done: true });
  }
}

/** Bytes of a log page to read to clear its event. */
const CLEAR_BYTES = 512;
/** Other sizes: lists that must be read completely, and shorter pages. */
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
  // `name` is from the table of `type`, which TypeScript can't infer.
  return { ...base, type, name } as NvmeEvent;
}

function isType(name: string | undefined): name is keyof typeof AsyncEventType {
  return name !== undefined && Object.hasOwn(AsyncEventType, name);
}
