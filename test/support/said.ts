/** What a command of the CLI prints when it runs in this process. */
import { vi } from "vitest";

/** Runs a command. @returns its standard output */
export async function said(command: () => Promise<void> | void): Promise<string> {
  let text = "";
  const spy = vi.spyOn(process.stdout, "write").mockImplementation((chunk) => {
    text += String(chunk);
    return true;
  });
  try {
    await command();
  } finally {
    spy.mockRestore();
  }
  return text;
}
