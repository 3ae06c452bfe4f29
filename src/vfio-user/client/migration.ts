import { checkInteger } from "../../core/check.js";
import { ArgumentError } from "../../core/errors.js";
import { Lease } from "../../core/lifetime/lease.js";
import { Resource } from "../../core/lifetime/resource.js";
import type { Feature } from "../../vfio/feature.js";
import {
  type MigrationControl,
  type MigrationState,
  type MigrationStream,
  type MigrationSupport,
  migrationStateName,
  migrationStates,
} from "../../vfio/migration.js";
import {
  VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE,
  VFIO_DEVICE_FEATURE_MIGRATION,
  VFIO_MIGRATION_P2P,
  VFIO_MIGRATION_PRE_COPY,
  VFIO_MIGRATION_STOP_COPY,
  vfio_device_feature_mig_state,
  vfio_device_feature_migration,
} from "../../vfio/uapi-feature.js";
import { Command, migrationData } from "../protocol/protocol.js";
import type { VfioUserDevice } from "./device.js";
import { callFeature } from "./feature.js";

const SCHEME = "vfio-user:";
const CHUNK_BYTES = 1024 * 1024;
const MIGRATION: Feature = { id: VFIO_DEVICE_FEATURE_MIGRATION, name: "migration" };
const DEVICE_STATE: Feature = { id: VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, name: "migration device state" };

/** States in which data is read or written. */
const streaming: ReadonlySet<MigrationState> = new Set(["stop-copy", "pre-copy", "resuming"]);

/** The device's state as a stream of bytes, in messages (VFIO_USER_MIG_DATA_READ and WRITE). */
export class VfioUserMigrationData extends Resource implements MigrationStream {
  constructor(private readonly device: VfioUserDevice) {
    super(new Lease(`migration data of ${device.lease.label}`, () => {}, device.lease));
    this.keep(device);
  }

  /**
   * Reads into `target`.
   * @returns bytes read; fewer than there is room for only at the end of the state
   * @throws ClosedError, VfioUserProtocolError, DeviceGoneError, TimeoutError; SysError: EINVAL in another state
   */
  read(target: Uint8Array): number {
    this.lease.assertOpen();
    const { sizeBytes } = migrationData;
    for (let done = 0; ; ) {
      const size = Math.min(this.device.maxTransferBytes, target.length - done);
      if (size === 0) return done;
      const request = migrationData.encode({ argsz: sizeBytes + size, size });
      const answer = this.device.request(Command.migDataRead, [request]);
      const told = answer.length < sizeBytes ? undefined : migrationData.decode(answer).size;
      if (told === undefined || told > size || answer.length !== sizeBytes + told) {
        throw this.device.lie(
          `${answer.length} bytes of migration data where at most ${size} were asked for`,
        );
      }
      target.set(answer.subarray(sizeBytes), done);
      done += told;
      if (told < size) return done;
    }
  }

  /** Writes all of `source`. @throws as read(); SysError: ENOSPC where the device has no such long state */
  write(source: Uint8Array): void {
    this.lease.assertOpen();
    const most = this.device.maxTransferBytes;
    for (let done = 0; done < source.length; done += most) {
      const part = source.subarray(done, done + most);
      const header = migrationData.encode({
        argsz: migrationData.sizeBytes + part.length,
        size: part.length,
      });
      this.device.request(Command.migDataWrite, [header, part]);
    }
  }
}

/** The migration state machine of a device behind a vfio-user server; as `Migration` is of one behind VFIO. */
export class VfioUserMigration implements MigrationControl {
  /** What the device can do. */
  readonly support: MigrationSupport;

  /** @throws UnsupportedError where the device can't be migrated; SysError, DeviceGoneError, TimeoutError, ClosedError */
  constructor(private readonly device: VfioUserDevice) {
    const { sizeBytes } = vfio_device_feature_migration;
    const data = callFeature(device, MIGRATION, "get", new Uint8Array(0), sizeBytes);
    const flags = Number(vfio_device_feature_migration.decode(data).flags & 0xffff_ffffn);
    this.support = {
      stopCopy: (flags & VFIO_MIGRATION_STOP_COPY) !== 0,
      p2p: (flags & VFIO_MIGRATION_P2P) !== 0,
      preCopy: (flags & VFIO_MIGRATION_PRE_COPY) !== 0,
    };
  }

  /** The state the device is in. @throws VfioUserProtocolError, SysError, DeviceGoneError, TimeoutError, ClosedError */
  get state(): MigrationState {
    const { sizeBytes } = vfio_device_feature_mig_state;
    const data = callFeature(this.device, DEVICE_STATE, "get", new Uint8Array(0), sizeBytes);
    const { device_state } = vfio_device_feature_mig_state.decode(data);
    const name = migrationStateName(device_state);
    if (name === undefined) throw this.device.lie(`migration state ${device_state}`);
    return name;
  }

  /**
   * Brings the device into a state, through those in between.
   * @returns the state's data stream where it begins one (stop-copy, pre-copy, resuming)
   * @throws ArgumentError; SysError: EINVAL where there is no way from the present state, or what was written is no state of
   *   this device. Read `state` then: a device may be left in `error`
   */
  setState(state: MigrationState): VfioUserMigrationData | undefined {
    const number = migrationStates[state];
    if (number === undefined) throw new ArgumentError(`${JSON.stringify(state)} is no migration state`);
    const { sizeBytes } = vfio_device_feature_mig_state;
    const request = vfio_device_feature_mig_state.encode({ device_state: number, data_fd: -1 });
    callFeature(this.device, DEVICE_STATE, "set", request, sizeBytes);
    return streaming.has(state) ? new VfioUserMigrationData(this.device) : undefined;
  }

  /**
   * Moves the device to another server, under the driver that uses it: state, memory, interrupts, and what of its registers is
   * mapped. The driver doesn't notice; the server before is left. Nothing may ring doorbells on other threads meanwhile.
   * @param address `vfio-user:PATH`, or the path alone: a server of a device like this, which nobody uses
   * @throws ArgumentError, and as setState() and PciDevice.open(); the device then goes on where it was
   */
  moveTo(address: string): void {
    const { device } = this;
    const path = address.startsWith(SCHEME) ? address.slice(SCHEME.length) : address;
    try {
      const state = this.save(CHUNK_BYTES);
      device.moveTo(path, () => {
        const target = new VfioUserMigration(device);
        using stream = target.setState("resuming");
        stream?.write(state);
        target.setState("running");
      });
    } catch (error) {
      if (device.connected) this.setState("running");
      throw error;
    }
  }

  /** All of a device's state, which is stopped by that. @throws as setState(), and {@link VfioUserMigrationData.read} */
  save(chunkBytes = 64 * 1024): Uint8Array {
    checkInteger("chunkBytes", chunkBytes, 1, 2 ** 30);
    const stream = this.setState("stop-copy");
    const parts: Uint8Array[] = [];
    try {
      for (;;) {
        const chunk = new Uint8Array(chunkBytes);
        const count = stream?.read(chunk) ?? 0;
        parts.push(chunk.subarray(0, count));
        // No Buffer: slice() of one copies nothing.
        if (count < chunkBytes) return Uint8Array.from(Buffer.concat(parts));
      }
    } finally {
      stream?.close();
    }
  }
}
