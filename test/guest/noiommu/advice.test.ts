/** doctor's advice on this machine, followed until the demo runs. */
import { adviceSuite } from "../../support/advice-suite.js";

adviceSuite({ backends: ["noiommu"], problems: [] });
