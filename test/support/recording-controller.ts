/** A controller for admin commands that records the commands it receives. */
import { Lease } from "../../src/core/lifetime/lease.js";
import { DmaSpace } from "../../src/dma/space.js";
import type { AdminTarget } from "../../src/nvme/command/admin-target.js";
import type { NvmeCommand, NvmeCompletion } from "../../src/nvme/command/command.js";
import type { NvmeQuirkName } from "../../src/nvme/quirks/quirks.js";
import { type IdentifyController, identifyController } from "../../src/nvme/spec/identify.js";
import { AdminOpcode } from "../../src/nvme/spec/opcodes.js";
import { IdentityMapper } from "./identity-mapper.js";

/** A command: the dwords that aren't zero, and its data. */
export interface Recorded {
  readonly opcode: number;
  readonly words: Readonly<Record<string, number>>;
  readonly data: Uint8Array;
}

const MAX_BYTES = 128 * 1024;
const wordNames = ["nsid", "cdw10", "cdw11", "cdw12", "cdw13", "cdw14", "cdw15"] as const;

/**
 * The controller's end of admin commands that neither QEMU nor the emulated controller supports. It records commands and
 * returns the answers that a test prepared. It reads log pages by offset and length, as a controller does.
 */
export class RecordingController implements AdminTarget {
  readonly bdf = "recording";
  readonly dma: DmaSpace;
  readonly identify: IdentifyController;
  readonly maxTransferBytes = MAX_BYTES;
  readonly memoryPageBytes = 4096;
  readonly device = { lease: new Lease("recording controller", undefined) };
  readonly commands: Recorded[] = [];
  readonly quirks = new Set<NvmeQuirkName>();
  /** Changes the answer to a command. */
  answer: (recorded: Recorded) => { readonly data?: Uint8Array; readonly dw0?: number } = () => ({});
  readonly logPages = new Map<number, Uint8Array>();
  /** Offsets of the entries of pages with index offsets. */
  readonly entries = new Map<number, readonly number[]>();

  constructor(
    identify: Partial<IdentifyController>,
    readonly mapper: IdentityMapper = new IdentityMapper(),
  ) {
    this.dma = new DmaSpace(mapper);
    this.identify = identifyController.decode(identifyController.encode({ lpa: 0x7f, ...identify }));
  }

  hasQuirk(name: NvmeQuirkName): boolean {
    return this.quirks.has(name);
  }

  /** It is never reset. */
  hostMemoryGiven(): void {}

  async admin(command: NvmeCommand): Promise<NvmeCompletion> {
    const { data } = command;
    if (data !== undefined && !("buffer" in data)) throw new Error("admin commands have one buffer");
    const view = data?.buffer.bytes.subarray(0, data.length) ?? new Uint8Array(0);
    const words = Object.fromEntries(
      wordNames.flatMap((name) => (command[name] ? [[name, command[name]] as const] : [])),
    );
    const recorded = { opcode: command.opcode, words, data: view.slice() };
    this.commands.push(recorded);
    const { data: reply, dw0 = 0 } =
      command.opcode === AdminOpcode.getLogPage ? this.log(command) : this.answer(recorded);
    if (reply !== undefined) view.set(reply.subarray(0, view.length));
    return { dw0, dw1: 0 };
  }

  /** The last command. */
  get last(): Recorded {
    const last = this.commands.at(-1);
    if (last === undefined) throw new Error("no command came");
    return last;
  }

  close(): void {
    this.device.lease.close();
    this.dma.close();
  }

  private log(command: NvmeCommand): { readonly data?: Uint8Array; readonly dw0?: number } {
    const { cdw10 = 0, cdw11 = 0, cdw12 = 0, cdw13 = 0, cdw14 = 0 } = command;
    const page = this.logPages.get(cdw10 & 0xff) ?? new Uint8Array(0);
    const offset = cdw13 * 2 ** 32 + cdw12;
    const isIndex = (cdw14 & (1 << 23)) !== 0;
    const at = isIndex ? (this.entries.get(cdw10 & 0xff)?.[offset] ?? page.length) : offset;
    const length = ((cdw10 >>> 16) + (cdw11 & 0xffff) * 65_536 + 1) * 4;
    return { data: page.subarray(at, at + length) };
  }
}
