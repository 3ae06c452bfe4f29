/** Measures many mappings: against one large mapping, removed in one call, and given to a second address space. */

import { IovaError, SysError } from "../../core/errors.js";
import { storeU64 } from "../../core/struct.js";
import type { Ioas } from "../../iommufd/ioas.js";
import {
  IOMMU_IOAS_COPY,
  IOMMU_IOAS_MAP_READABLE,
  IOMMU_IOAS_MAP_WRITEABLE,
  iommu_ioas_copy,
} from "../../iommufd/uapi.js";
import { PreparedIoctl } from "../../sys/ioctl.js";
import type { MappedMemory } from "../../sys/memory.js";
import { type AddressSpace, openAddressSpace } from "./address-space.js";
import { type BareCalls, bareIoas } from "./bare.js";
import { pinnedAndLocked } from "./machine.js";
import type { ComparedBackend, CompareReport, NotMeasured } from "./report.js";
import { SampleBook } from "./statistics.js";
import { elapsed } from "./timing.js";

const PIECE_BYTES = 4096;

type Sample =
  | "manyMap"
  | "manyUnmap"
  | "oneMap"
  | "oneUnmap"
  | "inOneCall"
  | CompareReport["secondSpace"][number]["method"];

/** Maps all of `memory` in pieces. */
function fill(bare: BareCalls, memory: MappedMemory): void {
  for (let at = 0, slot = 0; at < memory.sizeBytes; at += PIECE_BYTES, slot++) {
    bare.map(slot, memory.address + at, PIECE_BYTES);
  }
}

function empty(bare: BareCalls, memory: MappedMemory): void {
  for (let slot = 0; slot < memory.sizeBytes / PIECE_BYTES; slot++) bare.unmap(slot, PIECE_BYTES);
}

export class FillingMeasurement {
  private readonly book = new SampleBook<{ readonly backend: ComparedBackend; readonly sample: Sample }>();
  private readonly accounts: CompareReport["accounting"] = [];
  private readonly complained = new Set<string>();

  constructor(
    /** Of ordinary pages. */
    private readonly memory: MappedMemory,
    /** A second device in another IOMMU group. */
    private readonly second: string | undefined,
    private readonly notMeasured: NotMeasured[],
  ) {}

  /** One round. Nothing is mapped before or after it. */
  measure(backend: ComparedBackend, space: AddressSpace): void {
    const steps: readonly [string, () => void][] = [
      ["many small mappings against a large one", () => this.manyOrOne(backend, space)],
      ["unmapping all in one call", () => this.unmapAll(backend, space)],
      ["a second address space", () => this.secondSpace(backend, space)],
      ["accounting of pinned memory", () => this.account(backend, space)],
    ];
    for (const [what, step] of steps) {
      try {
        step();
      } catch (error) {
        if (!(error instanceof IovaError)) throw error;
        space.unmapAll();
        this.complain(what, backend, error.message);
      }
    }
  }

  results(): Pick<CompareReport, "manyOrOne" | "unmapAll" | "secondSpace" | "accounting"> {
    const backends = [...new Set(this.book.keys().map(({ backend }) => backend))];
    const totalBytes = this.memory.sizeBytes;
    const mappings = totalBytes / PIECE_BYTES;
    const manyOrOne: CompareReport["manyOrOne"] = [];
    const unmapAll: CompareReport["unmapAll"] = [];
    const secondSpace: CompareReport["secondSpace"] = [];
    for (const backend of backends) {
      const of = (sample: Sample) => this.book.get({ backend, sample });
      const manyMap = of("manyMap");
      const manyUnmap = of("manyUnmap");
      const oneMap = of("oneMap");
      const oneUnmap = of("oneUnmap");
      if (manyMap && manyUnmap && oneMap && oneUnmap) {
        const pieceBytes = PIECE_BYTES;
        manyOrOne.push({ backend, totalBytes, pieceBytes, manyMap, manyUnmap, oneMap, oneUnmap });
        unmapAll.push({
          backend,
          mappings,
          sizeBytes: PIECE_BYTES,
          inOneCall: of("inOneCall") ?? null,
          oneByOne: manyUnmap,
        });
      }
      for (const method of ["map-again", "copy", "attach"] as const) {
        const time = of(method);
        if (time) secondSpace.push({ backend, method, mappings, sizeBytes: PIECE_BYTES, time });
      }
    }
    return { manyOrOne, unmapAll, secondSpace, accounting: this.accounts };
  }

  private time(backend: ComparedBackend, sample: Sample, work: () => void): void {
    this.book.add({ backend, sample }, elapsed(work));
  }

  private manyOrOne(backend: ComparedBackend, { bare }: AddressSpace): void {
    const { memory } = this;
    this.time(backend, "manyMap", () => fill(bare, memory));
    this.time(backend, "manyUnmap", () => empty(bare, memory));
    this.time(backend, "oneMap", () => bare.map(0, memory.address, memory.sizeBytes));
    this.time(backend, "oneUnmap", () => bare.unmap(0, memory.sizeBytes));
  }

  private unmapAll(backend: ComparedBackend, space: AddressSpace): void {
    fill(space.bare, this.memory);
    this.time(backend, "inOneCall", () => space.unmapAll());
  }

  /** The second address space has its own page table, so that its mappings are really pinned and mapped. */
  private secondSpace(backend: ComparedBackend, space: AddressSpace): void {
    const { memory, second } = this;
    fill(space.bare, memory);
    try {
      if (space.ioas !== undefined && backend === "iommufd") this.copyAndMapAgain(backend, space, space.ioas);
      if (second === undefined) {
        this.complain("attaching a second device", backend, "no second device is bound to vfio-pci");
        return;
      }
      let attached: { close(): void } | undefined;
      this.time(backend, "attach", () => {
        attached = space.attach(second);
      });
      attached?.close();
      if (backend !== "iommufd") {
        const other = openAddressSpace(backend, second);
        try {
          this.time(backend, "map-again", () => fill(other.bare, memory));
        } finally {
          other.close();
        }
      }
    } finally {
      space.unmapAll();
    }
  }

  private copyAndMapAgain(backend: ComparedBackend, { device, bare }: AddressSpace, ioas: Ioas): void {
    const { memory } = this;
    {
      using again = ioas.iommufd.allocIoas();
      using _table = again.allocHwpt(device);
      const calls = bareIoas(again);
      this.time(backend, "map-again", () => fill(calls, memory));
    }
    {
      using copy = ioas.iommufd.allocIoas();
      using _table = copy.allocHwpt(device);
      const copyCall = copying(ioas, copy);
      this.time(backend, "copy", () => {
        for (let slot = 0; slot < memory.sizeBytes / PIECE_BYTES; slot++) {
          const [low, high] = bare.addressOf(slot);
          copyCall(low, high);
        }
      });
    }
  }

  private account(backend: ComparedBackend, space: AddressSpace): void {
    if (this.accounts.some((account) => account.backend === backend)) return;
    const { memory } = this;
    const before = pinnedAndLocked();
    const gained = (): { pinnedBytes: number; lockedBytes: number } => {
      const now = pinnedAndLocked();
      return {
        pinnedBytes: now.pinnedBytes - before.pinnedBytes,
        lockedBytes: now.lockedBytes - before.lockedBytes,
      };
    };
    const { bare, ioas, device } = space;
    bare.map(0, memory.address, memory.sizeBytes);
    const once = gained();
    let copied: ReturnType<typeof gained> | null = null;
    if (ioas !== undefined && backend === "iommufd") {
      using copy = ioas.iommufd.allocIoas();
      using _table = copy.allocHwpt(device);
      const [low, high] = bare.addressOf(0);
      copy.copyFrom(ioas, (BigInt(high) << 32n) | BigInt(low), memory.sizeBytes);
      copied = gained();
    }
    bare.map(1, memory.address, memory.sizeBytes);
    const twice = gained();
    bare.unmap(1, memory.sizeBytes);
    bare.unmap(0, memory.sizeBytes);
    this.accounts.push({ backend, mappedBytes: memory.sizeBytes, once, twice, copied });
  }

  /** Notes each reason once, not in every round. */
  private complain(what: string, backend: ComparedBackend, reason: string): void {
    const name = `${what} ${backend}`;
    if (this.complained.has(name)) return;
    this.complained.add(name);
    this.notMeasured.push({ what, backend, reason });
  }
}

/** IOMMU_IOAS_COPY of one piece, by the halves of its address. */
function copying(from: Ioas, to: Ioas): (low: number, high: number) => void {
  const copy = new PreparedIoctl(
    IOMMU_IOAS_COPY,
    iommu_ioas_copy.encode({
      flags: IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE,
      src_ioas_id: from.id,
      dst_ioas_id: to.id,
    }),
  );
  const at = iommu_ioas_copy.words;
  const { words } = copy;
  storeU64(words, at.length, PIECE_BYTES);
  return (low, high) => {
    words[at.src_iova] = low;
    words[at.src_iova + 1] = high;
    const result = copy.call(to.iommufd.fd);
    if (result < 0) throw new SysError(IOMMU_IOAS_COPY.name, -result, { object: "a measurement" });
  };
}
