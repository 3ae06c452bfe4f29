/**
 * What not every program needs, made when it is first asked for: the time that an import takes counts in each program that
 * runs for a moment.
 */
export function lazily<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}
