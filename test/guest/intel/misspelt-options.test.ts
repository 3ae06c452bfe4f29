/** Misspelt options of VFIO's objects. test/unit/misspelt-options.test.ts says which functions need a line here. */
import { expect, test } from "vitest";
import { Iommufd } from "../../../src/doors/iommufd.js";
import { VfioContainer, VfioDevice, VfioGroup } from "../../../src/doors/vfio.js";
import { ArgumentError, bindToVfio, PciDevice } from "../../../src/index.js";
import { caught } from "../../support/caught.js";
import { eduBdf } from "../../support/functions.js";
import { expectNothingLeft } from "../../support/holdings.js";

expectNothingLeft();

/** What a program in JavaScript may give. */
const misspelt = { misspelt: true } as never;

async function expectRejections(calls: Readonly<Record<string, () => unknown>>): Promise<void> {
  for (const [name, call] of Object.entries(calls)) {
    const error = await caught((async () => await call())());
    expect(error, name).toBeInstanceOf(ArgumentError);
    expect(error, name).toMatchObject({
      message: expect.stringMatching(/no option "misspelt": there are \w/),
    });
  }
}

test("a misspelt option of VFIO's objects is an ArgumentError that names it", async () => {
  using _binding = bindToVfio(eduBdf());
  {
    using device = VfioDevice.openCdev(eduBdf());
    using iommufd = Iommufd.open();
    const ioas = iommufd.allocIoas();
    await expectRejections({
      "VfioDevice.fromFd(bound)": () => VfioDevice.fromFd(device.fd, misspelt),
      "VfioDevice.bind(options)": () => device.bind(iommufd, misspelt),
      "VfioDevice.attach(options)": () => device.attach(ioas, misspelt),
      "VfioDevice.detach(options)": () => device.detach(misspelt),
    });
    device.close();
  }
  {
    using container = VfioContainer.open();
    using group = VfioGroup.openFor(eduBdf());
    group.setContainer(container);
    await expectRejections({ "VfioGroup.openDevice(options)": () => group.openDevice(eduBdf(), misspelt) });
    container.close();
  }
  using device = PciDevice.open(eduBdf());
  await expectRejections({
    "PciDevice.createVirtualFunctions(options)": () => device.createVirtualFunctions(1, misspelt),
    "PciDevice.openVirtualFunction(options)": () => device.openVirtualFunction(0, misspelt),
  });
});
