/** Where nothing keeps a device's interrupt messages from hitting any vector of the host, VFIO gives it to nobody. */
import { writeFileSync } from "node:fs";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { Iommufd } from "../../../src/doors/iommufd.js";
import { VfioContainer, VfioDevice, VfioGroup } from "../../../src/doors/vfio.js";
import { bindToVfio, PciDevice, UnsupportedError, type VfioBinding } from "../../../src/index.js";
import { caught } from "../../support/caught.js";
import { sysError } from "../../support/errors.js";
import { nvmeBdf } from "../../support/functions.js";
import { expectNothingLeft } from "../../support/holdings.js";

const parameters = {
  iommufd: "/sys/module/iommufd/parameters/allow_unsafe_interrupts",
  type1: "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts",
} as const;
const allow = (parameter: string, allowed: boolean): void => writeFileSync(parameter, allowed ? "Y" : "N");

let binding: VfioBinding;
beforeAll(() => {
  binding = bindToVfio(nvmeBdf());
});
afterAll(() => binding.close());

afterEach(() => {
  for (const parameter of Object.values(parameters)) allow(parameter, false);
});

expectNothingLeft();

describe("a device without interrupt remapping", () => {
  test("can't be bound to an iommufd, and the error says what would help", () => {
    using iommufd = Iommufd.open();
    using device = VfioDevice.openCdev(nvmeBdf());
    expect(() => device.bind(iommufd)).toThrow(
      sysError("VFIO_DEVICE_BIND_IOMMUFD", "EPERM", {
        hint: expect.stringContaining("iommufd.allow_unsafe_interrupts=1"),
      }),
    );
    allow(parameters.iommufd, true);
    device.bind(iommufd);
    expect(device.info().isPci).toBe(true);
  });

  test("can't join a container with its group", () => {
    using container = VfioContainer.open();
    using group = VfioGroup.openFor(nvmeBdf());
    group.setContainer(container);
    // type1 learns of the group's devices when it becomes the container's IOMMU.
    expect(() => container.setIommu("type1v2")).toThrow(sysError("VFIO_SET_IOMMU", "EPERM"));
    allow(parameters.type1, true);
    container.setIommu("type1v2");
    expect(container.iommuType).toBe("type1v2");
  });

  test("can't be opened from a container that iommufd provides, which accepts its group at first", () => {
    using iommufd = Iommufd.open();
    using container = VfioContainer.ofIommufd(iommufd);
    using group = VfioGroup.openFor(nvmeBdf());
    group.setContainer(container);
    container.setIommu("type1v2");
    expect(() => group.openDevice(nvmeBdf())).toThrow(
      sysError("VFIO_GROUP_GET_DEVICE_FD", "EPERM", {
        hint: expect.stringContaining("allow_unsafe_interrupts"),
      }),
    );
  });

  test("is opened by the backend that is allowed to, with the reason why not by the other", async () => {
    const error = await caught(Promise.resolve().then(() => PciDevice.open(nvmeBdf())));
    expect(error).toBeInstanceOf(UnsupportedError);
    expect(error).toMatchObject({
      message: expect.stringMatching(/iommufd: .*allow_unsafe_interrupts.*type1: .*allow_unsafe_interrupts/),
    });
    allow(parameters.type1, true);
    using device = PciDevice.open(nvmeBdf());
    expect(device.backend).toBe("type1");
    expect(device.backendReason).toContain("allow_unsafe_interrupts");
  });
});
