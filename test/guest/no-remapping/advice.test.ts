/** doctor's advice on this machine, followed until the demo runs. */
import { adviceSuite } from "../../support/advice-suite.js";
import { rebootAdviceSuite } from "../../support/restart-advice-suite.js";

// First, because the advice below leaves nothing to mend at the next start.
rebootAdviceSuite("iommu.interrupts", ["iommufd", "type1"]);
if (process.env["IOVA_SECOND_BOOT"] === undefined)
  adviceSuite({
    backends: ["iommufd", "type1"],
    problems: ["iommu.interrupts"],
    pick: ({ fixes }) => fixes.find(({ effect }) => effect === "now"),
  });
