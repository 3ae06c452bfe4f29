/** The states of the emulated controller: it is enabled, shut down, reset, and fails; a migration stops and starts it. */
import {
  ArbitrationMechanism,
  CommandSetSelection,
  ControllerConfig,
  ControllerStatus,
} from "../../nvme/spec/registers.js";
import type { CommandLoop } from "./command-loop.js";
import type { AdminServices } from "./commands/admin-services.js";
import type { Features } from "./commands/features.js";
import type { MutableIoContext } from "./commands/io/io-context.js";
import type { NvmCommands } from "./commands/io/nvm.js";
import type { NamespaceListing } from "./commands/namespace-listing.js";
import type { BreakableRule } from "./host/oddities.js";
import type { Transfer } from "./host/transfer.js";
import type { KeepAlive } from "./keep-alive.js";
import type { FirmwareReset } from "./medium/firmware-image.js";
import type { MediumOwnership } from "./medium-ownership.js";
import { WeightedRoundRobin } from "./queues/arbitration.js";
import type { AsyncEvents } from "./queues/async-events.js";
import type { CompletionPoster } from "./queues/completion-poster.js";
import type { DelayedCommands } from "./queues/delayed-commands.js";
import type { InterruptSignaller } from "./queues/interrupt-signaller.js";
import type { Poller } from "./queues/poller.js";
import type { QueueSet } from "./queues/queue-set.js";
import { MAX_MPS, type Registers } from "./queues/registers.js";
import type { RunState } from "./run-state.js";

/** The parts whose state changes with the controller's. */
export interface LifecycleParts {
  readonly state: RunState;
  readonly registers: Registers;
  readonly queues: QueueSet;
  readonly transfer: Transfer;
  readonly events: AsyncEvents;
  readonly features: Features;
  readonly interrupts: InterruptSignaller;
  readonly completions: CompletionPoster;
  readonly delayed: DelayedCommands;
  readonly io: MutableIoContext;
  readonly nvm: NvmCommands;
  readonly services: AdminServices;
  readonly listing: NamespaceListing;
  readonly ownership: MediumOwnership;
  readonly keepAlive: KeepAlive;
  readonly loop: CommandLoop;
  /** Undefined where the controller's owner calls pump(). */
  readonly poller: Poller | undefined;
}

/** Moves the controller from one state to another. */
export class Lifecycle {
  constructor(private readonly parts: LifecycleParts) {}

  /** CC.EN was set. */
  enable(): void {
    const { registers, queues, transfer, ownership } = this.parts;
    const { config, pageBytes, adminQueue } = registers;
    const css = (config >>> ControllerConfig.CSS_SHIFT) & 7;
    const mps = (config >>> ControllerConfig.MPS_SHIFT) & 0xf;
    const ams = (config >>> ControllerConfig.AMS_SHIFT) & 7;
    const { sq, sqEntries, cq, cqEntries } = adminQueue;
    registers.status &= ControllerStatus.NSSRO;
    queues.clear();
    const valid =
      (css === CommandSetSelection.nvm || css === CommandSetSelection.allSupported) &&
      mps <= MAX_MPS &&
      (ams === ArbitrationMechanism.roundRobin || ams === ArbitrationMechanism.weighted) &&
      sqEntries >= 2 &&
      cqEntries >= 2 &&
      sq % pageBytes === 0 &&
      cq % pageBytes === 0;
    if (!valid || !ownership.take() || !queues.createAdmin(sq, sqEntries, cq, cqEntries)) {
      this.fail();
      return;
    }
    transfer.prp.memoryPageBytes = pageBytes;
    this.takeMechanisms();
    registers.status |= ControllerStatus.RDY;
    this.parts.state.isRunning = true;
    this.parts.services.started();
    this.wake();
  }

  /** CC.EN was cleared, or more: queues and features are gone; AQA, ASQ, ACQ and the CMB's place stay. */
  controllerReset(kind: FirmwareReset, breaks: readonly BreakableRule[] = []): void {
    const { parts } = this;
    parts.state.isRunning = false;
    parts.poller?.stop();
    parts.queues.clear();
    parts.nvm.reset();
    parts.events.reset();
    if (!breaks.includes("feature-reset")) parts.features.reset();
    parts.services.reset(kind);
    parts.delayed.clear();
    parts.interrupts.clear();
    parts.completions.clear();
    parts.registers.status &= ControllerStatus.NSSRO;
    if (breaks.includes("admin-queue-registers")) parts.registers.clearAdminQueue();
  }

  /** A reset after which the registers, too, are as after power-on. */
  functionReset(kind: FirmwareReset): void {
    this.controllerReset(kind);
    this.parts.registers.reset();
  }

  /** NSSR was written. */
  subsystemReset(): void {
    this.functionReset("subsystem");
    this.parts.registers.status |= ControllerStatus.NSSRO;
  }

  /** CC.SHN was set. */
  shutdown(): void {
    const { registers, services, io, state } = this.parts;
    services.shutdown();
    io.medium.flush();
    state.isRunning = false;
    registers.status = (registers.status & ~ControllerStatus.SHST_MASK) | ControllerStatus.SHST_COMPLETE;
  }

  /** Stops the controller until the next reset: CSTS.CFS. */
  fail(): void {
    const { state, registers, services } = this.parts;
    state.isRunning = false;
    registers.status |= ControllerStatus.CFS;
    services.captureTelemetry("fatal: CSTS.CFS");
  }

  /** A migration begins: the state no longer changes. */
  pause(): void {
    const { state, poller, keepAlive, services } = this.parts;
    state.isPaused = true;
    poller?.stop();
    keepAlive.stop();
    services.pause();
  }

  /** A state was loaded, or the namespaces of a file were read again: applies what the parts don't know by themselves. */
  loaded(): void {
    const { state, registers, queues, transfer, listing, completions, interrupts } = this.parts;
    const { status, pageBytes } = registers;
    const stopped = ControllerStatus.CFS | ControllerStatus.SHST_MASK;
    listing.update();
    this.takeMechanisms();
    state.isRunning = (status & (ControllerStatus.RDY | stopped)) === ControllerStatus.RDY;
    if (state.isRunning) transfer.prp.memoryPageBytes = pageBytes;
    completions.load();
    interrupts.load(queues.cqs);
  }

  /** A migration has ended, here or elsewhere. */
  resume(): void {
    const { state, ownership, features, services } = this.parts;
    state.isPaused = false;
    if (!ownership.take()) {
      this.fail();
      return;
    }
    features.resume();
    services.resume();
    if (state.isRunning) this.wake();
  }

  /** There is, or soon will be, something to do. */
  wake(): void {
    this.parts.poller?.wake();
  }

  /** Stops all that goes on by itself, for good. */
  end(): void {
    const { state, poller, keepAlive, services } = this.parts;
    state.isRunning = false;
    poller?.stop();
    keepAlive.stop();
    services.close();
  }

  /** How queues take turns and which command sets there are: CC.AMS and CC.CSS. */
  private takeMechanisms(): void {
    const { registers, loop, io } = this.parts;
    const ams = (registers.config >>> ControllerConfig.AMS_SHIFT) & 7;
    const css = (registers.config >>> ControllerConfig.CSS_SHIFT) & 7;
    loop.arbiter = ams === ArbitrationMechanism.weighted ? new WeightedRoundRobin() : undefined;
    io.allCommandSets = css === CommandSetSelection.allSupported;
  }
}
