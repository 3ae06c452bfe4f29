/** Options that `iova bind` and `iova unbind` share: which functions, and how. */
import { json, stepTimeout } from "./common.js";
import { flag, repeated } from "./description.js";

export const selectionOptions = {
  group: flag("also every other endpoint in the IOMMU groups of those"),
  class: repeated(
    "CLASS",
    "functions of this class: 2, 4 or 6 hex digits, such as 0108 (NVMe); repeatable",
    "class",
  ),
  id: repeated(
    "VENDOR:DEVICE",
    "functions with these ids, in hex digits, such as 1b36:0010; repeatable",
    "id",
  ),
  "dry-run": flag("say what would be done, and do nothing"),
  json,
  timeout: stepTimeout,
} as const;
