/** An emulated device as its clients see it through faults. */
import {
  checkHost,
  type DeviceHost,
  type DeviceMigration,
  type DeviceVectors,
  type EmulatedBar,
  type EmulatedDevice,
  type IoEventWrite,
} from "../../vfio-user/server/emulated-device.js";
import { bestKind } from "../../vfio-user/server/vectors.js";
import type { FaultEngine, FaultyClient } from "./engine.js";
import { FaultyInterrupts } from "./interrupts.js";
import { FaultyMemory } from "./memory.js";

/** A client of the device, and what stands between the two. */
class FaultyConnection implements FaultyClient {
  readonly interrupts: FaultyInterrupts;
  /** What the device gets. */
  readonly host: DeviceHost;
  /** Whether the device knows of the client. */
  isTold = false;

  constructor(
    private readonly client: DeviceHost,
    vectors: DeviceVectors,
    faults: FaultEngine,
  ) {
    this.interrupts = new FaultyInterrupts(client, vectors, (vector) => faults.nextInterrupt(vector));
    this.host = {
      memory: new FaultyMemory(client.memory, faults),
      raise: (vector, kind = bestKind(vectors)) => this.interrupts.raise(vector, kind),
      disconnect: () => this.hangUp(),
    };
  }

  sendUnasked(vector: number): void {
    this.interrupts.sendUnasked(vector);
  }

  hangUp(): void {
    this.client.disconnect?.();
  }
}

/** A device with faults. Its BARs can't be mapped, so that faults see each access. */
export class FaultyDevice implements EmulatedDevice {
  readonly name: string;
  readonly configSpace: Uint8Array;
  readonly vectors: DeviceVectors;
  readonly bars: readonly (EmulatedBar | undefined)[];
  readonly migration?: DeviceMigration;
  private connection: FaultyConnection | undefined;

  constructor(
    private readonly device: EmulatedDevice,
    private readonly faults: FaultEngine,
  ) {
    this.name = device.name;
    this.configSpace = device.configSpace;
    this.vectors = device.vectors;
    if (device.migration !== undefined) this.migration = device.migration;
    this.bars = device.bars.map((bar, index) =>
      bar === undefined ? undefined : new FaultyBar(bar, index, faults),
    );
    faults.onReturn = () => this.tell();
  }

  readConfig(offset: number, target: Uint8Array): void {
    this.device.readConfig?.(offset, target);
    this.faults.readConfig(offset, target);
  }

  connect(host: DeviceHost): void {
    checkHost(host);
    this.connection = new FaultyConnection(host, this.vectors, this.faults);
    this.faults.client = this.connection;
    this.tell();
    this.faults.storms();
  }

  disconnect(): void {
    const { connection } = this;
    this.connection = undefined;
    this.faults.client = undefined;
    connection?.interrupts.end();
    if (connection?.isTold === true) this.device.disconnect();
  }

  reset(): void {
    if (!this.faults.isRemoved) this.device.reset();
  }

  close(): void {
    this.disconnect();
    this.device.close();
  }

  /** The device gets to know the client, unless it is unplugged. */
  private tell(): void {
    const { connection } = this;
    if (connection === undefined || connection.isTold || this.faults.isRemoved) return;
    connection.isTold = true;
    this.device.connect(connection.host);
  }
}

class FaultyBar implements EmulatedBar {
  constructor(
    private readonly bar: EmulatedBar,
    private readonly index: number,
    private readonly faults: FaultEngine,
  ) {}

  get sizeBytes(): number {
    return this.bar.sizeBytes;
  }

  get isIo(): boolean {
    return this.bar.isIo ?? false;
  }

  get is64Bit(): boolean {
    return this.bar.is64Bit ?? false;
  }

  get isPrefetchable(): boolean {
    return this.bar.isPrefetchable ?? false;
  }

  get ioEvents(): readonly IoEventWrite[] {
    return this.bar.ioEvents ?? [];
  }

  read(offset: number, target: Uint8Array): void {
    this.faults.read(this.index, offset, target, () => this.bar.read(offset, target));
  }

  write(offset: number, source: Uint8Array): void {
    this.faults.write(this.index, offset, source.length, () => this.bar.write(offset, source));
  }
}
