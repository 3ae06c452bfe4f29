/** The interface of backends: ways to open a PCI function for DMA. Each backend has a file in this folder. */
import { closeAll } from "../../core/lifetime/close-all.js";
import type { Leased, Resource } from "../../core/lifetime/resource.js";
import type { DmaSpace } from "../../dma/space.js";
import type { DeviceIo } from "../../vfio/device-io.js";

/** An opened function: its two interfaces, and everything that was opened for them. */
export interface OpenedBackend {
  readonly io: DeviceIo;
  readonly space: DmaSpace;
  /** In closing order. The device is first, so that its DMA ends before its mappings do. */
  readonly resources: readonly Leased[];
  /** Runs after they are closed. */
  readonly after?: () => void;
  /** Completes the sentence that says why the backend was chosen. */
  readonly remark?: string;
}

/** A backend that opens a function of this host. */
export interface Backend {
  /** The name for users. */
  readonly name: string;
  /**
   * Opens a function, with an address space of its own.
   * @param bdf domain:bus:device.function
   * @param token of the physical function, a UUID
   * @throws SysError, UnsupportedError, ArgumentError with nothing left open
   */
  readonly open: (bdf: string, token: string | undefined) => OpenedBackend;
}

/** Takes charge of a resource until all steps have succeeded. */
export type Opened = <R extends Resource>(resource: R) => R;

/** Runs the steps of opening something. If a step fails, closes what the steps before it opened, newest first. */
export function opening<T>(steps: (opened: Opened) => T): T {
  const resources: Resource[] = [];
  try {
    return steps((resource) => {
      resources.unshift(resource);
      return resource;
    });
  } catch (error) {
    closeAll(resources, "undoing a failed open");
    throw error;
  }
}

/** The message of an error, or the text of another thrown value. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
