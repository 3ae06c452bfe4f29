/** What the controllers of an emulated NVM subsystem share besides the medium. */
import type { NamespaceChange } from "./commands/admin-service.js";
import { ReservationTable } from "./medium/reservation-table.js";

/** A controller, as the others of its subsystem know it. */
export interface SubsystemController {
  readonly id: number;
  /** Namespaces are other objects, or may be used or not used any more. */
  listNamespaces(): void;
  /** A command changed a namespace. */
  namespaceChanged(nsid: number, change: NamespaceChange): void;
}

/** An NVM subsystem: its reservations, and its controllers. */
export class Subsystem {
  readonly reservations = new ReservationTable();
  private readonly controllers = new Set<SubsystemController>();
  private lastId = 0;

  /** Identifiers of the controllers, in ascending order. */
  get controllerIds(): number[] {
    return [...this.controllers].map(({ id }) => id).sort((a, b) => a - b);
  }

  nextId(): number {
    this.lastId++;
    return this.lastId;
  }

  join(controller: SubsystemController): void {
    this.controllers.add(controller);
  }

  leave(controller: SubsystemController): void {
    this.controllers.delete(controller);
  }

  listNamespaces(): void {
    for (const each of this.controllers) each.listNamespaces();
  }

  namespaceChanged(nsid: number, change: NamespaceChange): void {
    for (const each of this.controllers) each.namespaceChanged(nsid, change);
  }
}
