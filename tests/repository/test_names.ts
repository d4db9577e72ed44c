/** Finds the tests that documents name, as `file`: "name", and tells which of them do not exist. */
import { ROOT } from "../harness/program.ts";

/** A test in a document: its file, then its name or the end of it. */
const NAMED = /`(tests\/[\w./-]+\.ts)`: "([^"]+)"/g;

/** Returns the tests that a document names and that do not exist, as `file: name`. */
export async function missingTests(document: string): Promise<string[]> {
  const missing: string[] = [];
  for (const [, file, name] of document.matchAll(NAMED)) {
    const source = await Deno.readTextFile(new URL(file!, ROOT)).catch(() => "");
    if (!defines(source, name!)) missing.push(`${file}: ${name}`);
  }
  return missing;
}

/** Whether the source has a test of that name. A template may build the part before a colon. */
function defines(source: string, name: string): boolean {
  return name.split(": ").some((_, at, parts) => source.includes(parts.slice(at).join(": ")));
}
