/** Power states: Power Management, and the transitions that the controller makes by itself when it is idle. */
import * as z from "zod/mini";
import { lazily } from "../../../core/lazy.js";
import { integer } from "../../../core/options.js";
import { type PowerTransition, powerTransitions } from "../../../nvme/spec/features.js";
import { FeatureId, FeatureSelect } from "../../../nvme/spec/opcodes.js";
import { NvmeStatus } from "../../../nvme/spec/status.js";
import type { Command } from "../host/command.js";
import type { Oddities } from "../host/oddities.js";
import type { Transfer } from "../host/transfer.js";
import type { PersistentState, PersistentStore } from "../medium/persistent-state.js";
import { powerTable } from "../medium/state-schema.js";
import type { DelayedCommands } from "../queues/delayed-commands.js";
import type { IoWatch } from "../queues/io-watch.js";
import type { QueueSet } from "../queues/queue-set.js";
import { type AdminService, savedPart } from "./admin-service.js";
import type { FeatureHandler } from "./features.js";
import { operationalStates } from "./power-descriptors.js";

/** CDW11 of Power Management: the state (PS) and the workload hint (WH). */
const STATE = 0x1f;
const HINT = 0xe0;
/** CDW11 of Autonomous Power State Transition: APSTE. */
const ENABLED = 1;

/** The part of a migration state that holds the power state. @param accepts whether a table is one for these states */
const powerStatesState = (count: number, accepts: (table: Uint8Array) => boolean) =>
  z.strictObject({
    current: integer(0, count - 1),
    /** The operational state in which it was last. */
    operational: integer(0, operationalStates(count) - 1),
    hint: integer(0, HINT),
    enabled: z.boolean(),
    /** The table of Autonomous Power State Transition. */
    table: powerTable().check(
      z.refine((text) => accepts(Buffer.from(text, "hex")), "must lead to non-operational states"),
    ),
  });
type PowerStatesState = z.output<ReturnType<typeof powerStatesState>>;

/** What the power states need of their controller. */
export interface PowerContext {
  readonly command: Command;
  readonly transfer: Transfer;
  readonly inventory: PersistentStore;
  readonly queues: QueueSet;
  readonly delayed: DelayedCommands;
  readonly state: { readonly isRunning: boolean };
  /** What is called before I/O commands. */
  readonly watches: IoWatch[];
  /** Power states that there are. */
  readonly count: number;
  readonly odd: Pick<Oddities, "failsInOwnPowerState" | "failsInDeepestPowerState">;
  /** Sets CSTS.CFS. */
  fail(): void;
}

/**
 * The power state of the controller. A non-operational one lasts until the next I/O command, which leads back to the last
 * operational one. The controller is idle while no I/O command is outstanding.
 */
export class PowerStates implements AdminService {
  readonly features: Readonly<Record<number, FeatureHandler>>;
  /** Its timer ends and goes on with the controller. */
  readonly work = { pause: () => this.stop(), resume: () => this.arm(), stop: () => this.stop() };
  readonly saved = savedPart(
    "powerStates",
    lazily(() => powerStatesState(this.context.count, (table) => this.accepts(table))),
    () => this.save(),
    (saved) => this.load(saved),
  );
  private current = 0;
  private operational = 0;
  private hint = 0;
  private enabled = false;
  private table = new Uint8Array(powerTransitions.sizeBytes);
  private entries: readonly PowerTransition[] = [];
  private timer: NodeJS.Timeout | undefined;
  private idleSince = 0;

  constructor(private readonly context: PowerContext) {
    const management = { get: (select: number) => this.getState(select), set: () => this.setState() };
    const transition: FeatureHandler = {
      get: (select) => this.getTable(select),
      set: () => this.setTable(),
      persisted: (features) => ({ ...features, powerTransitions: hex(this.table) }),
    };
    this.features = {
      [FeatureId.powerManagement]: management,
      ...(context.count > 1 && { [FeatureId.autonomousPowerStateTransition]: transition }),
    };
  }

  /** The features have their persistent values again, as far as this controller has such states. */
  reset(): void {
    const { features } = this.context.inventory.persistent;
    const { powerTransitions: text } = features;
    const value = persistentValue(features, FeatureId.powerManagement);
    const state = value & STATE;
    this.stop();
    this.operational = 0;
    this.become(state < this.context.count ? state : 0);
    this.hint = value & HINT;
    const table = text === undefined ? undefined : Buffer.from(text, "hex");
    const isUsable = table !== undefined && this.accepts(table);
    this.enabled =
      isUsable && (persistentValue(features, FeatureId.autonomousPowerStateTransition) & ENABLED) !== 0;
    this.take(isUsable ? table : new Uint8Array(powerTransitions.sizeBytes));
    this.watch();
  }

  shutdown(): void {
    this.stop();
  }

  /** Idle time begins. */
  started(): void {
    this.arm();
  }

  private getState(select: number): number {
    const persistent = (): number =>
      persistentValue(this.context.inventory.persistent.features, FeatureId.powerManagement);
    this.context.command.dw0 =
      select === FeatureSelect.current
        ? this.current | this.hint
        : select === FeatureSelect.saved
          ? persistent()
          : 0;
    return NvmeStatus.success;
  }

  private setState(): number {
    const value = this.context.command.cdw(11);
    if ((value & STATE) >= this.context.count) return NvmeStatus.invalidField;
    this.hint = value & HINT;
    this.enter(value & STATE, false);
    return NvmeStatus.success;
  }

  private getTable(select: number): number {
    const { command, transfer, inventory } = this.context;
    const { features } = inventory.persistent;
    if (select === FeatureSelect.current) {
      command.dw0 = this.enabled ? ENABLED : 0;
      return transfer.send(command, this.table);
    }
    const persistent = select === FeatureSelect.saved ? features.powerTransitions : undefined;
    if (persistent === undefined) return transfer.send(command, new Uint8Array(powerTransitions.sizeBytes));
    command.dw0 = persistentValue(features, FeatureId.autonomousPowerStateTransition) & ENABLED;
    return transfer.send(command, Buffer.from(persistent, "hex"));
  }

  private setTable(): number {
    const { command, transfer } = this.context;
    const table = new Uint8Array(powerTransitions.sizeBytes);
    const status = transfer.fetch(command, table);
    if (status !== NvmeStatus.success) return status;
    if (!this.accepts(table)) return NvmeStatus.invalidField;
    this.take(table);
    this.enabled = (command.cdw(11) & ENABLED) !== 0;
    this.watch();
    this.arm();
    return NvmeStatus.success;
  }

  /** Whether all transitions of a table lead from a state that there is to a non-operational one. */
  private accepts(table: Uint8Array): boolean {
    const { count } = this.context;
    return powerTransitions
      .decode(table)
      .entry.every(
        ({ powerState, milliseconds }, state) =>
          milliseconds === 0 || (state < count && powerState < count && !this.isOperational(powerState)),
      );
  }

  private take(table: Uint8Array): void {
    this.table = Uint8Array.from(table);
    this.entries = powerTransitions.decode(this.table).entry;
  }

  private isOperational(state: number): boolean {
    return state < operationalStates(this.context.count);
  }

  /** @param byItself nobody asked for it */
  private enter(state: number, byItself: boolean): void {
    const { count, odd, fail } = this.context;
    this.become(state);
    this.watch();
    this.arm();
    const isDeepest = count > 1 && state === count - 1;
    if ((byItself && odd.failsInOwnPowerState) || (isDeepest && odd.failsInDeepestPowerState)) fail();
  }

  private become(state: number): void {
    this.current = state;
    if (this.isOperational(state)) this.operational = state;
  }

  /** I/O commands are looked at only while they may change the state or end idle time. */
  private watch(): void {
    const { watches } = this.context;
    const index = watches.indexOf(this.beforeIo);
    const isNeeded = this.enabled || !this.isOperational(this.current);
    if (isNeeded && index < 0) watches.push(this.beforeIo);
    if (!isNeeded && index >= 0) watches.splice(index, 1);
  }

  private readonly beforeIo: IoWatch = () => {
    this.idleSince = performance.now();
    if (!this.isOperational(this.current)) {
      this.become(this.operational);
      this.watch();
      this.arm();
    }
    return true;
  };

  /** Begins to wait for the end of the idle time that the current state has. */
  private arm(): void {
    this.stop();
    const { powerState, milliseconds } = this.entries[this.current] ?? { powerState: 0, milliseconds: 0 };
    const isWaited = this.enabled && milliseconds > 0 && powerState !== this.current;
    if (!isWaited || !this.context.state.isRunning) return;
    this.idleSince = performance.now();
    this.timer = setTimeout(this.look, milliseconds).unref();
  }

  private stop(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
  }

  private readonly look = (): void => {
    const entry = this.entries[this.current];
    if (entry === undefined || !this.context.state.isRunning) return;
    const now = performance.now();
    if (this.isBusy) this.idleSince = now;
    const leftMs = Math.ceil(entry.milliseconds - (now - this.idleSince));
    if (leftMs > 0) this.timer = setTimeout(this.look, leftMs).unref();
    else this.enter(entry.powerState, true);
  };

  /** Whether an I/O command is outstanding. */
  private get isBusy(): boolean {
    const { queues, delayed } = this.context;
    const hasCommands = queues.active.some(
      ({ id, head, doorbell }) => id !== 0 && doorbell.words[doorbell.index] !== head,
    );
    return hasCommands || delayed.isWaiting;
  }

  private save(): PowerStatesState {
    const { current, operational, hint, enabled, table } = this;
    return { current, operational, hint, enabled, table: hex(table) };
  }

  /** Its timer starts with resume(). */
  private load({ current, operational, hint, enabled, table }: PowerStatesState): void {
    this.stop();
    this.current = current;
    this.operational = operational;
    this.hint = hint;
    this.enabled = enabled;
    this.take(Buffer.from(table, "hex"));
    this.watch();
  }
}

function persistentValue({ values }: PersistentState["features"], feature: number): number {
  return values.find(([id]) => id === feature)?.[1] ?? 0;
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}
