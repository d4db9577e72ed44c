/** The documents that are held to the writing rules, and whose references must be correct. */
import { ROOT } from "../harness/program.ts";

/** Documents outside the folder docs. */
const ELSEWHERE = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "examples/README.md"];

/** Returns the texts of all documents, by their paths. */
export async function documents(): Promise<ReadonlyMap<string, string>> {
  const inDocs = await Array.fromAsync(Deno.readDir(new URL("docs/", ROOT)), ({ name }) => `docs/${name}`);
  const texts = new Map<string, string>();
  for (const path of [...ELSEWHERE, ...inDocs.filter((name) => name.endsWith(".md")).sort()]) {
    texts.set(path, await Deno.readTextFile(new URL(path, ROOT)));
  }
  return texts;
}
