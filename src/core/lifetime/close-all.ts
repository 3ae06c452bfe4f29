/** Closing several things: each is attempted, and the errors are collected. */

/** Closes these in order, off the JavaScript thread. If one fails, the others are closed all the same. @throws as {@link closeAll} */
export async function closeAllAsync(
  closeables: readonly { closeAsync(): Promise<void> }[],
  what: string,
): Promise<void> {
  const errors: unknown[] = [];
  for (const closeable of closeables) {
    try {
      await closeable.closeAsync();
    } catch (error) {
      errors.push(error);
    }
  }
  throwCollected(errors, what);
}

/** @throws the only error as it is, or several as one AggregateError; nothing if there is none */
export function throwCollected(errors: readonly unknown[], what: string): void {
  if (errors.length === 1) throw errors[0];
  if (errors.length > 1) throw new AggregateError(errors, `${what} failed in ${errors.length} places`);
}

/** Closes these in order. If one fails, the others are closed all the same. @throws what the closes threw */
export function closeAll(closeables: readonly { close(): void }[], what: string): void {
  const errors: unknown[] = [];
  for (const closeable of closeables) {
    try {
      closeable.close();
    } catch (error) {
      errors.push(error);
    }
  }
  throwCollected(errors, what);
}
