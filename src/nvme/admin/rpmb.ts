/** Replay Protected Memory Block: authenticated reads and writes of a target, by Security Send and Receive. */
import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { checkBytes, checkInteger, checkObject, checkU32 } from "../../core/check.js";
import { ArgumentError, IovaError, UnsupportedError } from "../../core/errors.js";
import type { AdminTarget } from "../command/admin-target.js";
import { type SecurityChannel, Turns } from "../command/security-channel.js";
import {
  RPMB_COUNTER_EXPIRED,
  RPMB_KEY_BYTES,
  RPMB_MAC_FROM,
  RPMB_PROTOCOL,
  RPMB_SECTOR_BYTES,
  RPMB_SPECIFIC,
  RPMB_UNIT_BYTES,
  type RpmbConfiguration,
  RpmbRequest,
  RpmbResult,
  rpmbConfiguration,
  rpmbFrame,
  rpmbSupport,
} from "../spec/rpmb.js";

const meanings: Readonly<Record<number, string>> = {
  [RpmbResult.generalFailure]: "general failure",
  [RpmbResult.authenticationFailure]: "authentication failure: the key is another one than the target's",
  [RpmbResult.counterFailure]: "counter failure: another program wrote meanwhile; try again",
  [RpmbResult.addressFailure]: "address failure: out of range, or of a wrong alignment",
  [RpmbResult.writeFailure]: "write failure",
  [RpmbResult.readFailure]: "read failure",
  [RpmbResult.keyNotProgrammed]: "no key was programmed; program one first",
  [RpmbResult.invalidConfiguration]: "invalid Device Configuration Block",
};

/** An RPMB target refused a request, or its response is not authentic. */
export class NvmeRpmbError extends IovaError {
  /** Result of the request, a value of {@link RpmbResult}; undefined: the response is not authentic. */
  readonly result: number | undefined;

  constructor(what: string, problem: string, result?: number) {
    super("ERR_IOVA_NVME", `${what}: ${problem}`);
    this.result = result;
  }
}

interface Request {
  readonly type: keyof typeof RpmbRequest;
  readonly address?: number;
  readonly sectors?: number;
  readonly writeCounter?: number;
  readonly data?: Uint8Array;
  /** Authenticates the request, of those that write. */
  readonly sign?: Uint8Array;
  /** Checks the response. */
  readonly verify?: Uint8Array | undefined;
  /** Sectors of data that the response has. */
  readonly receives?: number;
}

/** Sectors of the largest target that RPMBS can tell. */
const MOST_SECTORS = (256 * RPMB_UNIT_BYTES) / RPMB_SECTOR_BYTES;

const turns = new Turns();

/** Message authentication code of a frame with its data. */
const macOf = (key: Uint8Array, frame: Uint8Array): Uint8Array =>
  createHmac("sha256", key).update(frame.subarray(RPMB_MAC_FROM)).digest();

/**
 * A target of the Replay Protected Memory Block. Reads take the key, too: without it, nobody knows whether the controller
 * answered. No other program may use the target meanwhile.
 */
export class NvmeRpmb {
  /** @internal */
  constructor(
    private readonly controller: AdminTarget,
    private readonly channel: SecurityChannel,
    /** Number of the target. */
    readonly target: number,
  ) {}

  /** What the controller has (RPMBS). Without targets, all are 0. */
  get properties(): {
    /** Number of targets. */
    readonly targets: number;
    /** Authentication method; 0: HMAC SHA-256. */
    readonly authentication: number;
    /** Size of each target, in bytes. */
    readonly sizeBytes: number;
    /** Most bytes of one command. {@link read} and {@link write} send several. */
    readonly accessBytes: number;
  } {
    const word = new Uint8Array(4);
    new DataView(word.buffer).setUint32(0, this.controller.identify.rpmbs, true);
    const { targets, authentication, size, access } = rpmbSupport.decode(word);
    const unit = targets === 0 ? 0 : 1;
    return {
      targets,
      authentication,
      sizeBytes: unit * (size + 1) * RPMB_UNIT_BYTES,
      accessBytes: unit * (access + 1) * RPMB_SECTOR_BYTES,
    };
  }

  /**
   * Programs the key, once and for all: no command changes or removes it.
   * @param key 32 bytes
   * @throws UnsupportedError, ArgumentError, NvmeRpmbError, NvmeError, TimeoutError, DeviceGoneError, ClosedError
   */
  async programKey(key: Uint8Array): Promise<void> {
    await this.inTurn(() => this.exchange({ type: "programKey", data: checkKey(key) }));
  }

  /** The write counter. @throws as programKey() */
  async readCounter(key?: Uint8Array): Promise<number> {
    const verify = key === undefined ? undefined : checkKey(key);
    return (await this.inTurn(() => this.exchange({ type: "readCounter", verify }))).frame.writeCounter;
  }

  /**
   * Reads sectors of 512 bytes.
   * @param address the first sector
   * @param key checks that the controller answered, and that this is no old answer
   * @throws as programKey()
   */
  async read(address: number, sectors: number, key?: Uint8Array): Promise<Uint8Array> {
    const verify = key === undefined ? undefined : checkKey(key);
    this.assertInside(address, sectors);
    const whole = new Uint8Array(sectors * RPMB_SECTOR_BYTES);
    await this.inTurn(async () => {
      for (let at = 0; at < sectors; at += this.step) {
        const receives = Math.min(this.step, sectors - at);
        const asked = { address: address + at, sectors: receives, receives };
        const { data } = await this.exchange({ type: "readData", verify, ...asked });
        whole.set(data, at * RPMB_SECTOR_BYTES);
      }
    });
    return whole;
  }

  /**
   * Writes sectors of 512 bytes.
   * @param address the first sector
   * @param data whole sectors
   * @throws as programKey(). If one of several commands fails, those before it have written
   */
  async write(address: number, data: Uint8Array, key: Uint8Array): Promise<void> {
    const sign = checkKey(key);
    checkBytes("data", data);
    const sectors = data.length / RPMB_SECTOR_BYTES;
    if (!Number.isInteger(sectors))
      throw new ArgumentError(`data.length must be a multiple of ${RPMB_SECTOR_BYTES}, got ${data.length}`);
    this.assertInside(address, sectors);
    await this.inTurn(async () => {
      const counter = await this.exchange({ type: "readCounter", verify: sign });
      let { writeCounter } = counter.frame;
      for (let at = 0; at < sectors; at += this.step) {
        const count = Math.min(this.step, sectors - at);
        const piece = data.subarray(at * RPMB_SECTOR_BYTES, (at + count) * RPMB_SECTOR_BYTES);
        const asked = { address: address + at, sectors: count, writeCounter, data: piece };
        writeCounter = await this.change({ type: "writeData", ...asked, sign });
      }
    });
  }

  /** Reads the Device Configuration Block, which target 0 has. @throws as programKey() */
  async readConfiguration(key?: Uint8Array): Promise<RpmbConfiguration> {
    const verify = key === undefined ? undefined : checkKey(key);
    this.assertFirst();
    return rpmbConfiguration.decode((await this.inTurn(() => this.configuration(verify))).data);
  }

  /** Writes the Device Configuration Block. @param configuration fields left out are 0 @throws as programKey() */
  async writeConfiguration(configuration: Partial<RpmbConfiguration>, key: Uint8Array): Promise<void> {
    const sign = checkKey(key);
    this.assertFirst();
    checkObject("configuration", configuration);
    const data = rpmbConfiguration.encode(configuration);
    await this.inTurn(async () => {
      const { writeCounter } = (await this.configuration(sign)).frame;
      await this.change({ type: "writeConfiguration", sectors: 1, writeCounter, data, sign });
    });
  }

  private configuration(verify: Uint8Array | undefined): ReturnType<NvmeRpmb["exchange"]> {
    return this.exchange({ type: "readConfiguration", sectors: 1, receives: 1, verify });
  }

  /** Sectors of one command. */
  private get step(): number {
    const { accessBytes } = this.properties;
    const most = this.controller.maxTransferBytes - rpmbFrame.sizeBytes;
    return Math.max(1, Math.floor(Math.min(accessBytes, most) / RPMB_SECTOR_BYTES));
  }

  /** @returns the new write counter */
  private async change(request: Request & { readonly sign: Uint8Array; readonly writeCounter: number }) {
    const { frame } = await this.exchange({ ...request, verify: request.sign });
    const expected = request.writeCounter + 1;
    if (frame.writeCounter === expected) return expected;
    throw this.error(request.type, `the write counter is ${frame.writeCounter} instead of ${expected}`);
  }

  private async exchange({ type, data, sign, verify, receives = 0, ...fields }: Request) {
    const { target, channel } = this;
    const code = RpmbRequest[type];
    const protocol = { protocol: RPMB_PROTOCOL, specific: RPMB_SPECIFIC, nssf: target };
    const isKey = type === "programKey";
    const changes = isKey || sign !== undefined;
    const nonce = changes ? new Uint8Array(16) : randomBytes(16);
    const frame = rpmbFrame.encode({ target, type: code, nonce, ...fields });
    const body = isKey ? undefined : data;
    const sent = body === undefined ? frame : Buffer.concat([frame, body]);
    const mac = isKey ? data : sign === undefined ? undefined : macOf(sign, sent);
    if (mac !== undefined) sent.set(mac, rpmbFrame.fields.mac.offset);
    await channel.send(protocol, sent);
    if (changes) await channel.send(protocol, rpmbFrame.encode({ target, type: RpmbRequest.readResult }));
    const bytes = await channel.receive(protocol, rpmbFrame.sizeBytes + receives * RPMB_SECTOR_BYTES);
    const response = rpmbFrame.decode(bytes);
    if (response.type !== code << 8 || response.target !== target) {
      throw this.error(type, `the response is of type ${response.type} and target ${response.target}`);
    }
    const result = response.result & ~RPMB_COUNTER_EXPIRED;
    if (result !== RpmbResult.success) {
      const end = response.result === result ? "" : "; its write counter has ended";
      throw this.error(type, `${meanings[result] ?? `result ${result}`}${end}`, result);
    }
    if (!changes && !timingSafeEqual(response.nonce, nonce))
      throw this.error(type, "the response is an old one (nonce)");
    if (verify !== undefined && !timingSafeEqual(response.mac, macOf(verify, bytes)))
      throw this.error(type, "the response isn't authentic: the key differs, or somebody changed it (MAC)");
    return { frame: response, data: bytes.subarray(rpmbFrame.sizeBytes) };
  }

  private async inTurn<T>(work: () => Promise<T>): Promise<T> {
    const { targets, authentication } = this.properties;
    const { bdf } = this.controller;
    if (targets === 0) throw new UnsupportedError(`${bdf} has no RPMB targets (Identify Controller, RPMBS)`);
    if (this.target >= targets)
      throw new ArgumentError(`target must be 0 to ${targets - 1} on ${bdf}, got ${this.target}`);
    if (authentication !== 0)
      throw new UnsupportedError(`${bdf} uses authentication method ${authentication}, not HMAC SHA-256`);
    return await turns.take(this.controller, work);
  }

  private assertInside(address: number, sectors: number): void {
    checkU32("address", address);
    checkInteger("sectors", sectors, 1, MOST_SECTORS);
    const most = this.properties.sizeBytes / RPMB_SECTOR_BYTES;
    if (most > 0 && address + sectors > most) {
      throw new ArgumentError(
        `sectors ${address} to ${address + sectors - 1} are beyond the end of RPMB target ${this.target}, which has ${most}`,
      );
    }
  }

  private assertFirst(): void {
    if (this.target !== 0)
      throw new ArgumentError(
        `only RPMB target 0 has a Device Configuration Block, not target ${this.target}`,
      );
  }

  private error(type: string, problem: string, result?: number): NvmeRpmbError {
    return new NvmeRpmbError(
      `RPMB target ${this.target} of ${this.controller.bdf}, ${type}`,
      problem,
      result,
    );
  }
}

function checkKey(key: Uint8Array): Uint8Array {
  checkBytes("key", key);
  if (key.length !== RPMB_KEY_BYTES)
    throw new ArgumentError(`key must have ${RPMB_KEY_BYTES} bytes, got ${key.length}`);
  return key;
}
