/** Options that several commands have. */
import { flag, value } from "./description.js";

export const json = flag("print JSON");

/** Longest limit of a step, in milliseconds. */
export const MAX_TIMEOUT_MS = 600_000;

export const stepTimeout = value(
  "MS",
  `limit of each step that the kernel may wait in, from 1 to ${MAX_TIMEOUT_MS} milliseconds (default 30000)`,
  { short: "t" },
);

/** As in `allBackendNames` of the library, which a description can't load. */
export const backendNames = ["iommufd", "type1", "iommufd-compat", "noiommu", "vfio-user"] as const;

export const backend = value("NAME", `${backendNames.join(", ")}; default: the first that works`, {
  offer: backendNames,
});

export const vfToken = value("UUID", "the secret of a physical function and its virtual functions");
