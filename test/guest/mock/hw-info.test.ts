/** Hardware information of an IOMMU. */
import { describe, expect, test } from "vitest";
import {
  IOMMU_GET_HW_INFO,
  IOMMU_HW_INFO_FLAG_INPUT_TYPE,
  iommu_hw_info,
} from "../../../src/iommufd/uapi-hw-info.js";
import { addressOf, keepAlive } from "../../../src/sys/libc.js";
import { sysError } from "../../support/errors.js";
import { expectNothingLeft } from "../../support/holdings.js";
import { deviceVariants, IoasScene, ioasVariants } from "../../support/ioas-variants.js";
import { mock } from "../../support/mock.js";
import { kernelAnswer } from "../../support/raw-iommufd.js";
import { byVariant } from "../../support/variants.js";

const [noDevice] = ioasVariants;
/** Flags, then the register. */
const INFO_BYTES = 8;

/** IOMMU_GET_HW_INFO with a buffer of ours. */
function hwInfo(
  fd: number,
  deviceId: number,
  buffer: Uint8Array,
  type?: number,
): { answer: string; info: ReturnType<typeof iommu_hw_info.decode> } {
  const request = iommu_hw_info.encode({
    flags: type === undefined ? 0 : IOMMU_HW_INFO_FLAG_INPUT_TYPE,
    dev_id: deviceId,
    data_len: buffer.length,
    data_uptr: buffer.length === 0 ? 0n : BigInt(addressOf(buffer)),
    out_data_type: type ?? 0,
  });
  const answer = kernelAnswer(fd, IOMMU_GET_HW_INFO, request);
  keepAlive(buffer);
  return { answer, info: iommu_hw_info.decode(request) };
}

const words = (bytes: Uint8Array): number[] => [
  ...new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4),
];

describe("hardware information without a device [no_domain]", () => {
  expectNothingLeft();

  test("can't be read [iommufd_ioas.get_hw_info]", () => {
    if (noDevice === undefined) throw new Error("there is such a variant");
    using scene = new IoasScene(noDevice);
    for (const length of [INFO_BYTES, INFO_BYTES + 8]) {
      expect(hwInfo(scene.iommufd.fd, 0, new Uint8Array(length)).answer).toBe("ENOENT");
    }
    expect(hwInfo(scene.iommufd.fd, scene.ioas.id, new Uint8Array(INFO_BYTES)).answer).toBe("ENOENT");
  });
});

describe.each(byVariant(deviceVariants))("hardware information [%s]", (_, variant) => {
  expectNothingLeft();

  test("is decoded, or returned as bytes for an unknown IOMMU [iommufd_ioas.get_hw_info]", () => {
    using scene = new IoasScene(variant);
    const { iommufd, device, pasidDevice } = scene;
    const info = iommufd.hwInfo(device);
    expect(info).toMatchObject({
      type: mock.hwInfoType,
      dirtyTracking: true,
      maxPasidLog2: 0,
      pasidExecute: false,
      pasidPrivileged: false,
      registers: { kind: "unknown", type: mock.hwInfoType },
    });
    if (info.registers.kind !== "unknown") throw new Error(`a mock IOMMU is not ${info.registers.kind}`);
    expect(words(info.registers.bytes)).toEqual([0, mock.hwInfoRegister]);
    expect(iommufd.hwInfo(device, mock.hwInfoType)).toEqual(info);
    expect(() => iommufd.hwInfo(device, mock.hwInfoType + 1)).toThrow(
      sysError("IOMMU_GET_HW_INFO", "EOPNOTSUPP"),
    );
    if (pasidDevice !== undefined) expect(iommufd.hwInfo(pasidDevice).maxPasidLog2).toBe(mock.pasidWidth);

    using other = new IoasScene(variant);
    expect(() => other.iommufd.hwInfo(device)).toThrow(
      expect.objectContaining({ code: "ERR_IOVA_ARGUMENT" }),
    );
  });

  test("fills a buffer of any length [iommufd_ioas.get_hw_info]", () => {
    using scene = new IoasScene(variant);
    const { iommufd, device } = scene;
    const { fd } = iommufd;
    const read = (length: number, type?: number): number[] => {
      const buffer = new Uint8Array(length).fill(0xff);
      const { answer, info } = hwInfo(fd, device.deviceId, buffer, type);
      expect(answer).toBe("ok");
      // The kernel's own length, whatever the buffer's.
      expect(info).toMatchObject({ data_len: INFO_BYTES, out_data_type: mock.hwInfoType });
      return words(buffer);
    };
    expect(read(0)).toEqual([]);
    expect(read(INFO_BYTES)).toEqual([0, mock.hwInfoRegister]);
    expect(read(INFO_BYTES, mock.hwInfoType)).toEqual([0, mock.hwInfoRegister]);
    // Past what the kernel has there are zeros.
    expect(read(INFO_BYTES + 8)).toEqual([0, mock.hwInfoRegister, 0, 0]);
    // And what doesn't fit is left out in silence.
    expect(read(4)).toEqual([0]);
    expect(hwInfo(fd, device.deviceId, new Uint8Array(INFO_BYTES), mock.hwInfoType + 1).answer).toBe(
      "EOPNOTSUPP",
    );
  });
});
