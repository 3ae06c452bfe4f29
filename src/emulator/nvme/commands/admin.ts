import { AdminOpcode } from "../../../nvme/spec/opcodes.js";
import { NvmeStatus } from "../../../nvme/spec/status.js";
import { type Command, PENDING } from "../host/command.js";
import type { AsyncEvents } from "../queues/async-events.js";
import type { QueueSet } from "../queues/queue-set.js";
import type { Registers } from "../queues/registers.js";
import type { AdminServices } from "./admin-services.js";
import type { Features } from "./features.js";
import type { Identify } from "./identify.js";
import type { LogPages } from "./log-pages.js";
import type { NamespaceCommands } from "./namespace.js";

/** The parts that carry out admin commands. */
export interface AdminParts {
  readonly command: Command;
  readonly registers: Registers;
  readonly queues: QueueSet;
  readonly identify: Identify;
  readonly features: Features;
  readonly logPages: LogPages;
  readonly events: AsyncEvents;
  readonly namespaces: NamespaceCommands;
  readonly services: AdminServices;
  /** Takes back a command that waits. @returns whether there was one */
  abort(sqid: number, cid: number): boolean;
  /** Ends all commands of a queue that wait. */
  queueDeleted(sqid: number): void;
  keepAlive(): void;
}

const FUSE_OR_RESERVED = 0x300;
const BUSY_ABORT = 1;

/** The admin command set. @returns a status, or PENDING */
export function executeAdmin(parts: AdminParts): number {
  const { command, queues, registers } = parts;
  if (((command.sqe[0] ?? 0) & FUSE_OR_RESERVED) !== 0) return NvmeStatus.invalidField;
  const refusal = parts.services.refusal();
  if (refusal !== NvmeStatus.success) return refusal;
  switch (command.opcode) {
    case AdminOpcode.identify:
      return parts.identify.execute();
    case AdminOpcode.getLogPage:
      return parts.logPages.execute();
    case AdminOpcode.getFeatures:
      return parts.features.get();
    case AdminOpcode.setFeatures:
      return parts.features.set(queues.ioQueuesExist);
    case AdminOpcode.createIoCompletionQueue:
      return queues.createCq(registers.config, registers.pageBytes);
    case AdminOpcode.createIoSubmissionQueue:
      return queues.createSq(registers.config, registers.pageBytes);
    case AdminOpcode.deleteIoSubmissionQueue: {
      const status = queues.deleteSq();
      if (status === NvmeStatus.success) parts.queueDeleted(command.cdw(10) & 0xffff);
      return status;
    }
    case AdminOpcode.deleteIoCompletionQueue:
      return queues.deleteCq();
    case AdminOpcode.asyncEventRequest:
      return parts.events.request(command.cid) ? PENDING : NvmeStatus.asynchronousEventRequestLimitExceeded;
    case AdminOpcode.abort:
      // DW0 bit 0: the command was not aborted.
      command.dw0 = parts.abort(command.cdw(10) & 0xffff, command.cdw(10) >>> 16) ? 0 : BUSY_ABORT;
      return NvmeStatus.success;
    case AdminOpcode.keepAlive:
      parts.keepAlive();
      return NvmeStatus.success;
    case AdminOpcode.doorbellBufferConfig:
      return queues.setShadow(registers.pageBytes);
    case AdminOpcode.formatNvm:
      return parts.namespaces.format();
    case AdminOpcode.namespaceManagement:
      return parts.namespaces.manage();
    case AdminOpcode.namespaceAttachment:
      return parts.namespaces.attach();
    default:
      return parts.services.execute();
  }
}
