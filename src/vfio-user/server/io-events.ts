/** Register writes that clients do by eventfd, on the server. */
import { EventFd } from "../../sys/eventfd.js";
import { IO_FD_TYPE_IOEVENTFD, IOEVENTFD_DATAMATCH, regionIoFds, subRegion } from "../protocol/protocol.js";
import { writeBar } from "./bar-access.js";
import type { EmulatedBar } from "./emulated-device.js";

/** The eventfds that one client was given for writes to BARs (VFIO_USER_DEVICE_GET_REGION_IO_FDS). */
export class ServerIoEvents {
  private readonly eventfds = new Map<number, readonly EventFd[]>();

  /**
   * @param index of the region @param argsz room for the answer @param maxFds that the client takes with one message
   * @param guarded runs what a signal starts
   * @throws SysError
   */
  answer(
    index: number,
    bar: EmulatedBar | undefined,
    argsz: number,
    maxFds: number,
    guarded: (work: () => void) => void,
  ): { readonly parts: readonly Uint8Array[]; readonly fds: readonly number[] } {
    const offered = (bar?.ioEvents ?? []).slice(0, maxFds);
    const whole = regionIoFds.sizeBytes + offered.length * subRegion.sizeBytes;
    const header = regionIoFds.encode({ argsz: whole, index, count: offered.length });
    if (bar === undefined || offered.length === 0 || argsz < whole) return { parts: [header], fds: [] };
    let eventfds = this.eventfds.get(index);
    if (eventfds === undefined) {
      const made: EventFd[] = [];
      this.eventfds.set(index, made);
      for (const { offset, widthBytes, value } of offered) {
        const eventfd = new EventFd(`writes of 0x${value.toString(16)} to region ${index} + ${offset}`);
        made.push(eventfd);
        eventfd.relinquish();
        eventfd
          .watch(() =>
            guarded(() => {
              const bytes = new Uint8Array(BigUint64Array.of(value).buffer, 0, widthBytes);
              writeBar(bar, offset, bytes);
            }),
          )
          .unref()
          .relinquish();
      }
      eventfds = made;
    }
    const entries = offered.map(({ offset, widthBytes, value }, i) =>
      subRegion.encode({
        gpa_offset: BigInt(offset),
        size: BigInt(widthBytes),
        fd_index: i,
        type: IO_FD_TYPE_IOEVENTFD,
        flags: IOEVENTFD_DATAMATCH,
        datamatch: value,
      }),
    );
    return { parts: [header, ...entries], fds: eventfds.map(({ fd }) => fd) };
  }

  close(): void {
    for (const eventfds of this.eventfds.values()) for (const eventfd of eventfds) eventfd.close();
    this.eventfds.clear();
  }
}
