/** The admin command set: commands for queues and namespaces, and the dispatcher of all admin commands. */
import { CommandEffects } from "../../../nvme/spec/log-pages.js";
import { AdminOpcode } from "../../../nvme/spec/opcodes.js";
import { NvmeStatus } from "../../../nvme/spec/status.js";
import { type Command, PENDING } from "../host/command.js";
import type { AsyncEvents } from "../queues/async-events.js";
import type { QueueSet } from "../queues/queue-set.js";
import type { Registers } from "../queues/registers.js";
import type { AdminCommand, AdminCommands } from "./admin-service.js";
import type { AdminServices } from "./admin-services.js";
import type { Features } from "./features.js";
import type { Identify } from "./identify.js";
import type { LogPages } from "./log-pages.js";
import type { NamespaceCommands } from "./namespace.js";

/** The parts that execute admin commands. */
export interface AdminParts {
  readonly command: Command;
  readonly registers: Registers;
  readonly queues: QueueSet;
  readonly identify: Identify;
  readonly features: Features;
  readonly logPages: LogPages;
  readonly events: AsyncEvents;
  readonly namespaces: NamespaceCommands;
  /** Aborts a waiting command. @returns whether there was one */
  abort(sqid: number, cid: number): boolean;
  /** Aborts all waiting commands of a queue. */
  queueDeleted(sqid: number): void;
  keepAlive(): void;
}

const FUSE_OR_RESERVED = 0x300;
/** DW0 of Abort, bit 0: the command was not aborted. */
const NOT_ABORTED = 1;

/** Adds the commands for queues, namespaces, features, logs and events. */
export function addAdminCommands(commands: Map<number, AdminCommand>, parts: AdminParts): void {
  const { command, queues, registers, namespaces } = parts;
  const { LBCC, NCC, NIC } = CommandEffects;
  const always = (opcode: number, execute: () => number, lockable = false): void => {
    commands.set(opcode, { execute, allowedDuringSanitize: true, lockable });
  };
  always(AdminOpcode.identify, () => parts.identify.execute());
  always(AdminOpcode.getLogPage, () => parts.logPages.execute());
  always(AdminOpcode.getFeatures, () => parts.features.get());
  always(AdminOpcode.setFeatures, () => parts.features.set(queues.ioQueuesExist), true);
  always(AdminOpcode.createIoCompletionQueue, () => queues.createCq(registers.config, registers.pageBytes));
  always(AdminOpcode.createIoSubmissionQueue, () => queues.createSq(registers.config, registers.pageBytes));
  always(AdminOpcode.deleteIoSubmissionQueue, () => {
    const status = queues.deleteSq();
    if (status === NvmeStatus.success) parts.queueDeleted(command.cdw(10) & 0xffff);
    return status;
  });
  always(AdminOpcode.deleteIoCompletionQueue, () => queues.deleteCq());
  always(AdminOpcode.asyncEventRequest, () =>
    parts.events.request(command.cid) ? PENDING : NvmeStatus.asynchronousEventRequestLimitExceeded,
  );
  always(AdminOpcode.abort, () => {
    command.dw0 = parts.abort(command.cdw(10) & 0xffff, command.cdw(10) >>> 16) ? 0 : NOT_ABORTED;
    return NvmeStatus.success;
  });
  always(AdminOpcode.keepAlive, () => {
    parts.keepAlive();
    return NvmeStatus.success;
  });
  always(AdminOpcode.doorbellBufferConfig, () => queues.setShadow(registers.pageBytes));
  commands.set(AdminOpcode.formatNvm, {
    execute: () => namespaces.format(),
    effects: LBCC | NCC,
    lockable: true,
  });
  commands.set(AdminOpcode.sanitizeNamespace, {
    execute: () => namespaces.sanitize(),
    effects: LBCC,
    lockable: true,
  });
  commands.set(AdminOpcode.namespaceManagement, {
    execute: () => namespaces.manage(),
    effects: NIC,
    lockable: true,
  });
  commands.set(AdminOpcode.namespaceAttachment, {
    execute: () => namespaces.attach(),
    effects: NIC,
    lockable: true,
  });
}

/** Executes admin commands, unless one of the services refuses them. */
export class AdminDispatcher {
  constructor(
    private readonly command: Command,
    private readonly commands: AdminCommands,
    private readonly services: AdminServices,
    /** Opcodes that it refuses. */
    private readonly refused: readonly number[] = [],
  ) {}

  /** Executes the current command. @returns a status, or PENDING */
  execute(): number {
    const { command } = this;
    if (((command.sqe[0] ?? 0) & FUSE_OR_RESERVED) !== 0) return NvmeStatus.invalidField;
    if (this.refused.includes(command.opcode)) return NvmeStatus.invalidOpcode;
    const refusal = this.services.refusal();
    if (refusal !== NvmeStatus.success) return refusal;
    return this.commands.get(command.opcode)?.execute() ?? NvmeStatus.invalidOpcode;
  }
}
