/** Rights of root that the library's work depends on (capabilities(7), linux/capability.h). */

const bits = {
  CAP_DAC_OVERRIDE: 1,
  CAP_IPC_LOCK: 14,
  CAP_SYS_MODULE: 16,
  CAP_SYS_RAWIO: 17,
  CAP_SYS_ADMIN: 21,
  CAP_SYS_RESOURCE: 24,
} as const;

/** A right of root that the library's work depends on. */
export type Capability = keyof typeof bits;

const names = Object.keys(bits) as readonly Capability[];

/** Which of them a mask has, as /proc/self/status prints it. Never throws. @param hex up to 16 digits */
export function parseCapabilities(hex: string): Capability[] {
  if (!/^[0-9a-f]{1,16}$/i.test(hex)) return [];
  const mask = BigInt(`0x${hex}`);
  return names.filter((name) => ((mask >> BigInt(bits[name])) & 1n) === 1n);
}
