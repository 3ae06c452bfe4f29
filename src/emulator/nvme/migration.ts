/** Moves an emulated controller to another emulator. */
import { ArgumentError } from "../../core/errors.js";
import { ControllerConfig, ControllerStatus } from "../../nvme/spec/registers.js";
import type { DeviceMigration } from "../../vfio-user/server/emulated-device.js";
import type { AdminServices } from "./commands/admin-services.js";
import type { Features } from "./commands/features.js";
import type { NvmCommands } from "./commands/io/nvm.js";
import type { LogPages } from "./commands/log-pages.js";
import type { Lifecycle } from "./lifecycle.js";
import type { Inventory } from "./medium/inventory.js";
import type { Medium } from "./medium/medium.js";
import type { MediumOwnership } from "./medium-ownership.js";
import {
  checkSpans,
  decodeState,
  encodeState,
  MAX_TEXT_BYTES,
  type MigrationState,
  type SparseData,
  sparse,
  spread,
} from "./migration-state.js";
import type { AsyncEvents } from "./queues/async-events.js";
import type { DelayedCommands } from "./queues/delayed-commands.js";
import type { QueueSet } from "./queues/queue-set.js";
import { MAX_MPS, type Registers } from "./queues/registers.js";
import type { Subsystem } from "./subsystem.js";

/** Most bytes of a medium in memory that can be moved. Zeros don't count. */
const MAX_MEDIUM_BYTES = 2 ** 30;

/** Parts of a controller whose state moves. */
export interface MovedParts {
  readonly registers: Registers;
  readonly queues: QueueSet;
  readonly features: Features;
  readonly events: AsyncEvents;
  readonly logPages: LogPages;
  readonly nvm: NvmCommands;
  readonly services: AdminServices;
  readonly delayed: DelayedCommands;
  readonly inventory: Inventory;
  readonly medium: Medium;
  readonly ownership: MediumOwnership;
  readonly lifecycle: Lifecycle;
  readonly subsystem: Subsystem;
  /** Controller memory buffer; empty where there is none. */
  readonly cmb: Uint8Array;
  /** The MSI-X table and its pending bits. */
  readonly msix: Uint8Array;
}

/**
 * Moves a controller to another emulator, with its registers, queues, features, logs and other state, and a medium in
 * memory. A medium in a file stays where it is: the source unlocks it when it has saved the state, and the target, which is
 * made with `incoming` and the same file, locks it.
 */
export class NvmeMigration implements DeviceMigration {
  readonly maxStateBytes: number;

  /** @param shape options that both ends must have in common, as text */
  constructor(
    private readonly parts: MovedParts,
    private readonly shape: string,
  ) {
    const { medium, cmb, msix } = parts;
    const mediumBytes = medium.canBeShared ? 0 : Math.min(medium.sizeBytes, MAX_MEDIUM_BYTES);
    // The magic and the text's length come on top.
    this.maxStateBytes = 64 + MAX_TEXT_BYTES + cmb.length + msix.length + mediumBytes;
  }

  stop(): void {
    this.parts.lifecycle.pause();
  }

  start(): void {
    this.parts.lifecycle.resume();
  }

  save(): Uint8Array {
    this.assertAlone("save");
    const { registers, queues, features, events, logPages, nvm, services, inventory, medium, cmb, msix } =
      this.parts;
    const copied = (bytes: Uint8Array): SparseData =>
      sparse(bytes.length, (at, target) => {
        target.set(bytes.subarray(at, at + target.length));
        return true;
      });
    const data = [copied(cmb), copied(msix)];
    if (!medium.canBeShared) {
      let found = 0;
      data.push(
        sparse(medium.sizeBytes, (at, target) => {
          if (found > MAX_MEDIUM_BYTES)
            throw new ArgumentError(
              "save: the medium in memory holds more than 1 GiB of data, which is the limit; use a file",
            );
          found += target.some((byte) => byte !== 0) ? target.length : 0;
          return medium.read(at, target, 0, target.length);
        }),
      );
    }
    const state = encodeState(
      {
        shape: this.shape,
        registers: registers.save(),
        queues: queues.save(),
        features: features.save(),
        events: events.save(),
        logs: logPages.save(),
        nvm: nvm.save(),
        namespaces: inventory.all.map((namespace) => namespace.save()),
        services: services.save(),
        delayed: this.parts.delayed.save(),
        cmb: data[0]?.spans ?? [],
        msix: data[1]?.spans ?? [],
        medium: data[2]?.spans ?? null,
      },
      data,
    );
    this.parts.ownership.give();
    return state;
  }

  load(bytes: Uint8Array): void {
    this.assertAlone("load");
    const { registers, queues, features, events, logPages, nvm, services, inventory, medium, cmb, msix } =
      this.parts;
    const { state, data } = decodeState(bytes);
    if (state.shape !== this.shape) {
      throw new ArgumentError(
        `invalid saved state: its controller was made with ${state.shape}, this one with ${this.shape}`,
      );
    }
    checkRegisters(state);
    queues.check(state.queues);
    features.check(state.features);
    nvm.check(state.nvm);
    if (state.delayed.some(({ sqid }) => !state.queues.sqs.some(({ id }) => id === sqid))) {
      throw new ArgumentError("invalid saved state: delayed commands of a queue that doesn't exist");
    }
    const loadServices = services.prepare(state.services);
    checkSpans(state.cmb, cmb.length);
    checkSpans(state.msix, msix.length);
    if ((state.medium === null) !== medium.canBeShared)
      throw new ArgumentError("invalid saved state: one medium is in memory, the other in a file");
    checkSpans(state.medium ?? [], medium.sizeBytes);
    if (!this.parts.ownership.takeFromSource())
      throw new ArgumentError("load: the file of the medium is in use by another emulator, or damaged");
    cmb.fill(0);
    msix.fill(0);
    let left = spread(state.cmb, data, (at, part) => cmb.set(part, at));
    left = spread(state.msix, left, (at, part) => msix.set(part, at));
    if (state.medium === null) inventory.mark();
    else {
      medium.fill(0, medium.sizeBytes, 0);
      spread(state.medium, left, (at, part) => medium.write(at, part, 0, part.length));
      inventory.load("the state");
    }
    for (const saved of state.namespaces) inventory.get(saved.nsid)?.load(saved);
    registers.load(state.registers);
    features.load(state.features);
    events.load(state.events);
    logPages.load(state.logs);
    nvm.load(state.nvm);
    queues.load(state.queues);
    loadServices();
    this.parts.delayed.load(state.delayed);
    this.parts.lifecycle.loaded();
  }

  /** @throws ArgumentError if the subsystem has other controllers, which would stay behind */
  private assertAlone(what: string): void {
    const { controllerIds } = this.parts.subsystem;
    if (controllerIds.length > 1)
      throw new ArgumentError(
        `${what}: an NVM subsystem of ${controllerIds.length} controllers can't be moved`,
      );
  }
}

/** @throws ArgumentError if a controller can't have these registers */
function checkRegisters({ registers, queues }: MigrationState): void {
  const { cc, csts } = registers;
  const { RDY, CFS, SHST_MASK, NSSRO } = ControllerStatus;
  const isReady = (csts & RDY) !== 0;
  const mps = (cc >>> ControllerConfig.MPS_SHIFT) & 0xf;
  const right =
    (csts & ~(RDY | CFS | SHST_MASK | NSSRO)) === 0 &&
    (!isReady ||
      ((cc & ControllerConfig.EN) !== 0 && mps <= MAX_MPS && queues.sqs.some(({ id }) => id === 0)));
  if (!right) throw new ArgumentError("invalid saved state: registers with impossible values");
}
