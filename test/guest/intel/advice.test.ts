/** doctor's advice on this machine, followed until the demo runs; and by an ordinary user. */
import { adviceSuite, ordinaryAdviceSuite } from "../../support/advice-suite.js";

adviceSuite({ backends: ["iommufd", "type1"], problems: [] });
ordinaryAdviceSuite(["iommufd", "type1"]);
