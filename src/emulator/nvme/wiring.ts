/** Makes the parts of an emulated NVMe controller and connects them. */
import { AsyncEventInfo, AsyncEventType, BROADCAST_NSID, LogPageId } from "../../nvme/spec/opcodes.js";
import { NvmeStatus } from "../../nvme/spec/status.js";
import { PAGE_SIZE } from "../../sys/syscalls.js";
import type { EmulatedBar } from "../../vfio-user/server/emulated-device.js";
import { DOORBELL_BYTES, makeBars } from "./bars.js";
import { CommandLoop } from "./command-loop.js";
import { AdminDispatcher, addAdminCommands } from "./commands/admin.js";
import type { AdminCommand } from "./commands/admin-service.js";
import { AdminServices } from "./commands/admin-services.js";
import { Features } from "./commands/features.js";
import { Identify } from "./commands/identify.js";
import type { MutableIoContext } from "./commands/io/io-context.js";
import { NvmCommands } from "./commands/io/nvm.js";
import { LogPages } from "./commands/log-pages.js";
import { NamespaceCommands } from "./commands/namespace.js";
import { NamespaceListing } from "./commands/namespace-listing.js";
import { Notices } from "./commands/notices.js";
import { MSIX_BAR_BYTES } from "./config-space.js";
import { FaultExecution } from "./fault-execution.js";
import { Faults } from "./faults.js";
import { CmbRules } from "./host/cmb-rules.js";
import { Command } from "./host/command.js";
import { HostMemory } from "./host/host-memory.js";
import { Transfer } from "./host/transfer.js";
import { KeepAlive } from "./keep-alive.js";
import { Lifecycle } from "./lifecycle.js";
import type { Inventory } from "./medium/inventory.js";
import type { KeptParts } from "./medium/kept-parts.js";
import type { Medium } from "./medium/medium.js";
import { OpalLocks } from "./medium/opal-locks.js";
import { MediumOwnership } from "./medium-ownership.js";
import { NvmeMigration } from "./migration.js";
import type { NvmeEmulatorConfig } from "./options.js";
import { QueueServer } from "./queue-server.js";
import { AsyncEvents } from "./queues/async-events.js";
import { CompletionPoster } from "./queues/completion-poster.js";
import { DelayedCommands } from "./queues/delayed-commands.js";
import { InterruptSignaller } from "./queues/interrupt-signaller.js";
import type { IoWatch } from "./queues/io-watch.js";
import { Poller } from "./queues/poller.js";
import { QueueSet } from "./queues/queue-set.js";
import type { EmulatedSq } from "./queues/queues.js";
import { Registers } from "./queues/registers.js";
import { ScatteredEntries } from "./queues/scattered-entries.js";
import { hasOwnIds } from "./queues/shared-ids.js";
import { RunState } from "./run-state.js";
import type { SharedPage } from "./shared-page.js";
import type { Subsystem, SubsystemController } from "./subsystem.js";
import { Unplugging } from "./unplugging.js";

/** Memory and files of a controller, which its owner closes. */
export interface ControllerStorage {
  readonly medium: Medium;
  readonly inventory: Inventory;
  /** What else outlives the controllers. */
  readonly kept: KeptParts;
  readonly doorbells: SharedPage;
  /** Controller memory buffer, where there is one. */
  readonly cmb: SharedPage | undefined;
  /** What it is one controller of. */
  readonly subsystem: Subsystem;
}

/** The parts that a controller's owner uses. */
export interface ControllerParts {
  readonly memory: HostMemory;
  readonly interrupts: InterruptSignaller;
  readonly faults: Faults;
  readonly services: AdminServices;
  readonly unplugging: Unplugging;
  readonly lifecycle: Lifecycle;
  readonly migration: NvmeMigration;
  readonly loop: CommandLoop;
  readonly bars: readonly (EmulatedBar | undefined)[];
  /** Takes the controller out of its subsystem. */
  leave(): void;
}

/**
 * Makes a controller. None of its parts refers to the controller's owner.
 * @param polled the controller drives itself from the event loop
 * @param removed a `remove` fault has unplugged the device
 */
export function wireController(
  config: NvmeEmulatorConfig,
  storage: ControllerStorage,
  polled: boolean,
  removed: () => void,
): ControllerParts {
  const { medium, inventory, kept, doorbells, cmb, subsystem } = storage;
  const controllerId = subsystem.nextId();
  const { queuePairs, queueEntries, maxTransferBytes } = config;
  const { breaks } = config.odd;
  const strideWords = config.odd.doorbellStrideBytes / 4;
  const vectors = Math.max(1, config.vectors);
  // A host can only map the doorbells if its pages aren't larger.
  const doorbellsAreShared = config.doorbells === "shared" && PAGE_SIZE === DOORBELL_BYTES;
  const isNamespace = (nsid: number): boolean => inventory.get(nsid)?.attached === true;
  const state = new RunState();
  const command = new Command();
  const commands = new Map<number, AdminCommand>();
  const locks = config.opal ? new OpalLocks(inventory) : undefined;
  const { bootPartitions } = kept;
  const invalidDoorbell = (info: number): void => events.raiseError(info);
  const execute = (sq: EmulatedSq): number => server.execute(sq);

  // The host's side: memory, registers, queues.
  const cmbRules = new CmbRules(config.cmbWithout);
  const memory = new HostMemory(
    cmb === undefined ? undefined : { bytes: cmb.memory.bytes, words: cmb.memory.words, offset: 0 },
    cmbRules,
    2 ** config.odd.dmaBits,
  );
  const queues = new QueueSet(
    { queuePairs, queueEntries, vectors, strideWords, odd: config.odd },
    memory,
    doorbells.memory.words,
    command,
  );
  const transfer = new Transfer(memory, (sqid) => queues.isInCmb(sqid), config.odd.refusesSgl);
  const registers = new Registers(
    { maxQueueEntries: queueEntries, cmbBytes: config.cmbBytes, cmbRules, bootPartitions, odd: config.odd },
    {
      enable: () => lifecycle.enable(),
      disable: () => lifecycle.controllerReset("controller", breaks),
      shutdown: () => lifecycle.shutdown(),
      subsystemReset: () => {
        if (!breaks.includes("subsystem-reset")) lifecycle.subsystemReset();
      },
      unmask: () => interrupts.signal(),
      readBootPartition: (id, offset, lengthBytes, address) => {
        const whole = bootPartitions?.whole(id) ?? new Uint8Array(0);
        return (
          offset + lengthBytes <= whole.length &&
          memory.copyTo(address, whole.subarray(offset, offset + lengthBytes))
        );
      },
      placeCmb: (base, sizeBytes) => memory.placeCmb(base, sizeBytes),
    },
  );

  // What commands lead to: completions, interrupts, events, faults.
  const keepAlive = new KeepAlive(() => lifecycle.fail());
  const features = new Features(
    { queuePairs, vectors, odd: config.odd },
    command,
    transfer,
    {
      temperatureChanged: () => logPages.checkTemperature(),
      keepAliveChanged: (timeoutMs) => keepAlive.watch(timeoutMs),
    },
    isNamespace,
    inventory,
  );
  const interrupts = new InterruptSignaller(
    features,
    vectors,
    breaks.includes("interrupt-mask") ? { interruptMask: 0 } : registers,
    config.odd.workingVectors,
    config.vectors > 0,
  );
  const scattered = new ScatteredEntries(memory);
  const queueLost = (): void => lifecycle.fail();
  const completions = new CompletionPoster(command, queues, interrupts, scattered, {
    failed: (status, sqid) => logPages.recordError(status, sqid),
    invalidDoorbell,
    added: () => lifecycle.wake(),
    queueLost,
  });
  const events = new AsyncEvents(
    (cid, dw0) => completions.completeLater(0, cid, dw0, NvmeStatus.success),
    !breaks.includes("event-mask"),
  );
  const abortDelayed = (sqid: number, cid: number): boolean => {
    const found = delayed.abort(sqid, cid);
    if (found) completions.completeLater(sqid, cid, 0, NvmeStatus.commandAbortRequested);
    return found;
  };
  const notices = new Notices(features, events);
  const delayed = new DelayedCommands(command, queues, completions, execute);
  const unplugging = new Unplugging(registers, state, () => {
    services.started();
    lifecycle.wake();
  });
  const faults = new Faults();
  const faultExecution = new FaultExecution(command, completions, delayed, {
    execute,
    vanish: (durationMs) => unplugging.unplug(durationMs),
    removed,
    fail: () => lifecycle.fail(),
  });

  // Commands.
  const io: MutableIoContext = {
    ...{ command, transfer, medium, maxTransferBytes },
    attached: [],
    refusals: new Map(),
    allCommandSets: false,
    controllerId,
    locks,
    reservations: subsystem.reservations,
    reservationNoticed: () => {
      const { reservationLogAvailable } = AsyncEventInfo.ioCommandSet;
      events.raise(AsyncEventType.ioCommandSet, reservationLogAvailable, LogPageId.reservationNotification);
    },
    outstanding: {
      nsidOf: (sqid, cid) => delayed.nsidOf(sqid, cid),
      abort: (sqid, nsid, cid) => {
        const cids = cid === undefined ? delayed.cidsOf(sqid, nsid) : [cid];
        return cids.filter((each) => abortDelayed(sqid, each)).length;
      },
      preempt: (nsid) => delayed.preempted(nsid),
      completeAfter: (dw0) => completions.completeLater(command.sqid, command.cid, dw0, NvmeStatus.success),
    },
    copyFormats: () => features.copyFormats,
    placements: config.placementHandles,
    stripeBytes: config.odd.stripeLog2 === 0 ? 0 : 4096 * 2 ** config.odd.stripeLog2,
  };
  const nvm = new NvmCommands(io);
  const logPages = new LogPages(
    command,
    transfer,
    features,
    events,
    nvm.counters,
    isNamespace,
    commands,
    breaks.includes("log-offset"),
  );
  const watches: IoWatch[] = [];
  if (config.odd.oneCommand) {
    watches.push((sq, tail) => {
      const isOne = (sq.head + 1) % sq.entries === tail;
      if (!isOne) lifecycle.fail();
      return isOne;
    });
  }
  if (config.odd.sharedIds)
    watches.push((sq, tail) => {
      const isRight = hasOwnIds(sq, tail, [...events.outstanding, ...delayed.cidsOf(0, BROADCAST_NSID)]);
      if (!isRight) lifecycle.fail();
      return isRight;
    });
  const services = new AdminServices({
    ...{ config, command, commands, transfer, inventory, medium, nvm, features },
    ...{ events, notices, logPages, memory, registers, queues, delayed, state, watches, kept },
    locks,
    fail: () => lifecycle.fail(),
    useMedium: (used) => {
      io.medium = used;
    },
    listNamespaces: () => subsystem.listNamespaces(),
  });
  const listing = new NamespaceListing(inventory, services, io, logPages, notices);
  addAdminCommands(commands, {
    ...{ command, registers, queues, features, logPages, events },
    identify: new Identify(config, inventory, command, transfer, {
      id: controllerId,
      all: () => subsystem.controllerIds,
    }),
    namespaces: new NamespaceCommands(inventory, command, transfer, features, controllerId, {
      changed: (nsid, change) => subsystem.namespaceChanged(nsid, change),
      isReserved: (nsid) => subsystem.reservations.keepsOut(nsid, nvm.reservations.host.name, true),
    }),
    abort: (sqid, cid) => {
      const isEvent = sqid === 0 && events.abort(cid);
      if (isEvent) completions.completeLater(sqid, cid, 0, NvmeStatus.commandAbortRequested);
      return isEvent || abortDelayed(sqid, cid);
    },
    queueDeleted: (sqid) => delayed.queueDeleted(sqid),
    keepAlive: () => keepAlive.refresh(),
  });

  // What executes them, and when.
  const admin = new AdminDispatcher(command, commands, services, config.odd.refusedAdmin);
  const server = new QueueServer(
    command,
    completions,
    admin,
    nvm,
    faults,
    faultExecution,
    delayed,
    state,
    scattered,
    { invalidDoorbell, queueLost },
    watches,
  );
  const loop = new CommandLoop(queues, server, delayed, completions, interrupts, features, state, queueLost);
  const poller = polled
    ? new Poller(loop, {
        spinMs: config.spinMicroseconds / 1000,
        idleAfterMs: config.idleAfterMs,
        idlePollMs: doorbellsAreShared ? config.idlePollMs : undefined,
      })
    : undefined;
  const ownership = new MediumOwnership(medium, inventory, config.incoming, () => {
    services.mediumLoaded();
    lifecycle.loaded();
  });
  const lifecycle = new Lifecycle({
    ...{ state, registers, queues, transfer, events, features, interrupts, completions, delayed },
    ...{ io, nvm, services, listing, ownership, keepAlive, loop, poller },
  });

  const msix = new Uint8Array(MSIX_BAR_BYTES);
  const bars = makeBars({
    ...{ registers, queues, doorbells, doorbellsAreShared, cmb },
    msix: config.vectors > 0 ? msix : undefined,
    invalidDoorbell: (info) => {
      if (state.isRunning) invalidDoorbell(info);
    },
    written: () => {
      if (state.isRunning) lifecycle.wake();
    },
  });
  const migration = new NvmeMigration(
    {
      ...{ registers, queues, features, events, logPages, nvm, services, delayed },
      ...{ inventory, medium, ownership, lifecycle, msix, subsystem },
      cmb: cmb?.memory.bytes ?? new Uint8Array(0),
    },
    shapeOf(config),
  );

  const member: SubsystemController = {
    id: controllerId,
    listNamespaces: () => listing.update(),
    namespaceChanged: (nsid, change) => listing.changed(nsid, change),
  };
  subsystem.join(member);
  // Another controller of the subsystem joins while the power is on.
  if (!config.incoming && subsystem.controllerIds.length === 1) locks?.powerOn();
  if (!config.incoming) services.powerOn();
  listing.update();
  for (const fault of config.faults) faults.add(fault);
  const leave = (): void => {
    subsystem.leave(member);
    subsystem.reservations.leave(nvm.reservations.host);
  };
  return { memory, interrupts, faults, services, unplugging, lifecycle, migration, loop, bars, leave };
}

/** Options that both ends of a migration must have in common, as text. */
function shapeOf(config: NvmeEmulatorConfig): string {
  const { queuePairs, queueEntries, maxTransferBytes, vectors, serial, placementHandles } = config;
  const { capacityBytes, doorbells, cmbBytes, cmbWithout, hostMemoryBytes, anaGroups } = config;
  const { powerStates, rpmbTargets, bootPartitionBytes, keyValue, opal } = config;
  return JSON.stringify({
    ...{ queuePairs, queueEntries, maxTransferBytes, vectors, serial, placementHandles },
    ...{ capacityBytes, doorbells, cmbBytes, cmbWithout, hostMemoryBytes, anaGroups },
    ...{ powerStates, rpmbTargets, bootPartitionBytes, keyValue, opal },
  });
}
