/**
 * Rows for describe.each with the variant in the title: `describe.each(byVariant(variants))("... [%s]", (_, v) => ...)`.
 */
export function byVariant<T extends { readonly variant: string }>(
  variants: readonly T[],
): (readonly [string, T])[] {
  return variants.map((variant) => [variant.variant, variant] as const);
}
