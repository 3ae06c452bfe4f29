/** Sessions of TCG Opal by Security Send and Receive: one method after the other. */
import { setTimeout as sleep } from "node:timers/promises";
import { IovaError } from "../../core/errors.js";
import type { SecurityChannel } from "../command/security-channel.js";
import { OPAL_PROTOCOL, OpalMethod, OpalParameter, OpalStatus, OpalUid } from "../spec/opal/numbers.js";
import {
  decodeOpal,
  encodeOpal,
  endOfSession,
  OpalFormatError,
  type OpalMessage,
  OpalNamed,
  type OpalSessionNumbers,
  type OpalValue,
  unwrapOpal,
  wrapOpal,
} from "../spec/opal/packet.js";

const meanings: Readonly<Record<number, string>> = {
  [OpalStatus.notAuthorized]: "NOT_AUTHORIZED: the password is wrong, or it gives no right to do this",
  [OpalStatus.spBusy]: "SP_BUSY: another session is open; try again when it has ended",
  [OpalStatus.spFailed]: "SP_FAILED",
  [OpalStatus.spDisabled]: "SP_DISABLED",
  [OpalStatus.spFrozen]: "SP_FROZEN",
  [OpalStatus.noSessionsAvailable]: "NO_SESSIONS_AVAILABLE: try again when another session has ended",
  [OpalStatus.invalidParameter]:
    "INVALID_PARAMETER: a value is out of range, or the state doesn't allow this",
  [OpalStatus.tperMalfunction]: "TPER_MALFUNCTION",
  [OpalStatus.authorityLockedOut]:
    "AUTHORITY_LOCKED_OUT: too many wrong passwords; turn the power off and on",
  [OpalStatus.fail]: "FAIL",
};

/** A method of TCG Opal was refused, or its reply isn't what it should be. */
export class NvmeOpalError extends IovaError {
  /** Status of the method, a value of {@link OpalStatus}; undefined: the reply is malformed, or there is none. */
  readonly status: number | undefined;

  constructor(what: string, problem: string, status?: number) {
    super("ERR_IOVA_NVME", `${what}: ${problem}`);
    this.status = status;
  }
}

/** How long a method may take: a controller says that it isn't done by an empty reply. */
const MOST_REPLIES = 1200;
const PAUSE_MS = 50;
const REPLY_BYTES = 2048;
/** The host's number of a session. */
const HOST_SESSION = 0x41;
const MANAGER: OpalSessionNumbers = { tsn: 0, hsn: 0 };

/** An open session with a security provider (SP). */
export class OpalSession {
  private constructor(
    private readonly channel: SecurityChannel,
    private readonly comId: number,
    private readonly name: string,
    private readonly numbers: OpalSessionNumbers,
  ) {}

  /**
   * @param name of the controller, for errors
   * @param provider UID of the SP
   * @param authority who signs in, and the password; nobody by default
   * @throws NvmeOpalError, NvmeError
   */
  static async start(
    channel: SecurityChannel,
    comId: number,
    name: string,
    provider: string,
    authority?: { readonly uid: string; readonly pin: Uint8Array },
  ): Promise<OpalSession> {
    const manager = new OpalSession(channel, comId, name, MANAGER);
    const signed =
      authority === undefined
        ? []
        : [
            new OpalNamed(OpalParameter.challenge, authority.pin),
            new OpalNamed(OpalParameter.authority, Buffer.from(authority.uid, "hex")),
          ];
    const values = [HOST_SESSION, Buffer.from(provider, "hex"), 1, ...signed];
    const what = "StartSession";
    const reply = await manager.exchange(
      what,
      encodeOpal(values, 0, { object: OpalUid.sessionManager, method: OpalMethod.startSession }),
    );
    manager.check(what, reply);
    const [hsn, tsn] = reply.values;
    if (hsn !== HOST_SESSION || typeof tsn !== "number" || reply.method !== OpalMethod.syncSession)
      throw manager.error(what, "the reply is of another session");
    return new OpalSession(channel, comId, name, { tsn, hsn });
  }

  /** Calls a method. @param what its name, for errors @throws NvmeOpalError, NvmeError */
  async call(
    what: string,
    object: string,
    method: string,
    values: readonly OpalValue[] = [],
  ): Promise<readonly OpalValue[]> {
    const reply = await this.exchange(what, encodeOpal(values, 0, { object, method }));
    this.check(what, reply);
    return reply.values;
  }

  /** Reads columns of an object. @returns values by column @throws NvmeOpalError, NvmeError */
  async get(object: string, from: number, to: number): Promise<ReadonlyMap<number, OpalValue>> {
    const cells = [
      new OpalNamed(OpalParameter.startColumn, from),
      new OpalNamed(OpalParameter.endColumn, to),
    ];
    const [row] = await this.call("Get", object, OpalMethod.get, [cells]);
    const found = new Map<number, OpalValue>();
    if (Array.isArray(row))
      for (const each of row) if (each instanceof OpalNamed) found.set(each.name, each.value);
    return found;
  }

  /** Changes columns of an object. @throws NvmeOpalError, NvmeError */
  async set(object: string, values: readonly (readonly [column: number, value: OpalValue])[]): Promise<void> {
    const row = values.map(([column, value]) => new OpalNamed(column, value));
    await this.call("Set", object, OpalMethod.set, [new OpalNamed(OpalParameter.values, row)]);
  }

  /** Ends the session. @throws NvmeOpalError, NvmeError */
  async end(): Promise<void> {
    const reply = await this.exchange("end of session", endOfSession);
    if (!reply.endsSession) throw this.error("end of session", "the session goes on");
  }

  private async exchange(what: string, tokens: Uint8Array): Promise<OpalMessage> {
    const { channel, comId, numbers } = this;
    const protocol = { protocol: OPAL_PROTOCOL, specific: comId };
    await channel.send(protocol, wrapOpal(comId, numbers, tokens));
    for (let replies = 0; replies < MOST_REPLIES; replies++) {
      const bytes = await channel.receive(protocol, REPLY_BYTES);
      try {
        const packet = unwrapOpal(bytes);
        if (packet === undefined) {
          await sleep(PAUSE_MS);
          continue;
        }
        if (packet.tsn !== numbers.tsn || packet.hsn !== numbers.hsn)
          throw new OpalFormatError(`it is of session ${packet.tsn}/${packet.hsn}`);
        return decodeOpal(packet.tokens);
      } catch (error) {
        if (error instanceof OpalFormatError)
          throw this.error(what, `the reply is malformed: ${error.message}`);
        throw error;
      }
    }
    throw this.error(what, `there was no reply within ${(MOST_REPLIES * PAUSE_MS) / 1000} s`);
  }

  private check(what: string, { status, endsSession }: OpalMessage): void {
    if (endsSession) throw this.error(what, "the controller ended the session; try again");
    if (status !== OpalStatus.success)
      throw this.error(what, meanings[status] ?? `status 0x${status.toString(16)}`, status);
  }

  private error(what: string, problem: string, status?: number): NvmeOpalError {
    return new NvmeOpalError(`TCG Opal of ${this.name}, ${what}`, problem, status);
  }
}
