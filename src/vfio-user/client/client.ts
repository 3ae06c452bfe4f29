/** The client's side of vfio-user: a connection that is replaced when the server goes and comes back, or is changed. */
import { checkArray, checkBytes, checkFunction, checkInteger } from "../../core/check.js";
import { asError, DeviceGoneError, IovaError } from "../../core/errors.js";
import { checkLeased, Lease } from "../../core/lifetime/lease.js";
import { Resource } from "../../core/lifetime/resource.js";
import { Listeners, type ListenOptions, type Subscription } from "../../core/listeners.js";
import type { DevicePresence } from "../../vfio/device-io.js";
import { type Channel, VfioUserProtocolError } from "../protocol/channel.js";
import type { VfioUserCapabilities } from "../protocol/version.js";
import { Connection } from "./connection.js";
import type { Answer, ClientDma } from "./exchange.js";
import { parseVfioUserOptions, type ReconnectPlan, type VfioUserOptions } from "./options.js";

/** Whether the device behind a server starts from a reset ("new"), or receives the state of the one before ("moved"). */
export type ServerState = "new" | "moved";

/** "restoring": the connection works, and what the server before it knew is being set up again. */
type State = { readonly kind: "connected" | "restoring" } | { readonly kind: "gone"; readonly error: Error };

/** What the lease releases: the connection there is at the time, and the pause before the next attempt. */
interface Link {
  connection: Connection;
  timer: NodeJS.Timeout | undefined;
}

/**
 * A connection to a vfio-user server. A request blocks the thread until its answer is here, as an ioctl does, and at most
 * for the time limit; the server's own requests are answered meanwhile. The client disconnects from a server that breaks
 * the protocol. With `reconnect` it then tries to connect again, as it does when the server has gone.
 */
export class VfioUserClient extends Resource {
  /** Answers the server's DMA requests; set by the address space. */
  dma: ClientDma | undefined;
  private readonly link: Link;
  private state: State = { kind: "connected" };
  private readonly listeners = new Listeners<DevicePresence>();
  private readonly restorers: ((state: ServerState) => void)[] = [];

  private constructor(
    connection: Connection,
    /** Whether regions are mapped also from files that the server could cut short. */
    readonly trustServer: boolean,
    private readonly timeoutMs: number,
    private readonly plan: ReconnectPlan | undefined,
  ) {
    const link: Link = { connection, timer: undefined };
    super(
      new Lease(`vfio-user server ${connection.path}`, () => {
        clearTimeout(link.timer);
        link.connection.close();
      }),
    );
    this.link = link;
    this.watch(connection);
  }

  /**
   * Connects to the server that listens at `path`. Reconnecting begins only after this succeeded once.
   * @throws ConfigError, ArgumentError, SysError (no such socket, no listener, no permission), TimeoutError (no answer),
   *   BusyError (the server serves another client), VfioUserProtocolError (the server doesn't speak this protocol); nothing
   *   stays open
   */
  static connect(path: string, options: VfioUserOptions = {}): VfioUserClient {
    const { timeoutMs, trustServer, reconnect } = parseVfioUserOptions(options);
    const connection = new Connection(path, timeoutMs);
    try {
      connection.negotiate(undefined);
      return new VfioUserClient(connection, trustServer, timeoutMs, reconnect);
    } catch (error) {
      connection.close();
      if (!(error instanceof DeviceGoneError)) throw error;
      throw new VfioUserProtocolError(`${path}: the server hung up instead of sending its version`, {
        cause: error,
      });
    }
  }

  /** Path of the socket it is connected to. */
  get path(): string {
    return this.link.connection.path;
  }

  /** What the server said that it can do. A server that comes back may say something else. */
  get server(): VfioUserCapabilities {
    return this.link.connection.capabilities;
  }

  /** Whether the server is there. */
  get connected(): boolean {
    return this.state.kind !== "gone" && this.link.connection.failure === undefined && !this.closed;
  }

  /** Calls `listener`, from a microtask, when the server goes or comes back. @throws ArgumentError */
  onPresence(listener: (event: DevicePresence) => void, options?: ListenOptions): Subscription {
    return this.listeners.add(listener, options);
  }

  /**
   * Calls `restore` once the client has connected again, or to another server, before the listeners are called: it sets up
   * what the previous server knew. What it throws ends that attempt.
   * @internal
   */
  onReconnect(restore: (state: ServerState) => void): void {
    this.restorers.push(restore);
  }

  /**
   * Sends a request and waits for the answer.
   * @throws ArgumentError, DeviceGoneError, TimeoutError, VfioUserProtocolError (the connection is then closed), SysError with the errno
   *   that the server answered, UnsupportedError where it doesn't know the command, ClosedError; BusyError inside of
   *   {@link dma}, while the answer to another request is awaited
   */
  request(command: number, parts: readonly Uint8Array[] = [], fds: readonly number[] = []): Answer {
    checkRequest(command, parts);
    checkArray("fds", fds);
    for (const fd of fds) checkInteger("fds", fd, 0, 0x7fff_ffff);
    const connection = this.assertConnected();
    return this.watchingOver(connection, () => connection.request(command, parts, fds, this.dma));
  }

  /**
   * {@link request} without blocking the JavaScript thread. Other requests can be made meanwhile.
   * @throws as a rejection; ClosedError if the client is closed meanwhile
   */
  async requestAsync(command: number, parts: readonly Uint8Array[] = []): Promise<Answer> {
    checkRequest(command, parts);
    const connection = this.assertConnected();
    try {
      return await connection.requestAsync(command, parts);
    } catch (error) {
      this.noticeFailure(connection);
      throw error;
    }
  }

  /**
   * Changes to another server, and sets up there what the previous one knew. Users of this client don't notice.
   * Blocks the thread, and goes back to the previous server on a failure.
   * @param bring called with the new server connected: it transfers the device's state there
   * @throws as {@link connect} and request(), and what `bring` throws
   */
  moveTo(path: string, bring: () => void): void {
    checkFunction("bring", bring);
    const before = this.assertConnected();
    before.assertIdle();
    const connection = new Connection(path, this.timeoutMs);
    this.link.connection = connection;
    this.state = { kind: "restoring" };
    try {
      connection.negotiate(this.dma);
      this.restoreAll("moved");
      bring();
      this.watch(connection);
    } catch (error) {
      connection.close();
      this.link.connection = before;
      this.state = { kind: "connected" };
      this.restoreAll("moved");
      throw error;
    }
    this.state = { kind: "connected" };
    before.close();
  }

  private restoreAll(state: ServerState): void {
    for (const restore of this.restorers) restore(state);
  }

  /** Runs an exchange with the server, and notices if it ended the connection. */
  private watchingOver<T>(connection: Connection, exchange: () => T): T {
    try {
      return exchange();
    } catch (error) {
      this.noticeFailure(connection);
      throw error;
    }
  }

  private noticeFailure(connection: Connection): void {
    // While restoring, an error ends the attempt, and not what there was before.
    if (connection !== this.link.connection || this.state.kind !== "connected") return;
    if (connection.failure !== undefined) this.lose(connection.failure);
  }

  private lose(error: Error): void {
    this.state = { kind: "gone", error };
    const { plan } = this;
    this.announce({ kind: "gone", error, retrying: plan !== undefined });
    if (plan !== undefined) void this.reconnect(plan);
  }

  /** Calls the listeners later: never in the middle of the access that found it out. */
  private announce(event: DevicePresence): void {
    queueMicrotask(() => this.listeners.call(event, () => this.closed));
  }

  /** Notices what comes while no request waits: requests of the server, or its end. */
  private watch(connection: Connection): void {
    // The watch is never collected while the connection is open; a client that was forgotten has to be.
    const client = new WeakRef(this);
    connection.watch((channel) => client.deref()?.receive(connection, channel));
  }

  private receive(connection: Connection, channel: Channel): void {
    try {
      this.watchingOver(connection, () => connection.serveAll(channel, this.dma));
    } catch (error) {
      if (!(error instanceof IovaError)) throw error;
    }
  }

  /** Tries until the server is back or the time is up. */
  private async reconnect({ timeoutMs, firstPauseMs, longestPauseMs }: ReconnectPlan): Promise<void> {
    const { link } = this;
    const start = performance.now();
    for (let pause = firstPauseMs; ; pause = Math.min(2 * pause, longestPauseMs)) {
      // Closing the client clears the timer: the promise then stays pending, and this function never continues.
      await new Promise<void>((resolve) => {
        link.timer = setTimeout(resolve, pause);
      });
      try {
        await this.attempt();
        this.announce({ kind: "back" });
        return;
      } catch (error) {
        if (this.closed) return;
        if (!(error instanceof IovaError)) throw error;
        if (performance.now() - start < timeoutMs) continue;
        this.announce({ kind: "lost", error });
        return;
      }
    }
  }

  private async attempt(): Promise<void> {
    this.lease.assertOpen();
    const connection = new Connection(this.path, this.timeoutMs);
    this.link.connection = connection;
    try {
      await connection.negotiateAsync();
      this.lease.assertOpen();
    } catch (error) {
      connection.close();
      throw error;
    }
    this.state = { kind: "restoring" };
    try {
      this.restoreAll("new");
      this.watch(connection);
      this.state = { kind: "connected" };
    } catch (error) {
      connection.close();
      this.state = { kind: "gone", error: asError(error) };
      throw error;
    }
  }

  private assertConnected(): Connection {
    this.lease.assertOpen();
    const { connection } = this.link;
    const error = this.state.kind === "gone" ? this.state.error : connection.failure;
    if (error === undefined) return connection;
    throw error instanceof DeviceGoneError
      ? error
      : new DeviceGoneError(this.lease.label, undefined, { cause: error });
  }
}

/** @throws ArgumentError */
export function checkClient(client: VfioUserClient): void {
  checkLeased("client", client, "a VfioUserClient", { onReconnect: "function", request: "function" });
}

/** @throws ArgumentError */
function checkRequest(command: number, parts: readonly Uint8Array[]): void {
  checkInteger("command", command, 0, 0xffff);
  checkArray("parts", parts);
  for (const part of parts) checkBytes("parts", part);
}
