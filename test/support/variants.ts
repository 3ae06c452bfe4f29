/** Rows for describe.each whose title has the variant as it is: `describe.each(byVariant(variants))("... [%s]", (_, v) => ...)`. */
export function byVariant<T extends { readonly variant: string }>(
  variants: readonly T[],
): (readonly [string, T])[] {
  return variants.map((variant) => [variant.variant, variant] as const);
}
