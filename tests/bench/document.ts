/** Where the table stands in the documentation. */
import { ROOT } from "../harness/program.ts";

const FILE = "docs/PERFORMANCE.md";
const REGION = /^<!-- generated: bench -->\n[^]*?^<!-- \/generated -->$/m;

/** The text with the measured part replaced. Throws if it has no such part. */
export function withMeasured(markdown: string, measured: string): string {
  if (!REGION.test(markdown)) throw new Error(`${FILE} has no part for what is measured`);
  return markdown.replace(REGION, () => `<!-- generated: bench -->\n${measured}<!-- /generated -->`);
}

/** Writes what was measured into the document. */
export async function writeMeasured(measured: string): Promise<void> {
  const file = new URL(FILE, ROOT);
  await Deno.writeTextFile(file, withMeasured(await Deno.readTextFile(file), measured));
}
