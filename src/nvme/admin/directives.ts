/** Directive Send and Directive Receive, and the Streams directive. */
import { checkBytes, checkInteger, checkKeys, checkU32 } from "../../core/check.js";
import { ArgumentError } from "../../core/errors.js";
import { type AdminTarget, adminRead, adminWrite, requireCommands } from "../command/admin-target.js";
import type { NvmeCompletion } from "../command/command.js";
import {
  type DirectiveState,
  DirectiveType,
  identifyDirectives,
  type StreamsParameters,
  streamsParameters,
} from "../spec/directives.js";
import { AdminOpcode } from "../spec/opcodes.js";

/** A directive operation, under the specification's names. */
export interface DirectiveOperation {
  /** Namespace of the operation. */
  readonly nsid: number;
  /** DTYPE: a value of DirectiveType. */
  readonly type: number;
  /** DOPER, 8 bits. */
  readonly operation: number;
  /** DSPEC, 16 bits. */
  readonly specific?: number | undefined;
  /** CDW12, 0 by default: depends on the operation. */
  readonly cdw12?: number | undefined;
  /** CDW13, 0 by default: depends on the operation. */
  readonly cdw13?: number | undefined;
}

const Identify = { returnParameters: 1, enable: 1 } as const;
const StreamsReceive = { returnParameters: 1, getStatus: 2, allocateResources: 3 } as const;
const StreamsSend = { releaseIdentifier: 1, releaseResources: 2 } as const;
/** Size of Get Status of the Streams directive: the count and up to 65,535 identifiers. */
const STATUS_BYTES = 131_072;

/** Directives (NVMe Base 2.x, section "Directives"): hints from the host on which data belong together. */
export class NvmeDirectives {
  constructor(private readonly target: AdminTarget) {}

  /**
   * Directive Receive.
   * @throws UnsupportedError, ArgumentError, NvmeError, TimeoutError, DeviceGoneError, ClosedError
   */
  async receive(operation: DirectiveOperation, sizeBytes: number): Promise<Uint8Array> {
    const fields = words(operation, "Receive");
    requireCommands(this.target, "directives");
    if (sizeBytes % 4 !== 0)
      throw new ArgumentError(`sizeBytes must be a multiple of 4 for a directive, got ${sizeBytes}`);
    checkInteger("sizeBytes", sizeBytes, 4, this.target.maxTransferBytes);
    const command = {
      ...fields,
      opcode: AdminOpcode.directiveReceive,
      cdw10: sizeBytes / 4 - 1,
    };
    return (await adminRead(this.target, command, sizeBytes)).bytes;
  }

  /** Directive Send. @throws as receive() */
  async send(operation: DirectiveOperation, data?: Uint8Array): Promise<NvmeCompletion> {
    const command = { ...words(operation, "Send"), opcode: AdminOpcode.directiveSend };
    requireCommands(this.target, "directives");
    if (data === undefined) return await this.target.admin(command);
    checkBytes("data", data);
    if (data.length % 4 !== 0)
      throw new ArgumentError(`data.length must be a multiple of 4 for a directive, got ${data.length}`);
    checkInteger("data.length", data.length, 4, this.target.maxTransferBytes);
    return await adminWrite(this.target, { ...command, cdw10: data.length / 4 - 1 }, data);
  }

  /** Directive types that a namespace supports, and their states. Keys are values of DirectiveType. @throws as receive() */
  async supported(nsid: number): Promise<ReadonlyMap<number, DirectiveState>> {
    const operation = { nsid, type: DirectiveType.identify, operation: Identify.returnParameters };
    const page = identifyDirectives.decode(await this.receive(operation, identifyDirectives.sizeBytes));
    const has = (bits: Uint8Array, type: number): boolean =>
      (((bits[type >>> 3] ?? 0) >>> (type & 7)) & 1) === 1;
    const found = new Map<number, DirectiveState>();
    for (let type = 0; type < page.supported.length * 8; type++) {
      if (!has(page.supported, type)) continue;
      found.set(type, { enabled: has(page.enabled, type), persistent: has(page.persistent, type) });
    }
    return found;
  }

  /** Enables or disables a type for a namespace. @throws as receive() */
  async enable(nsid: number, type: number, enabled = true): Promise<void> {
    checkInteger("type", type, 1, 0xff);
    await this.send({
      nsid,
      type: DirectiveType.identify,
      operation: Identify.enable,
      cdw12: (enabled ? 1 : 0) | (type << 8),
    });
  }

  /** Parameters of the Streams directive. @throws as receive() */
  async streams(nsid: number): Promise<StreamsParameters> {
    const operation = { nsid, type: DirectiveType.streams, operation: StreamsReceive.returnParameters };
    return streamsParameters.decode(await this.receive(operation, streamsParameters.sizeBytes));
  }

  /** Identifiers of the open streams. @throws as receive() */
  async openStreams(nsid: number): Promise<readonly number[]> {
    const operation = { nsid, type: DirectiveType.streams, operation: StreamsReceive.getStatus };
    const size = Math.min(STATUS_BYTES, this.target.maxTransferBytes);
    const page = await this.receive(operation, size);
    const view = new DataView(page.buffer, page.byteOffset);
    const count = Math.min(view.getUint16(0, true), size / 2 - 1);
    return Array.from({ length: count }, (_, i) => view.getUint16(2 + 2 * i, true));
  }

  /** Allocates streams to this namespace exclusively. @returns how many the controller allocated @throws as receive() */
  async allocateStreams(nsid: number, count: number): Promise<number> {
    requireCommands(this.target, "directives");
    checkInteger("count", count, 1, 0xffff);
    const operation = {
      nsid,
      type: DirectiveType.streams,
      operation: StreamsReceive.allocateResources,
      cdw12: count,
    };
    const { dw0 } = await this.target.admin({
      ...words(operation, "Receive"),
      opcode: AdminOpcode.directiveReceive,
    });
    return dw0 & 0xffff;
  }

  /** Releases a stream identifier: closes the stream. @throws as receive() */
  async releaseStream(nsid: number, stream: number): Promise<void> {
    checkInteger("stream", stream, 1, 0xffff);
    const operation = StreamsSend.releaseIdentifier;
    await this.send({ nsid, type: DirectiveType.streams, operation, specific: stream });
  }

  /** Releases the streams that were allocated to the namespace. @throws as receive() */
  async releaseStreams(nsid: number): Promise<void> {
    await this.send({ nsid, type: DirectiveType.streams, operation: StreamsSend.releaseResources });
  }
}

function words(
  given: DirectiveOperation,
  what: string,
): { name: string; nsid: number; cdw11: number; cdw12: number; cdw13: number } {
  checkKeys("operation", given, ["nsid", "type", "operation", "specific", "cdw12", "cdw13"]);
  const { nsid, type, operation, specific = 0, cdw12 = 0, cdw13 = 0 } = given;
  checkInteger("type", type, 0, 0xff);
  checkInteger("operation", operation, 0, 0xff);
  checkInteger("specific", specific, 0, 0xffff);
  return {
    name: `Directive ${what} (type ${type}, operation ${operation})`,
    nsid: checkU32("nsid", nsid),
    cdw11: (operation | (type << 8) | (specific << 16)) >>> 0,
    cdw12: checkU32("cdw12", cdw12),
    cdw13: checkU32("cdw13", cdw13),
  };
}
