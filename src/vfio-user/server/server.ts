/** The vfio-user server: accepts clients at a UNIX socket, and serves one at a time. */
import { DeviceUse } from "../../activity/page.js";
import { checkFunction, checkInteger, checkKeys, checkString, MAX_TIMER_MS } from "../../core/check.js";
import { Lease } from "../../core/lifetime/lease.js";
import { Resource } from "../../core/lifetime/resource.js";
import { MappingBudget } from "../../sys/mapping-budget.js";
import { UnixListener, type UnixSocket, watchConnections } from "../../sys/unix-socket.js";
import type { Watch } from "../../sys/watch.js";
import { ourCapabilities } from "../protocol/version.js";
import { checkDevice } from "./check-device.js";
import type { EmulatedDevice } from "./emulated-device.js";
import { MemoryNotices } from "./memory-notices.js";
import { Session, type SessionHost, type SessionOptions } from "./session.js";

/** Options of {@link VfioUserServer}. */
export interface VfioUserServerOptions {
  /**
   * Maps memory in files that can't be sealed, too. A client that truncates one ends this process (SIGBUS): only for trusted
   * clients. Left out, the server copies such memory if it is in tmpfs or hugetlbfs, and refuses other files.
   */
  readonly trustClients?: boolean | undefined;
  /**
   * Takes notices, of which each comes once: memory that the server refuses or has to copy. Left out, they are process
   * warnings of type `IovaVfioUserWarning`, which Node.js prints.
   */
  readonly onNotice?: ((notice: string) => void) | undefined;
  /** How long a client may take to receive an answer, in milliseconds. 5000 by default. */
  readonly sendTimeoutMs?: number | undefined;
  /** How long a connection may take to send its version, in milliseconds. 5000 by default. */
  readonly versionTimeoutMs?: number | undefined;
  /**
   * How many DMA mappings a client may have at a time: 65,535 by default, or fewer where the process can't hold as many
   * (vm.max_map_count).
   */
  readonly maxDmaMaps?: number | undefined;
}

/** Connections that have sent nothing yet. Beyond this the oldest ends. */
const MAX_SILENT = 16;
const DEFAULT_TIMEOUT_MS = 5000;

/**
 * Serves a device at a UNIX socket, to one client after the other. Everything happens in the event loop of the thread
 * that made it. What a client sends is checked; a client that breaks the protocol is disconnected, and the device told.
 */
export class VfioUserServer extends Resource {
  /** Path of the socket. */
  readonly path: string;
  private readonly sessions: Sessions;
  private readonly acceptWatch: Watch;

  /**
   * @param path where to listen; a path that a dead server left behind is taken over
   * @param device stays the caller's to close, after the server
   * @throws ArgumentError (also for a device that can't exist, such as vectors without a table), BusyError if another server listens there,
   *   SysError
   */
  constructor(path: string, device: EmulatedDevice, options: VfioUserServerOptions = {}) {
    checkString("path", path);
    checkKeys("options", options, [
      "trustClients",
      "onNotice",
      "sendTimeoutMs",
      "versionTimeoutMs",
      "maxDmaMaps",
    ] satisfies (keyof VfioUserServerOptions)[]);
    const { trustClients = false, sendTimeoutMs = DEFAULT_TIMEOUT_MS } = options;
    const { versionTimeoutMs = DEFAULT_TIMEOUT_MS, maxDmaMaps = ourCapabilities.maxDmaMaps } = options;
    const { onNotice = warn } = options;
    checkInteger("sendTimeoutMs", sendTimeoutMs, 1, MAX_TIMER_MS);
    checkInteger("versionTimeoutMs", versionTimeoutMs, 1, MAX_TIMER_MS);
    checkInteger("maxDmaMaps", maxDmaMaps, 1, ourCapabilities.maxDmaMaps);
    checkFunction("onNotice", onNotice);
    checkDevice(device);
    const listener = new UnixListener(path);
    const notices = new MemoryNotices(path, onNotice);
    const budget = new MappingBudget();
    const sessions = new Sessions(device, {
      ...{ trustClients, sendTimeoutMs, versionTimeoutMs, budget, notices },
      maxDmaMaps: Math.max(1, Math.min(maxDmaMaps, budget.left())),
    });
    const lease = listener.relinquish();
    const use = new DeviceUse();
    super(
      new Lease(`vfio-user server at ${path}`, () => {
        use.close();
        sessions.endAll();
        lease.close();
      }),
    );
    use.begin(`vfio-user:${path}`, "server");
    this.path = path;
    this.retain(listener);
    this.sessions = sessions;
    this.acceptWatch = watchConnections(listener, (socket) => this.sessions.begin(socket));
    this.acceptWatch.relinquish();
  }

  /** Whether anybody is connected. */
  get connected(): boolean {
    return this.sessions.count > 0;
  }

  /** Lets the client go, as if the device had been unplugged. The next one may come. */
  disconnect(): void {
    this.sessions.endAll();
  }

  /** Keeps the process alive while this server listens. The default. */
  ref(): this {
    this.acceptWatch.ref();
    return this;
  }

  /** The process may end although this server listens. */
  unref(): this {
    this.acceptWatch.unref();
    return this;
  }
}

function warn(notice: string): void {
  process.emitWarning(notice, { type: "IovaVfioUserWarning" });
}

/** The connections: one client that is served, and those that have sent nothing yet. */
class Sessions implements SessionHost {
  private active: Session | undefined;
  private readonly silent = new Set<Session>();

  constructor(
    readonly device: EmulatedDevice,
    readonly options: SessionOptions,
  ) {}

  get count(): number {
    return this.silent.size + (this.active === undefined ? 0 : 1);
  }

  begin(socket: UnixSocket): void {
    // While another client is served, too: the answer to its version then says that the server is busy.
    const [oldest] = this.silent;
    if (this.silent.size >= MAX_SILENT) oldest?.end();
    this.silent.add(new Session(socket, this));
  }

  claim(session: Session): boolean {
    // The client before may have gone unnoticed.
    this.active?.receive();
    if (this.active !== undefined) return false;
    this.silent.delete(session);
    this.active = session;
    return true;
  }

  ended(session: Session): void {
    this.silent.delete(session);
    if (this.active === session) this.active = undefined;
  }

  endAll(): void {
    this.active?.end();
    for (const session of [...this.silent]) session.end();
  }
}
