/** The namespaces that I/O commands can use, and what follows when one of them changes. */
import { AsyncEventInfo, BROADCAST_NSID, LogPageId } from "../../../nvme/spec/opcodes.js";
import { NvmeStatus } from "../../../nvme/spec/status.js";
import type { Inventory } from "../medium/inventory.js";
import type { EmulatedNamespace } from "../medium/namespace.js";
import type { NamespaceChange } from "./admin-service.js";
import type { AdminServices } from "./admin-services.js";
import type { MutableIoContext } from "./io/io-context.js";
import type { LogPages } from "./log-pages.js";
import { Notice, type Notices } from "./notices.js";

/** Lists the namespaces that I/O commands find by their id. */
export class NamespaceListing {
  constructor(
    private readonly inventory: Inventory,
    private readonly services: AdminServices,
    private readonly io: MutableIoContext,
    private readonly logPages: LogPages,
    private readonly notices: Notices,
  ) {}

  /** Lists them anew: namespaces are other objects, or commands to some are refused from now on, or not any more. */
  update(): void {
    const attached: (EmulatedNamespace | undefined)[] = [undefined];
    const refusals = new Map<number, number>();
    const isRefused = (nsid: number): boolean => {
      const refusal = this.services.ioRefusal(nsid);
      if (refusal !== NvmeStatus.success) refusals.set(nsid, refusal);
      return refusal !== NvmeStatus.success;
    };
    isRefused(BROADCAST_NSID);
    for (const namespace of this.inventory.all) {
      while (attached.length < namespace.nsid) attached.push(undefined);
      attached.push(namespace.attached && !isRefused(namespace.nsid) ? namespace : undefined);
    }
    this.io.attached = attached;
    this.io.refusals = refusals;
  }

  /** A command changed a namespace: lists them anew, and tells the host. */
  changed(nsid: number, change: NamespaceChange): void {
    this.update();
    this.services.namespaceChanged(nsid, change);
    this.logPages.namespaceChanged(nsid);
    const { namespaceAttributeChanged } = AsyncEventInfo.notice;
    this.notices.raise(Notice.namespaceAttributes, namespaceAttributeChanged, LogPageId.changedNamespaces);
  }
}
