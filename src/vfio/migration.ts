/** Migration of VFIO devices, and parts that vfio-user's migration shares. */
import { checkBytes, show } from "../core/check.js";
import { Errno } from "../core/errno.js";
import { ArgumentError, SysError } from "../core/errors.js";
import { Lease } from "../core/lifetime/lease.js";
import { Resource } from "../core/lifetime/resource.js";
import { adopt } from "../sys/descriptors.js";
import { ioctl } from "../sys/ioctl.js";
import { closing, read, write } from "../sys/syscalls.js";
import type { VfioDevice } from "./device.js";
import { callFeature, type Feature, hasFeature } from "./feature.js";
import {
  VFIO_DEVICE_FEATURE_MIG_DATA_SIZE,
  VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE,
  VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2,
  VFIO_DEVICE_FEATURE_MIGRATION,
  VFIO_DEVICE_STATE_ERROR,
  VFIO_DEVICE_STATE_PRE_COPY,
  VFIO_DEVICE_STATE_PRE_COPY_P2P,
  VFIO_DEVICE_STATE_RESUMING,
  VFIO_DEVICE_STATE_RUNNING,
  VFIO_DEVICE_STATE_RUNNING_P2P,
  VFIO_DEVICE_STATE_STOP,
  VFIO_DEVICE_STATE_STOP_COPY,
  VFIO_MIG_GET_PRECOPY_INFO,
  VFIO_MIGRATION_P2P,
  VFIO_MIGRATION_PRE_COPY,
  VFIO_MIGRATION_STOP_COPY,
  VFIO_PRECOPY_INFO_REINIT,
  vfio_device_feature_mig_data_size,
  vfio_device_feature_mig_state,
  vfio_device_feature_migration,
  vfio_precopy_info,
} from "./uapi-feature.js";

/** @internal */
export const MIGRATION: Feature = { id: VFIO_DEVICE_FEATURE_MIGRATION, name: "migration" };
/** @internal */
export const DEVICE_STATE: Feature = {
  id: VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE,
  name: "migration device state",
};
const DATA_SIZE: Feature = { id: VFIO_DEVICE_FEATURE_MIG_DATA_SIZE, name: "migration data size" };
const PRECOPY_INFO_V2: Feature = { id: VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2, name: "precopy info v2" };

/** Numbers of the states. */
const migrationStates = {
  error: VFIO_DEVICE_STATE_ERROR,
  stop: VFIO_DEVICE_STATE_STOP,
  running: VFIO_DEVICE_STATE_RUNNING,
  "stop-copy": VFIO_DEVICE_STATE_STOP_COPY,
  resuming: VFIO_DEVICE_STATE_RESUMING,
  "running-p2p": VFIO_DEVICE_STATE_RUNNING_P2P,
  "pre-copy": VFIO_DEVICE_STATE_PRE_COPY,
  "pre-copy-p2p": VFIO_DEVICE_STATE_PRE_COPY_P2P,
} as const;

/** States of a device in migration (enum vfio_device_mig_state). Only a reset leaves `error`. */
export type MigrationState = keyof typeof migrationStates;

/**
 * The name of a state.
 * @returns undefined if no state has this number
 * @internal
 */
export function migrationStateName(number: number): MigrationState | undefined {
  const names = Object.keys(migrationStates).filter(
    (name): name is MigrationState => name in migrationStates,
  );
  return names.find((name) => migrationStates[name] === number);
}

/** Migration states that the device supports. */
export interface MigrationSupport {
  /** The device can be stopped, saved and resumed (VFIO_MIGRATION_STOP_COPY). The kernel requires it. */
  readonly stopCopy: boolean;
  /** The device has states in which it doesn't start DMA to other devices (VFIO_MIGRATION_P2P). */
  readonly p2p: boolean;
  /** The device's state can be read while it runs (VFIO_MIGRATION_PRE_COPY). */
  readonly preCopy: boolean;
}

/**
 * Decodes the payload of VFIO_DEVICE_FEATURE_MIGRATION.
 * @internal
 */
export function migrationSupportOf(payload: Uint8Array): MigrationSupport {
  const flags = Number(vfio_device_feature_migration.decode(payload).flags & 0xffff_ffffn);
  return {
    stopCopy: (flags & VFIO_MIGRATION_STOP_COPY) !== 0,
    p2p: (flags & VFIO_MIGRATION_P2P) !== 0,
    preCopy: (flags & VFIO_MIGRATION_PRE_COPY) !== 0,
  };
}

/**
 * Encodes a state as the payload of VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE.
 * @throws ArgumentError if there is no such state
 * @internal
 */
export function encodeMigrationState(state: MigrationState): Uint8Array {
  const number =
    typeof state === "string" && Object.hasOwn(migrationStates, state) ? migrationStates[state] : undefined;
  if (number === undefined) {
    const known = Object.keys(migrationStates).join(", ");
    throw new ArgumentError(`${show(state)} is not a migration state: use one of ${known}`);
  }
  return vfio_device_feature_mig_state.encode({ device_state: number, data_fd: -1 });
}

/** A device's migration state machine, on any backend. */
export interface MigrationControl {
  /** The states that the device supports. */
  readonly support: MigrationSupport;
  /** The device's current state. */
  readonly state: MigrationState;
  /** Changes the state. @returns a stream if the new state has one */
  setState(state: MigrationState): MigrationStream | undefined;
}

/** A stream of a device's state: read it to save, write it to resume. */
export interface MigrationStream extends Disposable {
  /** @returns bytes read; 0 at the end; undefined if nothing is available now */
  read(target: Uint8Array): number | undefined;
  /** Writes all of `source`. */
  write(source: Uint8Array): void;
  /** Ends the stream. */
  close(): void;
}

/** Remaining data of a device in pre-copy. */
export interface PrecopyInfo {
  /** Bytes of the initial state not yet read. */
  readonly initialBytes: bigint;
  /** Bytes that have changed since they were read. */
  readonly dirtyBytes: bigint;
  /** The device has restarted its initial state; only after {@link Migration.enablePrecopyInfoV2}. */
  readonly reinitialised: boolean;
}

/** A stream of the device's state: read it to save, write it to resume. */
export class MigrationData extends Resource implements MigrationStream {
  constructor(
    /** The descriptor; owned by this object. */
    readonly fd: number,
    device: VfioDevice,
  ) {
    super(new Lease(`migration data of ${device.lease.label}`, closing(fd), device.lease));
    this.retain(device);
  }

  /**
   * Reads into `target`.
   * @returns bytes read; 0 at the end of the state; undefined if a device in pre-copy has no data now
   * @throws ClosedError, SysError
   */
  read(target: Uint8Array): number | undefined {
    this.lease.assertOpen();
    checkBytes("target", target);
    try {
      return read(this.fd, target, { object: this.lease.label }) ?? undefined;
    } catch (error) {
      if (error instanceof SysError && error.errno === Errno.ENOMSG) return undefined;
      throw error;
    }
  }

  /** Writes all of `source`. @throws ClosedError, SysError */
  write(source: Uint8Array): void {
    this.lease.assertOpen();
    checkBytes("source", source);
    for (let done = 0; done < source.length; ) {
      done += write(this.fd, source.subarray(done), { object: this.lease.label });
    }
  }

  /** VFIO_MIG_GET_PRECOPY_INFO. @throws ClosedError, SysError: EINVAL outside of pre-copy */
  precopyInfo(): PrecopyInfo {
    this.lease.assertOpen();
    const request = vfio_precopy_info.encode({});
    ioctl(this.fd, VFIO_MIG_GET_PRECOPY_INFO, request, { object: this.lease.label });
    const { flags, initial_bytes, dirty_bytes } = vfio_precopy_info.decode(request);
    return {
      initialBytes: initial_bytes,
      dirtyBytes: dirty_bytes,
      reinitialised: (flags & VFIO_PRECOPY_INFO_REINIT) !== 0,
    };
  }
}

/** A device's migration state machine. */
export class Migration implements MigrationControl {
  /** The states that the device supports. */
  readonly support: MigrationSupport;

  /** @throws UnsupportedError if the device can't be migrated; StateError, ClosedError, SysError */
  constructor(private readonly device: VfioDevice) {
    const answer = callFeature(device, MIGRATION, "get", vfio_device_feature_migration.encode({}));
    this.support = migrationSupportOf(answer.payload);
  }

  /** The device's current state. @throws ClosedError, SysError */
  get state(): MigrationState {
    const answer = callFeature(this.device, DEVICE_STATE, "get", vfio_device_feature_mig_state.encode({}));
    return migrationStateName(vfio_device_feature_mig_state.decode(answer.payload).device_state) ?? "error";
  }

  /**
   * Changes the state, through intermediate states if necessary.
   * @returns a data stream if the new state has one (stop-copy, pre-copy, resuming)
   * @throws ArgumentError, ClosedError, SysError: EINVAL if the current state doesn't allow it. Read `state` afterwards:
   *   the device may be in `error`
   */
  setState(state: MigrationState): MigrationData | undefined {
    const request = encodeMigrationState(state);
    const answer = callFeature(this.device, DEVICE_STATE, "set", request);
    const { data_fd } = vfio_device_feature_mig_state.decode(answer.payload);
    return data_fd < 0 ? undefined : new MigrationData(adopt(data_fd), this.device);
  }

  /** Estimated length of the state in bytes. @throws UnsupportedError, ClosedError, SysError */
  dataSize(): bigint {
    const answer = callFeature(this.device, DATA_SIZE, "get", vfio_device_feature_mig_data_size.encode({}));
    return vfio_device_feature_mig_data_size.decode(answer.payload).stop_copy_length;
  }

  /** Whether {@link enablePrecopyInfoV2} can work. */
  get hasPrecopyInfoV2(): boolean {
    return hasFeature(this.device, PRECOPY_INFO_V2, "set");
  }

  /** Makes precopyInfo() report restarts of the initial state. @throws UnsupportedError, SysError */
  enablePrecopyInfoV2(): void {
    callFeature(this.device, PRECOPY_INFO_V2, "set");
  }
}
