/** Migration of a device behind a vfio-user server. */
import { checkBytes, checkInteger, checkString } from "../../core/check.js";
import { Lease } from "../../core/lifetime/lease.js";
import { Resource } from "../../core/lifetime/resource.js";
import {
  DEVICE_STATE,
  encodeMigrationState,
  MIGRATION,
  type MigrationControl,
  type MigrationState,
  type MigrationStream,
  type MigrationSupport,
  migrationStateName,
  migrationSupportOf,
} from "../../vfio/migration.js";
import { vfio_device_feature_mig_state, vfio_device_feature_migration } from "../../vfio/uapi-feature.js";
import { Command, migrationData } from "../protocol/protocol.js";
import { checkUserDevice, type VfioUserDevice } from "./device.js";
import { callFeature } from "./feature.js";

const SCHEME = "vfio-user:";
const CHUNK_BYTES = 1024 * 1024;

/** States in which data is read or written. */
const streaming: ReadonlySet<MigrationState> = new Set(["stop-copy", "pre-copy", "resuming"]);

/** The device's state as a stream of bytes, in messages (VFIO_USER_MIG_DATA_READ and WRITE). */
export class VfioUserMigrationData extends Resource implements MigrationStream {
  constructor(private readonly device: VfioUserDevice) {
    super(new Lease(`migration data of ${device.lease.label}`, () => {}, device.lease));
    this.retain(device);
  }

  /**
   * Reads into `target`.
   * @returns bytes read; fewer than there is room for only at the end of the state
   * @throws ClosedError, VfioUserProtocolError, DeviceGoneError, TimeoutError; SysError: EINVAL in another state
   */
  read(target: Uint8Array): number {
    this.lease.assertOpen();
    checkBytes("target", target);
    const { sizeBytes } = migrationData;
    for (let done = 0; ; ) {
      const size = Math.min(this.device.maxTransferBytes, target.length - done);
      if (size === 0) return done;
      const request = migrationData.encode({ argsz: sizeBytes + size, size });
      const answer = this.device.request(Command.migDataRead, [request]);
      const told = answer.length < sizeBytes ? undefined : migrationData.decode(answer).size;
      if (told === undefined || told > size || answer.length !== sizeBytes + told) {
        throw this.device.protocolError(
          `${answer.length} bytes of migration data for a request of at most ${size}`,
        );
      }
      target.set(answer.subarray(sizeBytes), done);
      done += told;
      if (told < size) return done;
    }
  }

  /** Writes all of `source`. @throws as read(); SysError: ENOSPC if the device has no such long state */
  write(source: Uint8Array): void {
    this.lease.assertOpen();
    checkBytes("source", source);
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

  /** @throws ArgumentError; UnsupportedError where the device can't be migrated; SysError, DeviceGoneError, TimeoutError, ClosedError */
  constructor(private readonly device: VfioUserDevice) {
    checkUserDevice(device);
    const { sizeBytes } = vfio_device_feature_migration;
    const data = callFeature(device, MIGRATION, "get", new Uint8Array(0), sizeBytes);
    this.support = migrationSupportOf(data);
  }

  /** The state the device is in. @throws VfioUserProtocolError, SysError, DeviceGoneError, TimeoutError, ClosedError */
  get state(): MigrationState {
    const { sizeBytes } = vfio_device_feature_mig_state;
    const data = callFeature(this.device, DEVICE_STATE, "get", new Uint8Array(0), sizeBytes);
    const { device_state } = vfio_device_feature_mig_state.decode(data);
    const name = migrationStateName(device_state);
    if (name === undefined) throw this.device.protocolError(`migration state ${device_state}`);
    return name;
  }

  /**
   * Brings the device into a state, through those in between.
   * @returns the state's data stream where it begins one (stop-copy, pre-copy, resuming)
   * @throws ArgumentError; SysError: EINVAL if there is no way from the present state, or what was written is no state of
   *   this device. Read `state` then: a device may be left in `error`
   */
  setState(state: MigrationState): VfioUserMigrationData | undefined {
    const request = encodeMigrationState(state);
    callFeature(this.device, DEVICE_STATE, "set", request, request.length);
    return streaming.has(state) ? new VfioUserMigrationData(this.device) : undefined;
  }

  /**
   * Moves the device to another server, under the driver that uses it: state, memory, interrupts, and what of its registers is
   * mapped. The driver doesn't notice. No other thread may ring doorbells meanwhile.
   * @param address `vfio-user:PATH`, or the path alone: a server of a device of the same kind, without a client
   * @throws ArgumentError, and as setState() and PciDevice.open(); the device then goes on where it was
   */
  moveTo(address: string): void {
    const { device } = this;
    checkString("address", address);
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
        // A Uint8Array: slice() of a Buffer doesn't copy.
        if (count < chunkBytes) return Uint8Array.from(Buffer.concat(parts));
      }
    } finally {
      stream?.close();
    }
  }
}
