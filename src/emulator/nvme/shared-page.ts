/** Memory that an emulated BAR shares with its client: a memory file and its mapping in this process. */
import { Lease } from "../../core/lifetime/lease.js";
import { Resource } from "../../core/lifetime/resource.js";
import { MappedMemory } from "../../sys/memory.js";
import { close, memfd, sealSize } from "../../sys/syscalls.js";

/** A shared memory file and its mapping here. */
export class SharedPage extends Resource {
  private constructor(
    readonly fd: number,
    readonly memory: MappedMemory,
    name: string,
  ) {
    super(
      new Lease(name, () => {
        memory.close();
        close(fd);
      }),
    );
    memory.relinquish();
  }

  /** @throws SysError */
  static create(name: string, sizeBytes: number, at = 0): SharedPage {
    const fd = memfd(name, at + sizeBytes);
    try {
      // Clients get this descriptor: none may cut it short under our mapping.
      sealSize(fd);
      return new SharedPage(fd, MappedMemory.ofFile(fd, at, sizeBytes, name), name);
    } catch (error) {
      close(fd);
      throw error;
    }
  }
}
