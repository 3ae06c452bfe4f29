/** Lockdown: the host prohibits commands and features. */
import * as z from "zod/mini";
import { lazily } from "../../../core/lazy.js";
import { lockdownLog } from "../../../nvme/spec/log-pages.js";
import { AdminOpcode, FeatureId, LogPageId } from "../../../nvme/spec/opcodes.js";
import { NvmeStatus } from "../../../nvme/spec/status.js";
import type { Command } from "../host/command.js";
import { u16 } from "../medium/state-schema.js";
import { type AdminCommands, type AdminService, savedPart } from "./admin-service.js";

/** The part of a migration state that holds what is locked: scope and identifier. */
const lockdownState = lazily(() => z.array(z.tuple([u16(), u16()])).check(z.maxLength(512)));
type LockdownState = z.output<ReturnType<typeof lockdownState>>;

/** SCP, CDW10 bits 3:0. */
const Scope = { opcode: 0, feature: 2 } as const;
const PROHIBIT = 1 << 4;
/** What the log tells: what can be locked, and what is, on the admin queue. */
const Contents = { lockable: 0, locked: 1 } as const;

/** Features that can be forbidden: those that change the controller or its data. */
const lockableFeatures: readonly number[] = [
  FeatureId.arbitration,
  FeatureId.powerManagement,
  FeatureId.temperatureThreshold,
  FeatureId.errorRecovery,
  FeatureId.volatileWriteCache,
  FeatureId.interruptCoalescing,
  FeatureId.writeAtomicityNormal,
  FeatureId.timestamp,
  FeatureId.hostMemoryBuffer,
];

/** Lockdown: forbids admin commands and features until the host allows them again, or the emulator ends. */
export class LockdownCommands implements AdminService {
  readonly commands = { [AdminOpcode.lockdown]: { execute: () => this.execute() } };
  readonly logPages = { [LogPageId.lockdown]: { page: () => this.page() } };
  readonly saved = savedPart(
    "lockdown",
    lockdownState,
    () => this.save(),
    (saved) => this.load(saved),
  );
  /** By scope. */
  private readonly locked = new Map<number, Set<number>>();

  /** @param all admin commands that there are */
  constructor(
    private readonly command: Command,
    private readonly all: AdminCommands,
  ) {}

  private execute(): number {
    const { command } = this;
    const cdw10 = command.cdw(10);
    const scope = cdw10 & 0xf;
    const identifier = (cdw10 >>> 8) & 0xff;
    const allowed = this.lockable(scope);
    // IFC: there is no way to the controller but the admin queue, and there are no UUIDs.
    const isOutOfBand = ((cdw10 >>> 5) & 3) !== 0;
    if (allowed === undefined || isOutOfBand || (command.cdw(14) & 0x7f) !== 0)
      return NvmeStatus.invalidField;
    if (!allowed.includes(identifier)) return NvmeStatus.prohibitionOfCommandExecutionNotSupported;
    if ((cdw10 & PROHIBIT) !== 0) this.of(scope).add(identifier);
    else this.of(scope).delete(identifier);
    return NvmeStatus.success;
  }

  refusal(): number {
    const { command } = this;
    const isForbidden =
      this.of(Scope.opcode).has(command.opcode) ||
      (command.opcode === AdminOpcode.setFeatures && this.of(Scope.feature).has(command.cdw(10) & 0xff));
    return isForbidden ? NvmeStatus.commandProhibitedByLockdown : NvmeStatus.success;
  }

  /** The log page, as LSP wants it. */
  private page(): Uint8Array | number {
    const specific = (this.command.cdw(10) >>> 8) & 0x7f;
    const scope = specific & 0xf;
    const contents = (specific >>> 4) & 3;
    const all = this.lockable(scope);
    if (all === undefined || contents === 3) return NvmeStatus.invalidField;
    const listed =
      contents === Contents.lockable ? all : contents === Contents.locked ? [...this.of(scope)] : [];
    const identifiers = new Uint8Array(lockdownLog.fields.identifiers.type.sizeBytes);
    identifiers.set([...listed].sort((a, b) => a - b));
    return lockdownLog.encode({ attributes: scope | (contents << 4), length: listed.length, identifiers });
  }

  private save(): LockdownState {
    return [...this.locked].flatMap(([scope, ids]) =>
      [...ids].map((identifier): [number, number] => [scope, identifier]),
    );
  }

  private load(saved: LockdownState): void {
    this.locked.clear();
    for (const [scope, identifier] of saved) {
      if (this.lockable(scope)?.includes(identifier) === true) this.of(scope).add(identifier);
    }
  }

  /** Identifiers of a scope that can be forbidden; undefined for an unknown scope. */
  private lockable(scope: number): readonly number[] | undefined {
    if (scope === Scope.feature) return lockableFeatures;
    if (scope !== Scope.opcode) return undefined;
    return [...this.all].flatMap(([opcode, { lockable }]) => (lockable === true ? [opcode] : []));
  }

  private of(scope: number): Set<number> {
    const found = this.locked.get(scope) ?? new Set<number>();
    this.locked.set(scope, found);
    return found;
  }
}
