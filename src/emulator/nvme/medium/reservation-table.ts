/** Reservations of an NVM subsystem's namespaces: which hosts are registered, which one holds, and whom that keeps out. */
import { ReservationNotification } from "../../../nvme/spec/log-pages.js";

/** A host on one controller of the subsystem. */
export interface ReservationHost {
  readonly controllerId: number;
  /** Host Identifier in hexadecimal, or a name of the controller while the host has none. */
  readonly name: string;
  /** Something happened to its registration, or to a reservation that concerns it. */
  notify(nsid: number, type: number): void;
  /** Another host preempted it, and wants its outstanding commands aborted. */
  abort(nsid: number): void;
}

/** A registered host. */
export interface Registration {
  readonly key: bigint;
  /** Controller on which it registered. */
  readonly controllerId: number;
}

/** The reservation of one namespace. Its type is 0 for none; 5 and 6 are held by all registrants. */
export class Reservation {
  generation = 0;
  type = 0;
  holder: string | undefined;
  readonly registrants = new Map<string, Registration>();

  isHeldBy(host: string): boolean {
    if (this.type === 0) return false;
    return this.type >= FIRST_OF_ALL ? this.registrants.has(host) : this.holder === host;
  }

  /** Whether it forbids this host a command that writes, or one that only reads. */
  keepsOut(host: string, writes: boolean): boolean {
    if (this.type === 0 || this.isHeldBy(host)) return false;
    if (this.type >= FIRST_OF_REGISTRANTS && this.registrants.has(host)) return false;
    return writes || this.type % 2 === 0;
  }
}

/** Types from which on registrants may do what the holder may, and all of them hold. */
export const FIRST_OF_REGISTRANTS = 3;
const FIRST_OF_ALL = 5;

/** The reservations of all namespaces, and the hosts that use them now. */
export class ReservationTable {
  private readonly byId = new Map<number, Reservation>();
  private readonly hosts = new Set<ReservationHost>();
  /** Whether any namespace is reserved. */
  isActive = false;

  join(host: ReservationHost): void {
    this.hosts.add(host);
  }

  leave(host: ReservationHost): void {
    this.hosts.delete(host);
  }

  get(nsid: number): Reservation {
    const known = this.byId.get(nsid);
    if (known !== undefined) return known;
    const made = new Reservation();
    this.byId.set(nsid, made);
    return made;
  }

  get all(): readonly (readonly [nsid: number, reservation: Reservation])[] {
    return [...this.byId];
  }

  clear(): void {
    this.byId.clear();
    this.isActive = false;
  }

  keepsOut(nsid: number, host: string, writes: boolean): boolean {
    return this.byId.get(nsid)?.keepsOut(host, writes) ?? false;
  }

  /** Controllers on which a host is now. */
  controllersOf(host: string): number[] {
    return [...this.hosts].filter(({ name }) => name === host).map(({ controllerId }) => controllerId);
  }

  hold(nsid: number, type: number, holder: string | undefined): void {
    const reservation = this.get(nsid);
    reservation.type = type;
    reservation.holder = type === 0 ? undefined : holder;
    this.isActive = [...this.byId.values()].some((each) => each.type !== 0);
  }

  /** Ends a reservation. Other registrants hear of it if they had rights by it. */
  release(nsid: number, by: string): void {
    const reservation = this.get(nsid);
    const told = reservation.type >= FIRST_OF_REGISTRANTS ? [...reservation.registrants.keys()] : [];
    this.hold(nsid, 0, undefined);
    this.tell(nsid, told, by, ReservationNotification.reservationReleased);
  }

  /** Ends a host's registration, and the reservation that only it held. */
  unregister(nsid: number, host: string): void {
    const reservation = this.get(nsid);
    const held = reservation.isHeldBy(host);
    reservation.registrants.delete(host);
    const isShared = reservation.type >= FIRST_OF_ALL && reservation.registrants.size > 0;
    if (held && !isShared) this.release(nsid, host);
  }

  /** Ends registrations of other hosts by a host's Preempt. @param aborts their outstanding commands, too */
  preempt(nsid: number, hosts: readonly string[], by: string, aborts: boolean): void {
    const reservation = this.get(nsid);
    for (const host of hosts) reservation.registrants.delete(host);
    this.tell(nsid, hosts, by, ReservationNotification.registrationPreempted);
    if (aborts) for (const host of this.hosts) if (hosts.includes(host.name)) host.abort(nsid);
  }

  /** Ends the reservation and all registrations. */
  clearOf(nsid: number, by: string): void {
    const reservation = this.get(nsid);
    const told = [...reservation.registrants.keys()];
    reservation.registrants.clear();
    this.hold(nsid, 0, undefined);
    this.tell(nsid, told, by, ReservationNotification.reservationPreempted);
  }

  private tell(nsid: number, hosts: readonly string[], by: string, type: number): void {
    for (const host of this.hosts) if (host.name !== by && hosts.includes(host.name)) host.notify(nsid, type);
  }
}
