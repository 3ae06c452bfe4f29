/** Where the library refuses to call the kernel, and what it says. */
import { expect, test } from "vitest";
import { assertRuntime, type Runtime, unfit } from "../../../src/core/platform.js";

const node: Runtime = { arch: "x64", isLittleEndian: true, versions: { node: "24.1.0" } };

test.each(["x64", "arm64", "riscv64", "loong64"])("a little-endian Node.js of 64 bits (%s) fits", (arch) => {
  expect(unfit({ ...node, arch })).toBeUndefined();
});

test("the machine of this test fits", () => {
  expect(() => assertRuntime()).not.toThrow();
});

test("Bun and Deno are refused by what they lack, with their version", () => {
  const { versions } = node;
  expect(unfit({ ...node, versions: { ...versions, bun: "1.4.5" } })).toMatch(
    /^iova needs Node\.js: Bun 1\.4\.5 lacks libuv's uv_poll_init_socket, .*; run the program with node$/,
  );
  expect(unfit({ ...node, versions: { ...versions, deno: "2.9.6" } })).toMatch(
    /^iova needs Node\.js: Deno 2\.9\.6 lacks dgram's bind\({ fd }\), .*; run the program with node$/,
  );
});

test.each(["arm", "ia32", "mips", "mipsel", "ppc", "s390"])("%s is refused, as it has 32 bits", (arch) => {
  expect(unfit({ ...node, arch })).toMatch(
    new RegExp(`^iova needs a system of 64 bits, .* Node\\.js for ${arch},`),
  );
});

test.each(["s390x", "ppc64"])("a big-endian %s is refused", (arch) => {
  expect(unfit({ ...node, arch, isLittleEndian: false })).toMatch(
    new RegExp(`^iova needs a little-endian processor, .*: ${arch} is big-endian here,`),
  );
});
