/** Capabilities of message interrupts in PCI configuration space (PCI Local Bus 3.0, 6.8). */

export const CAPABILITY_MSI = 0x05;
export const CAPABILITY_MSIX = 0x11;
/** Message Control, at this offset in both capabilities. */
export const MESSAGE_CONTROL = 2;
export const MSI_ENABLE = 1 << 0;
export const MSIX_ENABLE = 1 << 15;
export const MSIX_FUNCTION_MASK = 1 << 14;
