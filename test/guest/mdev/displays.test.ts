/** The kernel's sample displays: mdpy shows its plane as a region, mbochs as dma-bufs, and takes an EDID. */
import { closeSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import {
  type GfxPlane,
  getGfxDmaBuf,
  hasGfxPlanes,
  queryGfxPlane,
  type VfioDevice,
} from "../../../src/doors/vfio.js";
import { ConfigSpace, PciRegister, SysError, UnsupportedError } from "../../../src/index.js";
import {
  VFIO_REGION_SUBTYPE_GFX_EDID,
  VFIO_REGION_TYPE_GFX,
  vfio_region_gfx_edid,
} from "../../../src/vfio/uapi.js";
import { sysError } from "../../support/errors.js";
import { expectNothingLeft } from "../../support/holdings.js";
import { MediatedDevice } from "../../support/mdev.js";
import { openMode, vfioModes } from "../../support/vfio-modes.js";

expectNothingLeft();

/** enum drm_plane_type */
const PRIMARY = 1;
const CURSOR = 2;
/** DRM_FORMAT_XRGB8888 */
const XRGB8888 = Buffer.from("XR24").readUInt32LE();
const EDID_REGION = 9;
const MEMORY_BAR = 0;
const REGISTER_BAR = 2;

describe.each(vfioModes)("a display whose plane is a region (mdpy), by %s", (mode) => {
  test.each([
    ["mdpy-vga", 640, 480],
    ["mdpy-hd", 1920, 1080],
  ] as const)("has %s's pixels in the region that the plane names", (type, width, height) => {
    using display = new MediatedDevice(type);
    using space = openMode(mode);
    const { device } = space.open(display.uuid);
    expect(new ConfigSpace(device).read16(PciRegister.deviceId)).toBe(0x000f);
    expect([hasGfxPlanes(device, "region"), hasGfxPlanes(device, "dmabuf")]).toEqual([true, false]);

    const plane = queryGfxPlane(device, "region", PRIMARY);
    expect(plane).toMatchObject({
      drm_format: XRGB8888,
      width,
      height,
      stride: width * 4,
      x_pos: 0,
      y_pos: 0,
    });
    const region = device.regionInfo(plane.region_index);
    expect(region.sizeBytes).toBe(plane.size);
    // What is drawn through a mapping is there through the descriptor, which the sample driver reads from its start only.
    using frame = device.mapRegion(plane.region_index, 0, plane.size);
    frame.bytes.set([1, 2, 3, 4]);
    const pixel = new Uint8Array(4);
    device.readRegion(plane.region_index, 0, pixel);
    expect([...pixel]).toEqual([1, 2, 3, 4]);
  });

  test("reports that it has no dma-bufs and no migration", () => {
    using display = new MediatedDevice("mdpy-vga");
    using space = openMode(mode);
    const { device } = space.open(display.uuid);
    expect(device.capabilities()).toMatchObject({
      displayRegion: true,
      displayDmaBuf: false,
      migration: false,
      dmaLogging: false,
      hotReset: false,
      irqs: { intx: { count: 0 }, msi: { count: 0 }, msix: { count: 0 } },
    });
    expect(() => queryGfxPlane(device, "dmabuf", PRIMARY)).toThrow(
      sysError("VFIO_DEVICE_QUERY_GFX_PLANE", "EINVAL"),
    );
    expect(() => getGfxDmaBuf(device, 1)).toThrow(UnsupportedError);
  });
});

describe.each(vfioModes)("a display whose planes are dma-bufs (mbochs), by %s", (mode) => {
  test("has no plane until it is switched on, and then a dma-buf for each mode", () => {
    using display = new MediatedDevice("mbochs-small");
    using space = openMode(mode);
    const { device } = space.open(display.uuid);
    expect([hasGfxPlanes(device, "region"), hasGfxPlanes(device, "dmabuf")]).toEqual([false, true]);
    expect(device.capabilities()).toMatchObject({
      displayRegion: false,
      displayDmaBuf: true,
      migration: false,
    });
    const off = queryGfxPlane(device, "dmabuf", PRIMARY);
    expect(off).toMatchObject({ drm_format: 0, width: 0, height: 0, region_index: 0 });

    switchOn(device, 320, 200);
    const plane = queryNew(device);
    expect(plane).toMatchObject({
      drm_format: XRGB8888,
      width: 320,
      height: 200,
      stride: 1280,
      size: 256_000,
    });
    expect(queryGfxPlane(device, "dmabuf", PRIMARY)).toEqual(plane);
    expect(queryGfxPlane(device, "dmabuf", CURSOR)).toMatchObject({ width: 0, height: 0 });

    const fd = getGfxDmaBuf(device, plane.region_index);
    expect(dmaBufSize(fd)).toBeGreaterThanOrEqual(plane.size);
    closeSync(fd);

    switchOn(device, 128, 128);
    const other = queryNew(device);
    expect(other).toMatchObject({ width: 128, height: 128 });
    expect(other.region_index).not.toBe(plane.region_index);
  });

  test("rejects a dma-buf id that it never returned", () => {
    using display = new MediatedDevice("mbochs-small");
    using space = openMode(mode);
    const { device } = space.open(display.uuid);
    expect(() => getGfxDmaBuf(device, 4711)).toThrow(sysError("VFIO_DEVICE_GET_GFX_DMABUF", "ENOENT"));
    expect(() => queryGfxPlane(device, "region", PRIMARY)).toThrow(
      sysError("VFIO_DEVICE_QUERY_GFX_PLANE", "EINVAL"),
    );
  });

  test("accepts a monitor's EDID through a device-specific region", () => {
    using display = new MediatedDevice("mbochs-medium");
    using space = openMode(mode);
    const { device } = space.open(display.uuid);
    const region = device.regionInfo(EDID_REGION);
    expect(region.type).toEqual({ type: VFIO_REGION_TYPE_GFX, subtype: VFIO_REGION_SUBTYPE_GFX_EDID });
    expect(device.regionInfo(MEMORY_BAR).type).toBeUndefined();
    const header = new Uint8Array(vfio_region_gfx_edid.sizeBytes);
    device.readRegion(EDID_REGION, 0, header);
    const edid = vfio_region_gfx_edid.decode(header);
    expect(edid).toMatchObject({ edid_size: 0, link_state: 0 });
    expect(edid.edid_offset + edid.edid_max_size).toBeLessThanOrEqual(region.sizeBytes);
    expect(edid.max_xres).toBeGreaterThanOrEqual(1024);

    const description = Uint8Array.from({ length: 128 }, (_, i) => i);
    device.writeRegion(EDID_REGION, edid.edid_offset, description);
    const word = (value: number): Uint8Array => new Uint8Array(Uint32Array.of(value).buffer);
    device.writeRegion(EDID_REGION, vfio_region_gfx_edid.offsets.edid_size, word(description.length));
    device.writeRegion(EDID_REGION, vfio_region_gfx_edid.offsets.link_state, word(1));
    // The guest's driver finds it in the display's registers.
    const seen = new Uint8Array(description.length);
    device.readRegion(REGISTER_BAR, 0, seen);
    expect(seen).toEqual(description);
  });
});

/** Bochs' display interface: 16-bit registers from 0x500 on. */
function switchOn(device: VfioDevice, width: number, height: number): void {
  const registers = { width: 1, height: 2, bitsPerPixel: 3, enable: 4 };
  const write = (register: number, value: number): void => {
    device.writeRegion(REGISTER_BAR, 0x500 + register * 2, new Uint8Array(Uint16Array.of(value).buffer));
  };
  write(registers.width, width);
  write(registers.height, height);
  write(registers.bitsPerPixel, 32);
  write(registers.enable, 1);
}

/** The sample driver makes the dma-buf of a mode when first asked, but says ENOMEM that first time. */
function queryNew(device: VfioDevice): GfxPlane {
  try {
    return queryGfxPlane(device, "dmabuf", PRIMARY);
  } catch (error) {
    if (!(error instanceof SysError) || error.code !== "ENOMEM") throw error;
    return queryGfxPlane(device, "dmabuf", PRIMARY);
  }
}

/** Only a dma-buf has a size there. */
function dmaBufSize(fd: number): number {
  const [, size] = /^size:\s+(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, "utf8")) ?? [];
  return Number(size);
}
