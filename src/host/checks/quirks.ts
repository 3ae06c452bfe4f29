/** What is known of a device's model. */
import { findByIds, isKnownNvme } from "../../nvme/quirks/controller-quirks.js";
import type { KnownController } from "../../nvme/quirks/known-controllers.js";
import type { DeviceFacts } from "../facts/device.js";
import type { HostFacts } from "../facts/facts.js";
import type { Finding } from "./check.js";

const NVME_CLASS = 0x010802;

/** Quirks of an NVMe controller. None is a problem: the driver knows what to do about each. */
export function knownQuirks(_facts: HostFacts, device: DeviceFacts): Finding {
  const where = "the NVMe driver's table of controllers";
  if (device.classCode !== NVME_CLASS && !isKnownNvme(device))
    return { state: "not-applicable", found: "only NVMe controllers have quirks that are known", where };
  const rows = findByIds(device).map(rowText);
  const found = rows.length === 0 ? "none is known" : `${rows.join("; ")}. The NVMe driver minds them`;
  return { state: "ok", found, where };
}

function rowText({ name, model, firmware, quirks }: KnownController): string {
  const only = [
    ...(model === undefined ? [] : [`model ${model}`]),
    ...(firmware === undefined ? [] : [`firmware ${firmware}`]),
  ];
  return `${name}${only.length === 0 ? "" : ` (${only.join(", ")} only)`}: ${quirks.join(", ")}`;
}
