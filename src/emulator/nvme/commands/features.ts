/** Get Features and Set Features. */
import * as z from "zod/mini";
import { ArgumentError } from "../../../core/errors.js";
import { lazily } from "../../../core/lazy.js";
import { integer } from "../../../core/options.js";
import { SAVE_FEATURE, TIMESTAMP_BYTES } from "../../../nvme/spec/features.js";
import { FeatureId, FeatureSelect } from "../../../nvme/spec/opcodes.js";
import { NvmeStatus } from "../../../nvme/spec/status.js";
import type { Command } from "../host/command.js";
import type { Oddities } from "../host/oddities.js";
import type { Transfer } from "../host/transfer.js";
import type { PersistentState, PersistentStore } from "../medium/persistent-state.js";
import { pairs, u1 } from "../medium/state-schema.js";

/** The part of a migration state that holds the features. */
export const featuresState = lazily(() =>
  z.strictObject({
    values: pairs(),
    coalescingDisabled: z.array(u1()).check(z.maxLength(2048)),
    thresholds: pairs(),
    timestamp: integer(0, 0xffff_ffff_ffff),
    timestampOrigin: u1(),
    hostBehavior: z.string().check(z.regex(/^([0-9a-f]{2}){512}$/)),
    errorRecovery: pairs(),
  }),
);
export type FeaturesState = z.output<ReturnType<typeof featuresState>>;

/** The temperature, and the thresholds WCTEMP and CCTEMP, in kelvin. */
export const TEMPERATURE = 308;
export const WARNING_TEMPERATURE = 343;
export const CRITICAL_TEMPERATURE = 358;

const SAVED_SELECT_SUPPORTED = { saveable: 1, namespaceSpecific: 2, changeable: 4 } as const;
const HOST_BEHAVIOR_BYTES = 512;
/** Timestamp origin: set by the host. */
const TIMESTAMP_SET_BY_HOST = 1;

interface FeatureOptions {
  readonly queuePairs: number;
  readonly vectors: number;
  readonly odd: Pick<Oddities, "temperatureWarningStays">;
}

/** What setting a feature leads to. */
export interface FeatureEvents {
  temperatureChanged(): void;
  keepAliveChanged(timeoutMs: number): void;
}

/** A feature of a service; both methods execute the current command. */
export interface FeatureHandler {
  /** @param select a value of FeatureSelect other than `supported` @returns a status */
  get(select: number): number;
  set(): number;
  /** Adds to the persistent values what the feature has besides CDW11. */
  persisted?(features: PersistentState["features"]): PersistentState["features"];
}

/** Features that can be persistent: the specification calls them saveable. */
const saveable: ReadonlySet<number> = new Set([
  FeatureId.arbitration,
  FeatureId.powerManagement,
  FeatureId.temperatureThreshold,
  FeatureId.errorRecovery,
  FeatureId.volatileWriteCache,
  FeatureId.interruptCoalescing,
  FeatureId.interruptVectorConfiguration,
  FeatureId.writeAtomicityNormal,
  FeatureId.asyncEventConfiguration,
  FeatureId.autonomousPowerStateTransition,
]);

/** Get and Set Features. */
export class Features {
  private readonly provided = new Map<number, FeatureHandler>();
  private values = new Map<number, number>();
  /** Interrupt vector configuration: coalescing disabled, by vector. */
  private readonly coalescingDisabled: Uint8Array;
  private thresholds = new Map<number, number>();
  private timestampBase = 0n;
  private timestampAt = 0;
  private timestampOrigin = 0;
  private readonly hostBehavior = new Uint8Array(HOST_BEHAVIOR_BYTES);
  /** Error recovery (DULBE), by namespace. */
  private readonly errorRecovery = new Map<number, number>();
  /** Interrupt coalescing: completions (1 is none) and time, as the I/O path wants them. */
  aggregationThreshold = 1;
  aggregationTimeMs = 0;

  constructor(
    private readonly options: FeatureOptions,
    private readonly command: Command,
    private readonly transfer: Transfer,
    private readonly events: FeatureEvents,
    private readonly isNamespace: (nsid: number) => boolean,
    private readonly store: PersistentStore,
  ) {
    this.coalescingDisabled = new Uint8Array(options.vectors);
    this.reset();
  }

  /** Adds a feature. */
  provide(id: number, handler: FeatureHandler): void {
    this.provided.set(id, handler);
  }

  /** Sets all features to their persistent values, or else to their defaults. */
  reset(): void {
    const { persistent } = this;
    this.values = new Map(Object.entries(defaults).map(([id, value]) => [Number(id), value]));
    for (const [id, value] of persistent.values)
      if (saveable.has(id) && known.has(id)) this.values.set(id, value);
    this.values.set(FeatureId.numberOfQueues, this.allQueues);
    this.coalescingDisabled.fill(0);
    for (const [vector, disabled] of persistent.vectors) this.coalescingDisabled[vector] = disabled & 1;
    this.thresholds = new Map(persistent.thresholds.filter(([select]) => isThreshold(select)));
    this.hostBehavior.fill(0);
    this.errorRecovery.clear();
    for (const [nsid, value] of persistent.errorRecovery) this.errorRecovery.set(nsid, value);
    this.aggregate(this.values.get(FeatureId.interruptCoalescing) ?? 0);
    this.timestampBase = 0n;
    this.timestampOrigin = 0;
    this.timestampAt = Date.now();
    this.events.keepAliveChanged(0);
  }

  get asyncEventConfig(): number {
    return this.values.get(FeatureId.asyncEventConfiguration) ?? 0;
  }

  /** Weights and burst. */
  get arbitration(): number {
    return this.values.get(FeatureId.arbitration) ?? 0;
  }

  /** Whether the host knows LBA formats beyond the plain ones (LBAFEE). */
  get extendedLbaFormats(): boolean {
    return this.hostBehavior[2] === 1;
  }

  /** Copy descriptor formats that the host has enabled (CDFE): bit n is format n. */
  get copyFormats(): number {
    return (this.hostBehavior[4] ?? 0) | ((this.hostBehavior[5] ?? 0) << 8);
  }

  coalesces(vector: number): boolean {
    return vector !== 0 && this.aggregationThreshold > 1 && this.coalescingDisabled[vector] === 0;
  }

  /** Over and under temperature threshold of the composite sensor, in kelvin. */
  get temperatureLimits(): { over: number; under: number } {
    if (this.options.odd.temperatureWarningStays && this.thresholds.size > 0) return { over: 0, under: 0 };
    return { over: this.thresholds.get(OVER) ?? WARNING_TEMPERATURE, under: this.thresholds.get(UNDER) ?? 0 };
  }

  get(): number {
    const { command } = this;
    const id = command.cdw(10) & 0xff;
    const select = (command.cdw(10) >>> 8) & 7;
    const provided = this.provided.get(id);
    if (provided === undefined && !known.has(id)) return NvmeStatus.invalidField;
    if (select === FeatureSelect.supported) {
      const perNamespace = id === FeatureId.errorRecovery ? SAVED_SELECT_SUPPORTED.namespaceSpecific : 0;
      const isSaveable = saveable.has(id) ? SAVED_SELECT_SUPPORTED.saveable : 0;
      command.dw0 = isSaveable | perNamespace | SAVED_SELECT_SUPPORTED.changeable;
      return NvmeStatus.success;
    }
    if (select > FeatureSelect.supported) return NvmeStatus.invalidField;
    if (provided !== undefined) return provided.get(select);
    const isCurrent = select === FeatureSelect.current;
    // A feature without a persistent value has its default there.
    const persistent = select === FeatureSelect.saved ? this.persistent : undefined;
    switch (id) {
      case FeatureId.temperatureThreshold: {
        const key = command.cdw(11) & THRESHOLD_SELECT;
        if (!isThreshold(key)) return NvmeStatus.invalidField;
        const fallback = key === OVER ? WARNING_TEMPERATURE : 0;
        command.dw0 =
          (isCurrent ? this.thresholds.get(key) : persistentValue(persistent?.thresholds, key)) ?? fallback;
        return NvmeStatus.success;
      }
      case FeatureId.interruptVectorConfiguration: {
        const vector = command.cdw(11) & 0xffff;
        const disabled = this.coalescingDisabled[vector];
        if (disabled === undefined) return NvmeStatus.invalidField;
        command.dw0 =
          vector | ((isCurrent ? disabled : (persistentValue(persistent?.vectors, vector) ?? 0)) << 16);
        return NvmeStatus.success;
      }
      case FeatureId.errorRecovery:
        if (!this.isNamespace(command.nsid)) return NvmeStatus.invalidNamespace;
        command.dw0 =
          (isCurrent
            ? this.errorRecovery.get(command.nsid)
            : persistentValue(persistent?.errorRecovery, command.nsid)) ?? 0;
        return NvmeStatus.success;
      case FeatureId.timestamp:
        return this.transfer.send(command, this.timestamp());
      case FeatureId.hostBehaviorSupport:
        return this.transfer.send(
          command,
          isCurrent ? this.hostBehavior : new Uint8Array(HOST_BEHAVIOR_BYTES),
        );
      case FeatureId.numberOfQueues:
        command.dw0 = this.allQueues;
        return NvmeStatus.success;
      default:
        command.dw0 =
          (isCurrent ? this.values.get(id) : persistentValue(persistent?.values, id)) ?? defaults[id] ?? 0;
        return NvmeStatus.success;
    }
  }

  /** @param queuesExist an I/O queue was created: their number can't be asked for any more */
  set(queuesExist: boolean): number {
    const { command } = this;
    const id = command.cdw(10) & 0xff;
    const value = command.cdw(11);
    const provided = this.provided.get(id);
    if (provided === undefined && !known.has(id)) return NvmeStatus.invalidField;
    const saves = command.cdw(10) >= SAVE_FEATURE;
    if (saves && !saveable.has(id)) return NvmeStatus.featureIdentifierNotSaveable;
    const status = provided === undefined ? this.apply(id, value, queuesExist) : provided.set();
    if (!saves || status !== NvmeStatus.success) return status;
    const features = this.persistentWith(id, value);
    return this.store.persist({ features: provided?.persisted?.(features) ?? features })
      ? status
      : NvmeStatus.internalError;
  }

  private get persistent(): PersistentState["features"] {
    return this.store.persistent.features;
  }

  /** The persistent values, with the current command's value. */
  private persistentWith(id: number, value: number): PersistentState["features"] {
    const { persistent } = this;
    switch (id) {
      case FeatureId.temperatureThreshold:
        return {
          ...persistent,
          thresholds: withPair(persistent.thresholds, value & THRESHOLD_SELECT, value & 0xffff),
        };
      case FeatureId.interruptVectorConfiguration:
        return { ...persistent, vectors: withPair(persistent.vectors, value & 0xffff, (value >>> 16) & 1) };
      case FeatureId.errorRecovery:
        return {
          ...persistent,
          errorRecovery: withPair(persistent.errorRecovery, this.command.nsid, value & 0xffff),
        };
      default:
        return { ...persistent, values: withPair(persistent.values, id, value) };
    }
  }

  private apply(id: number, value: number, queuesExist: boolean): number {
    const { command } = this;
    switch (id) {
      case FeatureId.temperatureThreshold: {
        const key = value & THRESHOLD_SELECT;
        if (!isThreshold(key)) return NvmeStatus.invalidField;
        this.thresholds.set(key, value & 0xffff);
        this.events.temperatureChanged();
        return NvmeStatus.success;
      }
      case FeatureId.errorRecovery:
        if (!this.isNamespace(command.nsid)) return NvmeStatus.invalidNamespace;
        this.errorRecovery.set(command.nsid, value & 0xffff);
        return NvmeStatus.success;
      case FeatureId.numberOfQueues: {
        if (queuesExist) return NvmeStatus.commandSequenceError;
        if ((value & 0xffff) === 0xffff || value >>> 16 === 0xffff) return NvmeStatus.invalidField;
        command.dw0 = this.allQueues;
        return NvmeStatus.success;
      }
      case FeatureId.interruptCoalescing:
        this.aggregate(value);
        break;
      case FeatureId.interruptVectorConfiguration: {
        const vector = value & 0xffff;
        if (vector >= this.coalescingDisabled.length) return NvmeStatus.invalidField;
        this.coalescingDisabled[vector] = (value >>> 16) & 1;
        return NvmeStatus.success;
      }
      case FeatureId.timestamp: {
        const bytes = new Uint8Array(TIMESTAMP_BYTES);
        const status = this.transfer.fetch(command, bytes);
        if (status !== NvmeStatus.success) return status;
        this.timestampBase = new DataView(bytes.buffer).getBigUint64(0, true) & 0xffff_ffff_ffffn;
        this.timestampAt = Date.now();
        this.timestampOrigin = TIMESTAMP_SET_BY_HOST;
        return NvmeStatus.success;
      }
      case FeatureId.hostBehaviorSupport: {
        const bytes = new Uint8Array(HOST_BEHAVIOR_BYTES);
        const status = this.transfer.fetch(command, bytes);
        if (status !== NvmeStatus.success) return status;
        if (bytes.subarray(0, 3).some((flag) => flag > 1)) return NvmeStatus.invalidField;
        this.hostBehavior.set(bytes);
        return NvmeStatus.success;
      }
      case FeatureId.commandSetProfile:
        // There is one combination, number 0.
        if ((value & 0x1ff) !== 0) return NvmeStatus.ioCommandSetCombinationRejected;
        break;
      case FeatureId.keepAliveTimer:
        this.events.keepAliveChanged(value);
        break;
      default:
    }
    this.values.set(id, value);
    return NvmeStatus.success;
  }

  save(): FeaturesState {
    return {
      values: [...this.values],
      coalescingDisabled: [...this.coalescingDisabled],
      thresholds: [...this.thresholds],
      timestamp: Number(this.now()),
      timestampOrigin: this.timestampOrigin,
      hostBehavior: Buffer.from(this.hostBehavior).toString("hex"),
      errorRecovery: [...this.errorRecovery],
    };
  }

  /** @throws ArgumentError if the features are impossible */
  check({ values, coalescingDisabled, thresholds }: FeaturesState): void {
    const right =
      values.every(([id]) => known.has(id)) &&
      thresholds.every(([select]) => isThreshold(select)) &&
      coalescingDisabled.length === this.coalescingDisabled.length;
    if (!right) throw new ArgumentError("invalid saved state: features with impossible values");
  }

  /** Loads saved features; the keep alive timer starts with resume(). @param saved that check() accepted */
  load(saved: FeaturesState): void {
    this.reset();
    for (const [id, value] of saved.values) this.values.set(id, value);
    this.coalescingDisabled.set(saved.coalescingDisabled);
    this.thresholds = new Map(saved.thresholds);
    this.timestampBase = BigInt(saved.timestamp);
    this.timestampOrigin = saved.timestampOrigin;
    this.hostBehavior.set(Buffer.from(saved.hostBehavior, "hex"));
    for (const [nsid, value] of saved.errorRecovery) this.errorRecovery.set(nsid, value);
    this.aggregate(this.values.get(FeatureId.interruptCoalescing) ?? 0);
  }

  /** The controller goes on: its keep alive timer, if there is one, begins again. */
  resume(): void {
    this.events.keepAliveChanged(this.values.get(FeatureId.keepAliveTimer) ?? 0);
  }

  private aggregate(value: number): void {
    this.aggregationThreshold = (value & 0xff) + 1;
    this.aggregationTimeMs = ((value >>> 8) & 0xff) / 10;
  }

  private get allQueues(): number {
    const zeroBased = this.options.queuePairs - 1;
    return ((zeroBased << 16) | zeroBased) >>> 0;
  }

  private timestamp(): Uint8Array {
    const bytes = new Uint8Array(TIMESTAMP_BYTES);
    const origin = BigInt(this.timestampOrigin) << 49n;
    new DataView(bytes.buffer).setBigUint64(0, this.now() | origin, true);
    return bytes;
  }

  /** Milliseconds, 48 bits. */
  private now(): bigint {
    return (this.timestampBase + BigInt(Date.now() - this.timestampAt)) & 0xffff_ffff_ffffn;
  }
}

type Pairs = PersistentState["features"]["values"];

function persistentValue(list: Pairs | undefined, key: number): number | undefined {
  return list?.find(([one]) => one === key)?.[1];
}

function withPair(list: Pairs, key: number, value: number): Pairs {
  return [...list.filter(([one]) => one !== key), [key, value]];
}

/** Temperature threshold: TMPSEL in bits 19:16 (0 composite), THSEL in 21:20 (0 over, 1 under). */
const THRESHOLD_SELECT = 0x3f_0000;
const OVER = 0;
const UNDER = 1 << 20;

function isThreshold(select: number): boolean {
  return select === OVER || select === UNDER;
}

const defaults: Readonly<Record<number, number>> = {
  // Burst without limit.
  [FeatureId.arbitration]: 7,
  [FeatureId.volatileWriteCache]: 1,
  [FeatureId.interruptCoalescing]: 0,
  [FeatureId.writeAtomicityNormal]: 0,
  [FeatureId.asyncEventConfiguration]: 0,
  [FeatureId.keepAliveTimer]: 0,
  [FeatureId.commandSetProfile]: 0,
};

const known: ReadonlySet<number> = new Set([
  ...Object.keys(defaults).map(Number),
  FeatureId.temperatureThreshold,
  FeatureId.errorRecovery,
  FeatureId.numberOfQueues,
  FeatureId.interruptVectorConfiguration,
  FeatureId.timestamp,
  FeatureId.hostBehaviorSupport,
]);
