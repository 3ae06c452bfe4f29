/** doctor's advice on this machine, followed until the demo runs. */
import { rebootAdviceSuite } from "../../support/restart-advice-suite.js";

rebootAdviceSuite("iommu.on", ["iommufd", "type1"]);
