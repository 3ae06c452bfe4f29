/** The zones of a zoned namespace and their states. */
import { NvmeStatus } from "../../../nvme/spec/status.js";
import { ZoneState } from "../../../nvme/spec/zoned.js";

/** The shape of a zoned namespace, in blocks, and its limits. */
export interface ZoneGeometry {
  readonly zoneSizeBlocks: number;
  /** Writable blocks of a zone; the rest of it is a gap. */
  readonly zoneCapacityBlocks: number;
  readonly zones: number;
  /** 0 for no limit. */
  readonly maxOpen: number;
  readonly maxActive: number;
}

/** The answer to a write to a zone: where it goes, or the status that refuses it. */
export interface ZoneGrant {
  status: number;
  lba: number;
}

/**
 * The zones of one namespace: state machine, write pointers, limits (ZNS 1.x, section "Zone State Machine"). It has no
 * data. Every change goes to `onChange`, so that it can be stored.
 */
export class ZoneSet {
  readonly states: Uint8Array;
  /** Blocks written, from the zone's start. */
  readonly written: Float64Array;
  private open = 0;
  private active = 0;

  constructor(
    readonly geometry: ZoneGeometry,
    private readonly onChange: (zone: number) => void,
  ) {
    this.states = new Uint8Array(geometry.zones).fill(ZoneState.empty);
    this.written = new Float64Array(geometry.zones);
  }

  /** Restores a stored zone. A zone that was open at power-off is closed, or empty if nothing was written. */
  restore(zone: number, state: number, written: number): void {
    const wasOpen = state === ZoneState.implicitlyOpened || state === ZoneState.explicitlyOpened;
    const known = wasOpen || stateNames.has(state);
    const held = Math.min(written, this.geometry.zoneCapacityBlocks);
    this.states[zone] = !known
      ? ZoneState.empty
      : wasOpen
        ? held > 0
          ? ZoneState.closed
          : ZoneState.empty
        : state;
    this.written[zone] = held;
    if (this.states[zone] === ZoneState.closed) this.active++;
  }

  /** Zones that are open, and how. */
  get opened(): [number, number][] {
    return [...this.states].flatMap((state, zone): [number, number][] =>
      isOpen(state) ? [[zone, state]] : [],
    );
  }

  /** Opens a zone again that restore() has closed. @returns false if it can't be open */
  reopen(zone: number, state: number): boolean {
    const before = this.states[zone];
    if (!isOpen(state) || (before !== ZoneState.closed && before !== ZoneState.empty)) return false;
    this.become(zone, state);
    return true;
  }

  zoneOf(lba: number): number {
    return Math.floor(lba / this.geometry.zoneSizeBlocks);
  }

  startOf(zone: number): number {
    return zone * this.geometry.zoneSizeBlocks;
  }

  /** Where the next write goes; for a full zone, the first block after its capacity. */
  writePointerOf(zone: number): number {
    return this.startOf(zone) + (this.written[zone] ?? 0);
  }

  /** Asks for a write at `lba`, or of an append (`lba` is then the zone's start), and moves the write pointer. */
  write(lba: number, blocks: number, append: boolean, grant: ZoneGrant): void {
    const zone = this.zoneOf(lba);
    const { zoneCapacityBlocks } = this.geometry;
    const written = this.written[zone] ?? 0;
    const pointer = this.startOf(zone) + written;
    grant.lba = pointer;
    if (append && lba !== this.startOf(zone)) grant.status = NvmeStatus.invalidField;
    else if (!append && lba - this.startOf(zone) + blocks > this.geometry.zoneSizeBlocks) {
      grant.status = NvmeStatus.zoneBoundaryError;
    } else {
      grant.status = this.writable(zone);
      if (grant.status === NvmeStatus.success) {
        if (!append && lba !== pointer) grant.status = NvmeStatus.zoneInvalidWrite;
        else if (written + blocks > zoneCapacityBlocks) grant.status = NvmeStatus.zoneBoundaryError;
        else grant.status = this.openFor(zone, ZoneState.implicitlyOpened);
      }
    }
  }

  /** Moves the write pointer, after the data of a granted write is stored. */
  advance(lba: number, blocks: number): void {
    const zone = this.zoneOf(lba);
    const written = (this.written[zone] ?? 0) + blocks;
    this.written[zone] = written;
    if (written >= this.geometry.zoneCapacityBlocks) this.become(zone, ZoneState.full);
    else this.onChange(zone);
  }

  /** Whether blocks can be read: not from an offline zone. */
  readable(lba: number, blocks: number): number {
    const last = this.zoneOf(lba + blocks - 1);
    for (let zone = this.zoneOf(lba); zone <= last; zone++) {
      if (this.states[zone] === ZoneState.offline) return NvmeStatus.zoneIsOffline;
    }
    return NvmeStatus.success;
  }

  openZone(zone: number): number {
    switch (this.states[zone]) {
      case ZoneState.explicitlyOpened:
        return NvmeStatus.success;
      case ZoneState.empty:
      case ZoneState.closed:
      case ZoneState.implicitlyOpened:
        return this.openFor(zone, ZoneState.explicitlyOpened);
      default:
        return NvmeStatus.invalidZoneStateTransition;
    }
  }

  closeZone(zone: number): number {
    switch (this.states[zone]) {
      case ZoneState.closed:
        return NvmeStatus.success;
      case ZoneState.implicitlyOpened:
      case ZoneState.explicitlyOpened:
        // Nothing was written: the zone stays as it was.
        this.become(zone, (this.written[zone] ?? 0) === 0 ? ZoneState.empty : ZoneState.closed);
        return NvmeStatus.success;
      default:
        return NvmeStatus.invalidZoneStateTransition;
    }
  }

  finishZone(zone: number): number {
    switch (this.states[zone]) {
      case ZoneState.full:
        return NvmeStatus.success;
      case ZoneState.empty:
        if (this.atActiveLimit()) return NvmeStatus.tooManyActiveZones;
        break;
      case ZoneState.implicitlyOpened:
      case ZoneState.explicitlyOpened:
      case ZoneState.closed:
        break;
      default:
        return NvmeStatus.invalidZoneStateTransition;
    }
    this.become(zone, ZoneState.full);
    return NvmeStatus.success;
  }

  resetZone(zone: number): number {
    switch (this.states[zone]) {
      case ZoneState.empty:
        return NvmeStatus.success;
      case ZoneState.implicitlyOpened:
      case ZoneState.explicitlyOpened:
      case ZoneState.closed:
      case ZoneState.full:
        this.written[zone] = 0;
        this.become(zone, ZoneState.empty);
        return NvmeStatus.success;
      default:
        return NvmeStatus.invalidZoneStateTransition;
    }
  }

  /** The host can take only read-only zones offline. */
  offlineZone(zone: number): number {
    if (this.states[zone] === ZoneState.offline) return NvmeStatus.success;
    if (this.states[zone] !== ZoneState.readOnly) return NvmeStatus.invalidZoneStateTransition;
    this.become(zone, ZoneState.offline);
    return NvmeStatus.success;
  }

  private writable(zone: number): number {
    switch (this.states[zone]) {
      case ZoneState.full:
        return NvmeStatus.zoneIsFull;
      case ZoneState.readOnly:
        return NvmeStatus.zoneIsReadOnly;
      case ZoneState.offline:
        return NvmeStatus.zoneIsOffline;
      default:
        return NvmeStatus.success;
    }
  }

  /** Opens a zone within the limits. To make room, it closes another zone that was opened implicitly. */
  private openFor(zone: number, state: number): number {
    const current = this.states[zone] ?? 0;
    if (isOpen(current)) {
      if (state === ZoneState.explicitlyOpened && current !== state) this.become(zone, state);
      return NvmeStatus.success;
    }
    if (current === ZoneState.empty && this.atActiveLimit()) return NvmeStatus.tooManyActiveZones;
    const { maxOpen } = this.geometry;
    if (maxOpen !== 0 && this.open >= maxOpen) {
      const victim = this.states.indexOf(ZoneState.implicitlyOpened);
      if (victim < 0) return NvmeStatus.tooManyOpenZones;
      this.closeZone(victim);
    }
    this.become(zone, state);
    return NvmeStatus.success;
  }

  private atActiveLimit(): boolean {
    const { maxActive } = this.geometry;
    return maxActive !== 0 && this.active >= maxActive;
  }

  private become(zone: number, state: number): void {
    const before = this.states[zone] ?? 0;
    this.open += Number(isOpen(state)) - Number(isOpen(before));
    this.active += Number(isActive(state)) - Number(isActive(before));
    this.states[zone] = state;
    this.onChange(zone);
  }
}

const stateNames: ReadonlySet<number> = new Set(Object.values(ZoneState));

function isOpen(state: number): boolean {
  return state === ZoneState.implicitlyOpened || state === ZoneState.explicitlyOpened;
}

function isActive(state: number): boolean {
  return isOpen(state) || state === ZoneState.closed;
}
