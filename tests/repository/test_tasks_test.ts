/** The tasks and the names of the tests. Every test belongs to a task, and unit tests need no server. */
import { assert, assertEquals } from "@std/assert";
import { ROOT } from "../harness/program.ts";

/** Parts of the harness that start a process or a node. */
const STARTERS = ["client_process", "cluster", "mariadb", "nginx", "nodes", "redis", "server"]
  .map((name) => `tests/harness/${name}.ts`);

/** Returns the paths of the TypeScript files in a folder and its folders, relative to the root. */
async function filesIn(folder: string): Promise<string[]> {
  const files: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(new URL(folder, ROOT))) {
    const path = `${folder}${name}`;
    if (isDirectory) files.push(...await filesIn(`${path}/`));
    else if (name.endsWith(".ts")) files.push(path);
  }
  return files;
}

/** Adds the files in tests/ that a file imports, directly or not, to `found`. */
async function addImports(file: string, found: Set<string>): Promise<Set<string>> {
  const at = new URL(file, ROOT);
  for (
    const [, to] of (await Deno.readTextFile(at)).matchAll(/^(?:import|export|\}) [^;]*?from "(\.[^"]+)"/gm)
  ) {
    const path = new URL(to!, at).href.slice(ROOT.href.length);
    if (!path.startsWith("tests/") || found.has(path)) continue;
    await addImports(path, found.add(path));
  }
  return found;
}

Deno.test("test tasks: each test file belongs to exactly one task", async () => {
  const { tasks } = JSON.parse(await Deno.readTextFile(new URL("deno.json", ROOT))) as {
    tasks: Record<string, string>;
  };
  const folders = Object.entries(tasks).filter(([name]) => name.startsWith("test:"))
    .flatMap(([, command]) => command.match(/tests\/\w+/g) ?? []);
  const tests = (await filesIn("tests/")).filter((file) => file.endsWith("_test.ts"));
  assert(tests.length > 0);
  for (const file of tests) {
    assertEquals(folders.filter((folder) => file.startsWith(`${folder}/`)).length, 1, file);
  }
});

Deno.test("test tasks: unit tests import nothing that starts a server or a service", async () => {
  for (const file of await filesIn("tests/unit/")) {
    const imports = await addImports(file, new Set());
    assertEquals(STARTERS.filter((starter) => imports.has(starter)), [], file);
  }
});

Deno.test("test names: each invariant that ARCHITECTURE.md names is named by a test", async () => {
  const invariants = (await Deno.readTextFile(new URL("docs/ARCHITECTURE.md", ROOT))).match(/\bI[1-9]\b/g) ??
    [];
  assert(invariants.length > 0);
  const files = (await filesIn("tests/")).filter((file) => /_(test|contract)\.ts$/.test(file));
  const sources = await Promise.all(files.map((file) => Deno.readTextFile(new URL(file, ROOT))));
  for (const invariant of new Set(invariants)) {
    const inName = new RegExp(`\\(\\s*["'\`][^"'\`\\n]*\\b${invariant}\\b`); // the first argument of a call
    assert(sources.some((source) => inName.test(source)), `no test names ${invariant}`);
  }
});
