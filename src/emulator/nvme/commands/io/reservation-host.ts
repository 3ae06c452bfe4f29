/** A controller's host as reservations know it: its identifier, and the notifications that it gets. */
import { reservationLog } from "../../../../nvme/spec/log-pages.js";
import { FeatureId, FeatureSelect, LogPageId } from "../../../../nvme/spec/opcodes.js";
import { NvmeStatus } from "../../../../nvme/spec/status.js";
import type { ReservationHost } from "../../medium/reservation-table.js";
import type { IoContext } from "./io-context.js";

/** Bytes of the longer Host Identifier. */
export const HOST_ID_BYTES = 16;
/** CDW11 of the feature: EXHID. */
const EXTENDED = 1;
const MOST_NOTIFICATIONS = 255;

interface Notification {
  readonly count: bigint;
  readonly nsid: number;
  readonly type: number;
}

/** The host of a controller, with the features Host Identifier and Reservation Notification Mask, and log page 80h. */
export class NotifiedHost implements ReservationHost {
  readonly controllerId: number;
  readonly features = {
    [FeatureId.hostIdentifier]: {
      get: (select: number) => this.getIdentifier(select),
      set: () => this.setIdentifier(),
    },
    [FeatureId.reservationNotificationMask]: {
      get: (select: number) => this.getMask(select),
      set: () => this.setMask(),
    },
  };
  readonly logPages = {
    [LogPageId.reservationNotification]: { page: () => this.page(), read: () => this.read() },
  };
  private id = new Uint8Array(HOST_ID_BYTES);
  /** Notifications that the host doesn't want, a bit each, by namespace. */
  private readonly masks = new Map<number, number>();
  private notifications: Notification[] = [];
  private count = 0n;

  constructor(private readonly context: IoContext) {
    this.controllerId = context.controllerId;
  }

  get name(): string {
    return this.hasIdentifier ? Buffer.from(this.id).toString("hex") : `controller ${this.controllerId}`;
  }

  private get hasIdentifier(): boolean {
    return this.id.some((byte) => byte !== 0);
  }

  /** The controller was reset: the host is unknown again. Its registrations stay. */
  reset(): void {
    this.id = new Uint8Array(HOST_ID_BYTES);
    this.masks.clear();
    this.notifications = [];
  }

  /** @param name as it was before a migration */
  load(name: string): void {
    this.reset();
    if (/^[0-9a-f]{32}$/.test(name)) this.id.set(Buffer.from(name, "hex"));
  }

  notify(nsid: number, type: number): void {
    if (((this.masks.get(nsid) ?? 0) & (1 << type)) !== 0) return;
    this.count++;
    this.notifications.push({ count: this.count, nsid, type });
    if (this.notifications.length > MOST_NOTIFICATIONS) this.notifications.shift();
    this.context.reservationNoticed();
  }

  abort(nsid: number): void {
    this.context.outstanding.preempt(nsid);
  }

  private page(): Uint8Array {
    const [first] = this.notifications;
    if (first === undefined) return reservationLog.encode({});
    return reservationLog.encode({ ...first, available: this.notifications.length - 1 });
  }

  private read(): void {
    this.notifications.shift();
    if (this.notifications.length > 0) this.context.reservationNoticed();
  }

  private getIdentifier(select: number): number {
    const { command, transfer } = this.context;
    const id = select === FeatureSelect.current ? this.id : new Uint8Array(HOST_ID_BYTES);
    return transfer.send(command, (command.cdw(11) & EXTENDED) === 0 ? id.slice(0, HOST_ID_BYTES / 2) : id);
  }

  private setIdentifier(): number {
    const { command, transfer } = this.context;
    const given = new Uint8Array((command.cdw(11) & EXTENDED) === 0 ? HOST_ID_BYTES / 2 : HOST_ID_BYTES);
    const status = transfer.fetch(command, given);
    if (status !== NvmeStatus.success) return status;
    const id = new Uint8Array(HOST_ID_BYTES);
    id.set(given);
    // A host keeps its identifier until the next reset.
    if (this.hasIdentifier && Buffer.compare(id, this.id) !== 0) return NvmeStatus.commandSequenceError;
    this.id = id;
    return NvmeStatus.success;
  }

  private getMask(select: number): number {
    const { command, attached } = this.context;
    if (attached[command.nsid] === undefined) return NvmeStatus.invalidNamespace;
    command.dw0 = select === FeatureSelect.current ? (this.masks.get(command.nsid) ?? 0) : 0;
    return NvmeStatus.success;
  }

  private setMask(): number {
    const { command, attached } = this.context;
    if (attached[command.nsid] === undefined) return NvmeStatus.invalidNamespace;
    this.masks.set(command.nsid, command.cdw(11));
    return NvmeStatus.success;
  }
}
