/** Memory of a client as the server's table of mappings has it, for hosts of emulated controllers in the same process. */
import { closeSync, ftruncateSync, openSync, unlinkSync } from "node:fs";
import { MappingBudget } from "../../src/sys/mapping-budget.js";
import { MappedMemory } from "../../src/sys/memory.js";
import { DmaTable } from "../../src/vfio-user/server/client-dma.js";
import { MEMORY_AT, MEMORY_BYTES } from "./nvme-host.js";

const PAGE = 4096;

let count = 0;

/** A file of tmpfs, which can't be sealed; the caller closes it. */
export function unsealableFile(sizeBytes: number): number {
  const path = `/dev/shm/iova-client-${process.pid}-${count++}`;
  const fd = openSync(path, "w+");
  unlinkSync(path);
  ftruncateSync(fd, sizeBytes);
  return fd;
}

/** How the memory of {@link ServedMemory} is mapped. */
export interface ServedLayout {
  /** The server copies it, because it is in a file that can't be sealed. */
  readonly copied: boolean;
  /** Each page of 4 KiB is a mapping of its own. */
  readonly paged: boolean;
}

/** 8 MiB of memory at {@link MEMORY_AT}, and the table that a server would make of it. */
export class ServedMemory {
  readonly ram: MappedMemory;
  readonly memory: DmaTable;
  private readonly fd: number;

  constructor({ copied, paged }: ServedLayout) {
    this.fd = unsealableFile(MEMORY_BYTES);
    this.ram = MappedMemory.ofFile(this.fd, 0, MEMORY_BYTES, "the client's memory");
    const refused = (): Promise<never> => Promise.reject(new Error("no memory here is without a descriptor"));
    this.memory = new DmaTable({ dmaRead: refused, dmaWrite: refused }, 65535, new MappingBudget());
    this.memory.enable(true);
    const step = paged ? PAGE : MEMORY_BYTES;
    for (let at = 0; at < MEMORY_BYTES; at += step) {
      this.memory.map({
        ...{ iova: BigInt(MEMORY_AT + at), sizeBytes: BigInt(step), readable: true, writable: true },
        ...{ fd: this.fd, use: copied ? "copy" : "map", fdOffset: BigInt(at), who: "the client" },
      });
    }
  }

  /** Unmaps the page at an offset of `ram`. */
  unmapPage(at: number): void {
    this.memory.unmap(BigInt(MEMORY_AT + at), BigInt(PAGE));
  }

  /** Cuts the file off. The test may no longer touch what is lost. */
  truncate(sizeBytes: number): void {
    ftruncateSync(this.fd, sizeBytes);
  }

  [Symbol.dispose](): void {
    this.memory.close();
    closeSync(this.fd);
  }
}
