/** The documents that are held to the writing rules, and whose references must be correct. */
import { ROOT } from "../harness/program.ts";

/** Documents outside the folder docs. */
const AT_ROOT = ["README.md", "CONTRIBUTING.md"];

/** Returns the texts of the documents that exist, by their paths, without those in `except`. */
export async function documents(except: readonly string[] = []): Promise<ReadonlyMap<string, string>> {
  const inDocs = await Array.fromAsync(Deno.readDir(new URL("docs/", ROOT)), ({ name }) => `docs/${name}`);
  const texts = new Map<string, string>();
  for (const path of [...AT_ROOT, ...inDocs.filter((name) => name.endsWith(".md")).sort()]) {
    if (except.includes(path)) continue;
    const text = await Deno.readTextFile(new URL(path, ROOT)).catch(() => undefined);
    if (text !== undefined) texts.set(path, text);
  }
  return texts;
}
