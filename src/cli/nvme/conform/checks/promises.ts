/** What Identify Controller promises, by the names of its fields' bits. */
import { Ctratt, decodeBits, Lpa, Oacs, Oncs } from "../../../../nvme/spec/capabilities.js";
import type { IdentifyController } from "../../../../nvme/spec/identify.js";

export const VERSION_1_2 = 0x1_0200;
export const VERSION_1_3 = 0x1_0300;
export const VERSION_2_0 = 0x2_0000;

export const promises = {
  oacs: ({ oacs }: IdentifyController, name: keyof typeof Oacs) => decodeBits(oacs, Oacs)[name] === true,
  oncs: ({ oncs }: IdentifyController, name: keyof typeof Oncs) => decodeBits(oncs, Oncs)[name] === true,
  lpa: ({ lpa }: IdentifyController, name: keyof typeof Lpa) => decodeBits(lpa, Lpa)[name] === true,
  ctratt: ({ ctratt }: IdentifyController, name: keyof typeof Ctratt) =>
    decodeBits(ctratt, Ctratt)[name] === true,
};
