/** What the controller memory buffer may be used for. */
import { CmbLocation, CmbSize } from "../../../nvme/spec/registers.js";

/**
 * What the controller memory buffer is for, under the names of CMBSZ and CMBLOC: queues, lists, data; and lists of one
 * command that lie partly in it (CDPMLS), lists in it of a command that doesn't (CDPCILS), data or metadata partly in it (CDMMMS).
 */
export const cmbUses = ["SQS", "CQS", "LISTS", "RDS", "WDS", "CDPMLS", "CDPCILS", "CDMMMS"] as const;
/** One use of the controller memory buffer; see {@link cmbUses}. */
export type CmbUse = (typeof cmbUses)[number];

const sizeBits = {
  SQS: CmbSize.SQS,
  CQS: CmbSize.CQS,
  LISTS: CmbSize.LISTS,
  RDS: CmbSize.RDS,
  WDS: CmbSize.WDS,
} as const;
const locationBits = {
  CDPMLS: CmbLocation.CDPMLS,
  CDPCILS: CmbLocation.CDPCILS,
  CDMMMS: CmbLocation.CDMMMS,
} as const;

/** The allowed uses of a controller's buffer: all but those of the option `cmbWithout`. Queues are contiguous there. */
export class CmbRules {
  /** Whether there is anything to refuse. */
  readonly restricts: boolean;
  /** Its bits of CMBSZ, and of CMBLOC. */
  readonly cmbsz: number;
  readonly cmbloc: number;
  private readonly uses: ReadonlySet<CmbUse>;

  constructor(without: readonly CmbUse[]) {
    this.uses = new Set(cmbUses.filter((use) => !without.includes(use)));
    this.restricts = without.length > 0;
    const sum = (bits: Readonly<Partial<Record<CmbUse, number>>>): number =>
      [...this.uses].reduce((word, use) => word | (bits[use] ?? 0), 0);
    this.cmbsz = sum(sizeBits);
    this.cmbloc = sum(locationBits);
  }

  has(use: CmbUse): boolean {
    return this.uses.has(use);
  }
}
