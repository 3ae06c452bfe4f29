/** The error that a promise or call ends with, for assertions on several of its fields. @throws Error if it succeeds */
export async function caught(what: Promise<unknown> | (() => unknown)): Promise<Error> {
  try {
    await (typeof what === "function" ? what() : what);
  } catch (error) {
    if (error instanceof Error) return error;
    throw new Error(`no Error was thrown but ${String(error)}`);
  }
  throw new Error("nothing was thrown");
}
