/** Events that the host has to ask for. */
import { type AsyncEventInfo, AsyncEventType } from "../../../nvme/spec/opcodes.js";
import type { AsyncEvents } from "../queues/async-events.js";
import type { Features } from "./features.js";

/** Bits of the Asynchronous Event Configuration feature: the notices that the host wants. */
export const Notice = {
  namespaceAttributes: 1 << 8,
  firmwareActivation: 1 << 9,
  telemetry: 1 << 10,
  access: 1 << 11,
} as const;

type NoticeInfo = (typeof AsyncEventInfo.notice)[keyof typeof AsyncEventInfo.notice];

/** Raises notices, if the host has asked for them. */
export class Notices {
  constructor(
    private readonly features: Features,
    private readonly events: AsyncEvents,
  ) {}

  /** @param notice a bit of {@link Notice} @param logPage that explains the event */
  raise(notice: number, info: NoticeInfo, logPage: number): void {
    if ((this.features.asyncEventConfig & notice) === 0) return;
    this.events.raise(AsyncEventType.notice, info, logPage);
  }
}
