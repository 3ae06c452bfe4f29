import type { NvmeCompletion } from "../command/command.js";
import type { FeatureSelect } from "../spec/opcodes.js";

/** Options of {@link NvmeFeatures.get}. */
export interface GetFeatureOptions {
  readonly nsid?: number | undefined;
  /** Which value: current by default. */
  readonly select?: keyof typeof FeatureSelect | undefined;
  /** What some features want besides (CDW11). */
  readonly cdw11?: number | undefined;
  /** Index in the UUID list; 0 is none. */
  readonly uuidIndex?: number | undefined;
  /** Bytes of the feature's data structure; 0 where the value is all of it. */
  readonly sizeBytes?: number | undefined;
}

/** Options of {@link NvmeFeatures.set}. */
export interface SetFeatureOptions {
  readonly nsid?: number | undefined;
  /** Keep the value over resets and power cycles; refused by controllers that can't. */
  readonly save?: boolean | undefined;
  readonly cdw12?: number | undefined;
  readonly cdw13?: number | undefined;
  /** With the index in the UUID list in bits 6:0. */
  readonly cdw14?: number | undefined;
  readonly cdw15?: number | undefined;
  /** The feature's data structure, where it has one. */
  readonly data?: Uint8Array | undefined;
}

/** What parts of the features' API need to get and set them. */
export interface FeatureSource {
  get(
    fid: number,
    options?: GetFeatureOptions,
  ): Promise<{ readonly value: number; readonly data: Uint8Array }>;
  set(fid: number, value: number, options?: SetFeatureOptions): Promise<NvmeCompletion>;
}
