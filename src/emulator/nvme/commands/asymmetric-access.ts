/** Asymmetric namespace access (ANA). */

import * as z from "zod/mini";
import { show } from "../../../core/check.js";
import { ConfigError } from "../../../core/errors.js";
import { lazily } from "../../../core/lazy.js";
import { integer } from "../../../core/options.js";
import { AnaState, type AnaStateName, anaGroup, anaHeader } from "../../../nvme/spec/log-pages.js";
import { AdminOpcode, BROADCAST_NSID, FeatureId, LogPageId } from "../../../nvme/spec/opcodes.js";
import { NvmeStatus } from "../../../nvme/spec/status.js";
import type { Command } from "../host/command.js";
import type { Inventory } from "../medium/inventory.js";
import { count } from "../medium/state-schema.js";
import { type AdminService, savedPart } from "./admin-service.js";
import type { LogProvider } from "./log-page.js";

/** The part of a migration state that holds the state of each ANA group (a value of AnaState) and the change that set it. */
const accessState = lazily(() =>
  z.strictObject({
    groups: z.array(z.tuple([integer(1, 0xf), count()])).check(z.maxLength(MAX_ANA_GROUPS)),
    changeCount: count(),
  }),
);
type AccessState = z.output<ReturnType<typeof accessState>>;

/** Groups that there can be. */
export const MAX_ANA_GROUPS = 32;
/** ANACAP: all states there are; the group of a namespace doesn't change. */
export const ANA_CAPABILITIES = 0x1f | (1 << 6);
/** ANATT: seconds that a transition takes at most. */
export const ANA_TRANSITION_SECONDS = 10;

/** LSP: no namespaces in the log. */
const GROUPS_ONLY = 1;

const refusals: Readonly<Record<number, number>> = {
  [AnaState.inaccessible]: NvmeStatus.asymmetricAccessInaccessible,
  [AnaState.persistentLoss]: NvmeStatus.asymmetricAccessPersistentLoss,
  [AnaState.change]: NvmeStatus.asymmetricAccessTransition,
};

/** The ANA group of a namespace: they take turns. */
export function anaGroupOf(nsid: number, groups: number): number {
  return groups === 0 ? 0 : ((nsid - 1) % groups) + 1;
}

/** What asymmetric access needs of its controller. */
export interface AccessContext {
  readonly command: Command;
  readonly inventory: Inventory;
  readonly groups: number;
  /** A group has another state. */
  changed(): void;
}

/** Asymmetric Namespace Access: how groups of namespaces can be reached, as the user of the emulator sets it. */
export class AsymmetricAccess implements AdminService {
  readonly saved = savedPart(
    "access",
    accessState,
    () => this.save(),
    (saved) => this.load(saved),
  );
  private states: number[];
  private changeCounts: number[];
  private changeCount = 0;

  constructor(private readonly context: AccessContext) {
    this.states = new Array<number>(context.groups).fill(AnaState.optimized);
    this.changeCounts = new Array<number>(context.groups).fill(0);
  }

  get logPages(): Readonly<Record<number, LogProvider>> {
    return this.context.groups === 0
      ? {}
      : { [LogPageId.asymmetricNamespaceAccess]: { page: () => this.page() } };
  }

  /** @throws ConfigError where there is no such group or state */
  set(group: number, name: AnaStateName): void {
    const { groups } = this.context;
    const state = typeof name === "string" && Object.hasOwn(AnaState, name) ? AnaState[name] : undefined;
    if (state === undefined)
      throw new ConfigError(`an ANA state is one of ${Object.keys(AnaState).join(", ")}, not ${show(name)}`);
    if (!Number.isInteger(group) || group < 1 || group > groups) {
      throw new ConfigError(
        `there is no ANA group ${show(group)}: the controller was made with anaGroups ${groups}`,
      );
    }
    if (this.states[group - 1] === state) return;
    this.states[group - 1] = state;
    this.changeCount++;
    this.changeCounts[group - 1] = this.changeCount;
    this.context.changed();
  }

  /** Of admin commands, Format NVM and the features of a namespace have to reach it. */
  refusal(): number {
    const { command, inventory } = this.context;
    const { opcode, nsid } = command;
    const isFeature = opcode === AdminOpcode.getFeatures || opcode === AdminOpcode.setFeatures;
    const ofNamespace = isFeature && (command.cdw(10) & 0xff) === FeatureId.errorRecovery;
    if (opcode !== AdminOpcode.formatNvm && !ofNamespace) return NvmeStatus.success;
    const ids = nsid === BROADCAST_NSID ? inventory.all.map((namespace) => namespace.nsid) : [nsid];
    const refused = ids.map((id) => this.ioRefusal(id));
    return refused.find((status) => status !== NvmeStatus.success) ?? NvmeStatus.success;
  }

  ioRefusal(nsid: number): number {
    if (nsid === BROADCAST_NSID) return NvmeStatus.success;
    const group = anaGroupOf(nsid, this.context.groups);
    return refusals[this.states[group - 1] ?? AnaState.optimized] ?? NvmeStatus.success;
  }

  /** The log page: groups that have attached namespaces. */
  private page(): Uint8Array {
    const { command, inventory, groups } = this.context;
    const groupsOnly = ((command.cdw(10) >>> 8) & GROUPS_ONLY) !== 0;
    const parts: Uint8Array[] = [];
    for (let groupId = 1; groupId <= groups; groupId++) {
      const ids = inventory.all
        .filter(({ nsid, attached }) => attached && anaGroupOf(nsid, groups) === groupId)
        .map(({ nsid }) => nsid);
      if (ids.length === 0) continue;
      const namespaces = groupsOnly ? [] : ids;
      parts.push(
        anaGroup.encode({
          groupId,
          namespaces: namespaces.length,
          changeCount: BigInt(this.changeCounts[groupId - 1] ?? 0),
          state: this.states[groupId - 1] ?? AnaState.optimized,
        }),
        new Uint8Array(Uint32Array.from(namespaces).buffer),
      );
    }
    const header = anaHeader.encode({ changeCount: BigInt(this.changeCount), groups: parts.length / 2 });
    return Buffer.concat([header, ...parts]);
  }

  private save(): AccessState {
    return {
      groups: this.states.map((state, i) => [state, this.changeCounts[i] ?? 0]),
      changeCount: this.changeCount,
    };
  }

  private load({ groups, changeCount }: AccessState): void {
    this.states = this.states.map((_, i) => groups[i]?.[0] ?? AnaState.optimized);
    this.changeCounts = this.changeCounts.map((_, i) => groups[i]?.[1] ?? 0);
    this.changeCount = changeCount;
  }
}
