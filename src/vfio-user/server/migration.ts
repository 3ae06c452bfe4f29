/** Migration of an emulated device: its states, and the stream that carries its state to another server. */
import { Errno } from "../../core/errno.js";
import { IovaError } from "../../core/errors.js";
import { struct, u32 } from "../../core/struct.js";
import {
  VFIO_DEVICE_STATE_ERROR,
  VFIO_DEVICE_STATE_RESUMING,
  VFIO_DEVICE_STATE_RUNNING,
  VFIO_DEVICE_STATE_STOP,
  VFIO_DEVICE_STATE_STOP_COPY,
} from "../../vfio/uapi-feature.js";
import { migrationData } from "../protocol/protocol.js";
import type { EmulatedConfigSpace } from "./config-space.js";
import { callDevice } from "./device-calls.js";
import type { DeviceMigration } from "./emulated-device.js";
import { Refusal } from "./refusal.js";
import type { Reply } from "./reply.js";

/** What the stream begins with; the configuration space and the device's own state follow. */
const streamHeader = struct("iova_device_state", {
  magic: u32,
  version: u32,
  config_bytes: u32,
  state_bytes: u32,
});
/** "iova" */
const MAGIC = 0x61766f69;
const VERSION = 1;

/** What a client may bring a device to. There is no pre-copy and no peer-to-peer state. */
const reachable: ReadonlySet<number> = new Set([
  VFIO_DEVICE_STATE_STOP,
  VFIO_DEVICE_STATE_RUNNING,
  VFIO_DEVICE_STATE_STOP_COPY,
  VFIO_DEVICE_STATE_RESUMING,
]);

/** The migration state machine of one session (enum vfio_device_mig_state): every way leads through STOP. */
export class ServerMigration {
  private current: number = VFIO_DEVICE_STATE_RUNNING;
  /** What is still to be read. */
  private outgoing = new Uint8Array(0);
  private incoming: Uint8Array[] = [];
  private incomingBytes = 0;

  /** @param onChange called when the device was stopped or started, or its configuration space loaded */
  constructor(
    private readonly device: DeviceMigration,
    private readonly config: EmulatedConfigSpace,
    private readonly onChange: () => void,
  ) {}

  get state(): number {
    return this.current;
  }

  /** Whether the device may DMA. */
  get running(): boolean {
    return this.current === VFIO_DEVICE_STATE_RUNNING;
  }

  /** @throws Refusal: EINVAL if there is no way, or the state that was written makes no sense */
  set(state: number): void {
    if (!reachable.has(state) || this.current === VFIO_DEVICE_STATE_ERROR) throw new Refusal(Errno.EINVAL);
    if (state === this.current) return;
    if (this.current !== VFIO_DEVICE_STATE_STOP) this.stop();
    if (state === VFIO_DEVICE_STATE_RUNNING) this.start();
    else if (state === VFIO_DEVICE_STATE_STOP_COPY) this.outgoing = this.save();
    this.current = state;
  }

  /** VFIO_USER_MIG_DATA_READ. @param maxBytes of data in the answer @throws Refusal */
  answerRead(payload: Uint8Array, maxBytes: number): Reply {
    const { size } = migrationData.decode(payload);
    if (size > maxBytes) throw new Refusal(Errno.EINVAL);
    const data = this.read(size);
    const { sizeBytes } = migrationData;
    return { parts: [migrationData.encode({ argsz: sizeBytes + data.length, size: data.length }), data] };
  }

  /** VFIO_USER_MIG_DATA_WRITE. @throws Refusal */
  answerWrite(payload: Uint8Array): Reply {
    const { size } = migrationData.decode(payload);
    const data = payload.subarray(migrationData.sizeBytes);
    if (data.length !== size) throw new Refusal(Errno.EINVAL);
    this.write(data);
    return {};
  }

  /** The next bytes of the state; fewer than asked for at its end. @throws Refusal */
  private read(sizeBytes: number): Uint8Array {
    if (this.current !== VFIO_DEVICE_STATE_STOP_COPY) throw new Refusal(Errno.EINVAL);
    const part = this.outgoing.subarray(0, sizeBytes);
    this.outgoing = this.outgoing.subarray(part.length);
    return part;
  }

  /** @throws Refusal */
  private write(data: Uint8Array): void {
    if (this.current !== VFIO_DEVICE_STATE_RESUMING) throw new Refusal(Errno.EINVAL);
    const most = streamHeader.sizeBytes + this.config.sizeBytes + this.device.maxStateBytes;
    if (this.incomingBytes + data.length > most) throw new Refusal(Errno.ENOSPC);
    this.incoming.push(data.slice());
    this.incomingBytes += data.length;
  }

  /** After the device's reset: from any state it runs. */
  reset(): void {
    this.forget();
    if (this.current !== VFIO_DEVICE_STATE_RUNNING) this.start();
  }

  /** To STOP, from anywhere. */
  private stop(): void {
    const from = this.current;
    this.current = VFIO_DEVICE_STATE_STOP;
    if (from === VFIO_DEVICE_STATE_RUNNING) {
      callDevice(() => this.device.stop());
      this.onChange();
    }
    const state = Buffer.concat(this.incoming);
    this.forget();
    if (from !== VFIO_DEVICE_STATE_RESUMING || this.load(state)) return;
    // Neither the old device nor a new one: a reset makes it one again.
    this.current = VFIO_DEVICE_STATE_ERROR;
    throw new Refusal(Errno.EINVAL);
  }

  private start(): void {
    this.current = VFIO_DEVICE_STATE_RUNNING;
    this.onChange();
    callDevice(() => this.device.start());
  }

  private save(): Uint8Array<ArrayBuffer> {
    const config = new Uint8Array(this.config.sizeBytes);
    this.config.read(0, config);
    const state = this.device.save();
    const header = streamHeader.encode({
      magic: MAGIC,
      version: VERSION,
      config_bytes: config.length,
      state_bytes: state.length,
    });
    return Uint8Array.from(Buffer.concat([header, config, state]));
  }

  /** @returns false, with nothing changed, where it makes no sense */
  private load(stream: Uint8Array): boolean {
    const { sizeBytes } = streamHeader;
    if (stream.length < sizeBytes) return false;
    const { magic, version, config_bytes, state_bytes } = streamHeader.decode(stream);
    const isWhole =
      magic === MAGIC &&
      version === VERSION &&
      config_bytes === this.config.sizeBytes &&
      stream.length === sizeBytes + config_bytes + state_bytes;
    const config = stream.subarray(sizeBytes, sizeBytes + config_bytes);
    if (!isWhole || !this.config.accepts(config)) return false;
    try {
      this.device.load(stream.slice(sizeBytes + config_bytes));
    } catch (error) {
      if (error instanceof IovaError) return false;
      throw error;
    }
    this.config.load(config);
    this.onChange();
    return true;
  }

  private forget(): void {
    this.outgoing = new Uint8Array(0);
    this.incoming = [];
    this.incomingBytes = 0;
  }
}
