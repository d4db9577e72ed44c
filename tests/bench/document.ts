/** The place of the table in the documentation. */
import { ROOT } from "../harness/program.ts";

const FILE = "docs/PERFORMANCE.md";
const REGION = /^<!-- generated: bench -->\n[^]*?^<!-- \/generated -->$/m;

/** Returns the text with its measured part replaced. Throws when there is no such part. */
export function withMeasured(markdown: string, measured: string): string {
  if (!REGION.test(markdown)) throw new Error(`${FILE} has no region for measurements`);
  return markdown.replace(REGION, () => `<!-- generated: bench -->\n${measured}<!-- /generated -->`);
}

/** Writes the measurements into the document. */
export async function writeMeasured(measured: string): Promise<void> {
  const file = new URL(FILE, ROOT);
  await Deno.writeTextFile(file, withMeasured(await Deno.readTextFile(file), measured));
}
