/** The telemetry logs. */
import * as z from "zod/mini";
import { lazily } from "../../../core/lazy.js";
import { TELEMETRY_BLOCK_BYTES, telemetryHeader } from "../../../nvme/spec/log-pages.js";
import { LogPageId } from "../../../nvme/spec/opcodes.js";
import { NvmeStatus } from "../../../nvme/spec/status.js";
import type { Command } from "../host/command.js";
import type { PersistentStore } from "../medium/persistent-state.js";
import { u16 } from "../medium/state-schema.js";
import { type AdminService, savedPart } from "./admin-service.js";
import type { LogProvider } from "./log-page.js";

const captureState = lazily(() =>
  z.nullable(
    z.strictObject({
      reason: z.string().check(z.maxLength(1024)),
      data: z.base64().check(z.maxLength(1 << 18)),
      ends: z.tuple([u16(), u16(), u16()]),
    }),
  ),
);

/** The part of a migration state that holds the telemetry logs. */
const telemetryState = lazily(() =>
  z.strictObject({
    host: captureState(),
    controller: captureState(),
    isAvailable: z.boolean(),
  }),
);
type TelemetryState = z.output<ReturnType<typeof telemetryState>>;

/** LSP: capture now. */
const CREATE = 1;
const REASON_BYTES = 128;
/** What a data area holds at most. */
const MOST_BLOCKS = 64;

/** The contents of the log's three data areas. */
export type TelemetryAreas = readonly [unknown, unknown, unknown];

/** A captured log. */
interface Capture {
  readonly reason: string;
  /** The data areas, in whole blocks, and where each of them ends. */
  readonly data: Uint8Array;
  readonly ends: readonly [number, number, number];
}

/** What telemetry needs of its controller. */
export interface TelemetryContext {
  readonly command: Command;
  readonly inventory: PersistentStore;
  snapshot(): TelemetryAreas;
  /** The controller has captured something. */
  captured(): void;
}

/** The Telemetry logs: the host requests one, and the controller captures the other after an error. Data is JSON. */
export class Telemetry implements AdminService {
  readonly saved = savedPart(
    "telemetry",
    telemetryState,
    () => this.save(),
    (saved) => this.load(saved),
  );
  private hostCapture: Capture | undefined;
  private controllerCapture: Capture | undefined;
  /** The host has not read it yet. */
  private isAvailable = false;

  constructor(private readonly context: TelemetryContext) {}

  private readonly hostPage: LogProvider = {
    page: () => {
      if (!this.isWholeBlocks) return NvmeStatus.invalidField;
      if (((this.context.command.cdw(10) >>> 8) & CREATE) !== 0) {
        this.hostCapture = this.take("ordered by the host");
        const { telemetry } = this.context.inventory.persistent;
        this.context.inventory.persist({ telemetry: { ...telemetry, host: (telemetry.host + 1) & 0xff } });
      }
      const { host } = this.context.inventory.persistent.telemetry;
      return this.encode(LogPageId.telemetryHost, this.hostCapture, host);
    },
  };

  private readonly controllerPage: LogProvider = {
    page: () =>
      this.isWholeBlocks
        ? this.encode(LogPageId.telemetryController, this.controllerCapture, 0)
        : NvmeStatus.invalidField,
    read: () => {
      this.isAvailable = false;
    },
  };

  readonly logPages = {
    [LogPageId.telemetryHost]: this.hostPage,
    [LogPageId.telemetryController]: this.controllerPage,
  };

  /** Captures the controller's state as it is now. */
  capture(reason: string): void {
    const { inventory } = this.context;
    const { telemetry } = inventory.persistent;
    this.controllerCapture = this.take(reason);
    this.isAvailable = true;
    inventory.persist({ telemetry: { ...telemetry, controller: (telemetry.controller + 1) & 0xff } });
    this.context.captured();
  }

  private save(): TelemetryState {
    const text = (capture: Capture | undefined): TelemetryState["host"] =>
      capture === undefined
        ? null
        : {
            reason: capture.reason,
            data: Buffer.from(capture.data).toString("base64"),
            ends: [...capture.ends],
          };
    return {
      host: text(this.hostCapture),
      controller: text(this.controllerCapture),
      isAvailable: this.isAvailable,
    };
  }

  private load({ host, controller, isAvailable }: TelemetryState): void {
    const capture = (saved: TelemetryState["host"]): Capture | undefined =>
      saved === null ? undefined : { ...saved, data: Buffer.from(saved.data, "base64") };
    this.hostCapture = capture(host);
    this.controllerCapture = capture(controller);
    this.isAvailable = isAvailable;
  }

  /** "Offset and length shall be multiples of 512 bytes." */
  private get isWholeBlocks(): boolean {
    const { command } = this.context;
    const dwords = (command.cdw(10) >>> 16) + 1;
    return command.cdw(12) % TELEMETRY_BLOCK_BYTES === 0 && (dwords * 4) % TELEMETRY_BLOCK_BYTES === 0;
  }

  private take(reason: string): Capture {
    const areas = this.context.snapshot().map((area) => {
      const text = Buffer.from(JSON.stringify(area)).subarray(0, MOST_BLOCKS * TELEMETRY_BLOCK_BYTES);
      const blocks = Buffer.alloc(Math.ceil(text.length / TELEMETRY_BLOCK_BYTES) * TELEMETRY_BLOCK_BYTES);
      text.copy(blocks);
      return blocks;
    });
    const end = (count: number): number =>
      areas.slice(0, count).reduce((sum, { length }) => sum + length / TELEMETRY_BLOCK_BYTES, 0);
    return { reason, data: Buffer.concat(areas), ends: [end(1), end(2), end(3)] };
  }

  private encode(lid: number, capture: Capture | undefined, hostGeneration: number): Uint8Array {
    const [lastBlock1, lastBlock2, lastBlock3] = capture?.ends ?? [0, 0, 0];
    const reason = new Uint8Array(REASON_BYTES);
    reason.set(Buffer.from(capture?.reason ?? "", "latin1").subarray(0, REASON_BYTES));
    const header = telemetryHeader.encode({
      lid,
      ...{ lastBlock1, lastBlock2, lastBlock3 },
      hostGeneration,
      controllerAvailable: this.isAvailable ? 1 : 0,
      controllerGeneration: this.context.inventory.persistent.telemetry.controller,
      reason,
    });
    return capture === undefined ? header : Buffer.concat([header, capture.data]);
  }
}
