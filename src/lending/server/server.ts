/** A server that opens PCI functions for users who may not: it passes descriptors over a UNIX socket (`iova serve`). */
import { chmodSync } from "node:fs";
import {
  checkFunction,
  checkInteger,
  checkKeys,
  checkObject,
  checkString,
  MAX_TIMER_MS,
} from "../../core/check.js";
import { BusyError } from "../../core/errors.js";
import { Lease } from "../../core/lifetime/lease.js";
import { Resource } from "../../core/lifetime/resource.js";
import { parseBdf } from "../../pci/address/bdf.js";
import { readPciFunction } from "../../pci/sysfs.js";
import { type Peer, UnixListener, type UnixSocket, watchConnections } from "../../sys/unix-socket.js";
import type { Watch } from "../../sys/watch.js";
import { grantLine, type LentBackend, parseRequest } from "../messages.js";
import { Client, type ClientHost } from "./client.js";
import { assertLendable, openForLoan } from "./open-for-loan.js";
import { type LendingRule, LendingRules } from "./rules.js";

/** A function that is lent. */
export interface LentDevice {
  /** PCI address. */
  readonly bdf: string;
  /** Whose descriptors the client has. */
  readonly backend: LentBackend;
  /** The client's process when it connected. */
  readonly pid: number;
  /** Its user. */
  readonly uid: number;
}

/** What happens at a {@link DeviceServer}. */
export type LendingEvent = LoanEvent | RefusalEvent;

/** A function was lent, or has come back. */
export interface LoanEvent extends LentDevice {
  /** Which of the two. */
  readonly kind: "lent" | "returned";
}

/** A connection ended without a loan. */
export interface RefusalEvent {
  /** Tells it from a {@link LoanEvent}. */
  readonly kind: "refused";
  /** The client's process when it connected. */
  readonly pid: number;
  /** Its user. */
  readonly uid: number;
  /** In words for people; it may hold text that the client sent. */
  readonly reason: string;
}

/** Options of {@link DeviceServer}. */
export interface DeviceServerOptions {
  /** Who may borrow which functions. */
  readonly rules: readonly LendingRule[];
  /** Takes each event. */
  readonly onEvent?: ((event: LendingEvent) => void) | undefined;
  /** How long a connection may take to send its request, in milliseconds. 5000 by default. */
  readonly requestTimeoutMs?: number | undefined;
  /** Permissions of the socket: 0o666 by default, since the rules say who may borrow. */
  readonly mode?: number | undefined;
}

const DEFAULT_TIMEOUT_MS = 5000;
const DEFAULT_MODE = 0o666;
/** Connections that have borrowed nothing. Beyond this the oldest ends. */
const MAX_SILENT = 64;

/**
 * Opens PCI functions that are bound to vfio-pci, for users whom its rules name, and passes them the descriptors. The kernel says
 * who a client is (SO_PEERCRED, SO_PEERGROUPS). A function is lent to one process at a time, and so are the others of its IOMMU
 * group: that process may borrow them, too. It comes back when the connection ends. Clients open it as `served:PATH@BDF`. Everything happens in the event loop of the thread that
 * made the server.
 */
export class DeviceServer extends Resource {
  /** Path of the socket. */
  readonly path: string;
  private readonly desk: Desk;
  private readonly acceptWatch: Watch;

  /**
   * @param path where to listen; a path that a dead server left behind is taken over
   * @throws ArgumentError, UnsupportedError if a function of the rules isn't bound to a VFIO driver, BusyError if another server listens
   *   there, SysError
   */
  constructor(path: string, options: DeviceServerOptions) {
    checkString("path", path);
    checkObject("options", options);
    checkKeys("options", options, ["rules", "onEvent", "requestTimeoutMs", "mode"]);
    const { requestTimeoutMs = DEFAULT_TIMEOUT_MS, mode = DEFAULT_MODE, onEvent = () => {} } = options;
    checkInteger("requestTimeoutMs", requestTimeoutMs, 1, MAX_TIMER_MS);
    checkInteger("mode", mode, 0, 0o777);
    checkFunction("onEvent", onEvent);
    const rules = new LendingRules(options.rules);
    for (const bdf of rules.devices) assertLendable(bdf);
    const desk = new Desk(rules, requestTimeoutMs, onEvent);
    const listener = new UnixListener(path);
    const lease = listener.relinquish();
    super(
      new Lease(`device server at ${path}`, () => {
        desk.endAll();
        lease.close();
      }),
    );
    this.path = path;
    this.desk = desk;
    try {
      chmodSync(path, mode);
      this.acceptWatch = watchConnections(listener, (socket) => this.desk.begin(socket));
    } catch (error) {
      this.close();
      throw error;
    }
    this.acceptWatch.relinquish();
    this.retain(listener);
  }

  /** The functions that are lent now. */
  get lent(): readonly LentDevice[] {
    return this.desk.lent;
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

/** The connections, and what is lent to them. */
class Desk implements ClientHost {
  private readonly silent = new Set<Client>();
  private readonly loans = new Map<Client, LentDevice & { readonly group: string }>();

  constructor(
    private readonly rules: LendingRules,
    readonly requestTimeoutMs: number,
    private readonly tell: (event: LendingEvent) => void,
  ) {}

  get lent(): LentDevice[] {
    return [...this.loans.values()].map(({ group: _, ...loan }) => loan);
  }

  begin(socket: UnixSocket): void {
    const client = new Client(socket, socket.peer(), this);
    socket.relinquish();
    const [oldest] = this.silent;
    this.silent.add(client);
    if (this.silent.size > MAX_SILENT) oldest?.end("too many others connected");
  }

  request(client: Client, line: string): void {
    const { open, backend: wanted } = parseRequest(line);
    const bdf = parseBdf(open);
    const { peer } = client;
    this.rules.assertAllowed(bdf, peer);
    const group = groupOf(bdf);
    const beside = this.loansBeside(bdf, group, peer, wanted);
    const nodes = openForLoan(bdf, wanted ?? beside, beside === "type1");
    try {
      client.grant(grantLine(nodes.backend), nodes.fds);
    } finally {
      nodes.close();
    }
    const loan = { bdf, backend: nodes.backend, pid: peer.pid, uid: peer.uid };
    this.silent.delete(client);
    this.loans.set(client, { ...loan, group });
    this.tell({ kind: "lent", ...loan });
  }

  /**
   * For which backend the client has borrowed others of the group; undefined if nobody has one.
   * @throws BusyError: the client can't have this one, too
   */
  private loansBeside(
    bdf: string,
    group: string,
    { pid, uid }: Peer,
    wanted: LentBackend | undefined,
  ): LentBackend | undefined {
    let backend: LentBackend | undefined;
    for (const loan of this.loans.values()) {
      if (loan.group !== group) continue;
      if (loan.bdf === bdf) throw new BusyError(`${bdf} is lent to process ${loan.pid} already`);
      // A process of another pid namespace has number 0 here, as each of them.
      if (loan.pid !== pid || loan.uid !== uid || pid === 0)
        throw new BusyError(
          `${bdf} is in ${group} with ${loan.bdf}, which is lent to process ${loan.pid}: only that process can have both`,
        );
      if (wanted !== undefined && wanted !== loan.backend)
        throw new BusyError(
          `${bdf} is in ${group} with ${loan.bdf}, which process ${pid} has for ${loan.backend}: open it through that`,
        );
      ({ backend } = loan);
    }
    return backend;
  }

  ended(client: Client, why: string | undefined): void {
    const { pid, uid } = client.peer;
    const loan = this.loans.get(client);
    this.silent.delete(client);
    this.loans.delete(client);
    if (loan !== undefined) {
      const { group: _, ...device } = loan;
      this.tell({ kind: "returned", ...device });
    } else if (why !== undefined) this.tell({ kind: "refused", pid, uid, reason: why });
  }

  endAll(): void {
    for (const client of [...this.silent, ...this.loans.keys()]) client.end();
  }
}

/** What can be lent to one process only: the IOMMU group, or the function where there is none. */
function groupOf(bdf: string): string {
  const { iommuGroup } = readPciFunction(bdf);
  return iommuGroup === undefined ? bdf : `IOMMU group ${iommuGroup}`;
}
