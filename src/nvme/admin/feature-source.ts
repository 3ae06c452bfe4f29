/** Options of Get Features and Set Features, and the interface that the feature helpers use. */
import type { NvmeCompletion } from "../command/command.js";
import type { FeatureSelect } from "../spec/opcodes.js";

/** Options of {@link NvmeFeatures.get}. */
export interface GetFeatureOptions {
  /** Namespace, for features that namespaces have; 0 by default. */
  readonly nsid?: number | undefined;
  /** Which value to get; the current one by default. */
  readonly select?: keyof typeof FeatureSelect | undefined;
  /** CDW11, 0 by default: depends on the feature. */
  readonly cdw11?: number | undefined;
  /** Index in the UUID list; 0 is none. */
  readonly uuidIndex?: number | undefined;
  /** Size of the feature's data structure, in bytes; 0 (default) for a feature whose value is DW0 alone. */
  readonly sizeBytes?: number | undefined;
}

/** Options of {@link NvmeFeatures.set}. */
export interface SetFeatureOptions {
  /** Namespace, for features that namespaces have; 0 by default. */
  readonly nsid?: number | undefined;
  /**
   * Saves the value over resets and power cycles (SV). A controller rejects this for a feature that isn't saveable.
   */
  readonly save?: boolean | undefined;
  /** CDW12, 0 by default: depends on the feature. */
  readonly cdw12?: number | undefined;
  /** CDW13, 0 by default: depends on the feature. */
  readonly cdw13?: number | undefined;
  /** CDW14, 0 by default: bits 6:0 are the index in the UUID list. */
  readonly cdw14?: number | undefined;
  /** CDW15, 0 by default: depends on the feature. */
  readonly cdw15?: number | undefined;
  /** The feature's data structure, for a feature that has one. */
  readonly data?: Uint8Array | undefined;
}

/** Gets and sets features: what the feature helpers need of {@link NvmeFeatures}. */
export interface FeatureSource {
  get(
    fid: number,
    options?: GetFeatureOptions,
  ): Promise<{ readonly value: number; readonly data: Uint8Array }>;
  set(fid: number, value: number, options?: SetFeatureOptions): Promise<NvmeCompletion>;
}
