/** Imports point one way, as docs/ARCHITECTURE.md says: what each folder may import, and no cycles. */
import { assert, assertEquals } from "@std/assert";
import { ROOT } from "../harness/program.ts";

/** Each file's imports within the project, by paths from the root. */
const graph = new Map<string, string[]>();

async function readFolder(folder: string): Promise<void> {
  for await (const { name, isDirectory } of Deno.readDir(new URL(folder, ROOT))) {
    if (isDirectory) await readFolder(`${folder}${name}/`);
    else if (name.endsWith(".ts")) await readFile(`${folder}${name}`);
  }
}

async function readFile(file: string): Promise<void> {
  const at = new URL(file, ROOT);
  const imports = (await Deno.readTextFile(at)).matchAll(/^(?:import|export|\}) [^;]*?from "(\.[^"]+)"/gm);
  graph.set(file, [...imports].map(([, to]) => new URL(to!, at).href.slice(ROOT.href.length)));
}

await readFolder("lib/");
await readFile("main.ts");
await readFile("client.ts");

/** Declarations that most parts of the server use. */
const SHARED = ["lib/wire/", "lib/config/", "lib/store/store.ts", "lib/bus/bus.ts", "lib/log.ts"];
const PASSWORDS = ["password_hasher.ts", "stored_hash.ts", "common_passwords.ts"].map((file) =>
  `lib/passwords/${file}`
);
/** The parts of a node, by type only: below node.ts itself this is no cycle of modules. */
const NODE = "lib/server/node.ts";

/**
 * The rules for the layers of lib/server, the lowest first: each layer may import itself, those below it, and
 * what is named here.
 */
function serverLayers(
  layers: readonly (readonly [layer: string, others: readonly string[]])[],
): (readonly [files: string, imports: readonly string[]])[] {
  const below: string[] = [];
  return layers.map(([layer, others]) => {
    below.push(`lib/server/${layer}`);
    return [`lib/server/${layer}`, [...below, ...others, "lib/bounded_map.ts", "lib/sleep.ts"]];
  });
}

/** For the files that begin with the first, the beginnings of what they may import. The first that fits counts. */
const rules: readonly (readonly [files: string, imports: readonly string[]])[] = [
  ["lib/wire/", ["lib/wire/"]],
  ["lib/log.ts", []],
  ["lib/keyed_mutex.ts", []],
  ["lib/version.ts", []],
  ["lib/bounded_map.ts", []],
  ["lib/new_id.ts", []],
  ["lib/sleep.ts", []],
  ["lib/node/permissions.ts", []],
  ["lib/node/stop_signals.ts", ["lib/log.ts"]],
  ["lib/config/", ["lib/config/", "lib/wire/", "lib/log.ts"]],
  ["lib/store/store.ts", []],
  ["lib/store/", [
    "lib/store/",
    "lib/bounded_map.ts",
    "lib/keyed_mutex.ts",
    "lib/new_id.ts",
    "lib/sleep.ts",
    "schema.sql",
  ]],
  ["lib/bus/", [
    "lib/bus/",
    "lib/store/store.ts",
    "lib/bounded_map.ts",
    "lib/keyed_mutex.ts",
    "lib/log.ts",
    "lib/new_id.ts",
    "lib/sleep.ts",
  ]],
  ["lib/client/", ["lib/client/", "lib/wire/", "lib/sleep.ts", "lib/version.ts"]],
  ["client.ts", ["lib/client/"]],
  ["lib/passwords/", ["lib/passwords/", "lib/store/store.ts", "lib/bounded_map.ts"]],
  ...serverLayers([
    ["scheduling/", ["lib/log.ts"]],
    ["protocol/", ["lib/wire/", "lib/store/store.ts"]],
    ["limits/", [...SHARED, ...PASSWORDS, "lib/bus/gcra.ts"]],
    ["net/", ["lib/wire/", "lib/config/", "lib/log.ts"]],
    ["delivery/", ["lib/store/store.ts", "lib/log.ts"]],
    ["sessions/", [...SHARED, ...PASSWORDS, NODE]],
    ["recovery/", [...SHARED, ...PASSWORDS, NODE]],
    ["node.ts", [...SHARED, ...PASSWORDS]],
    ["handlers/", [...SHARED, ...PASSWORDS]],
    ["server.ts", ["lib/config/", "lib/log.ts"]],
  ]),
  ["lib/node/services.ts", ["lib/store/mysql/", "lib/config/"]],
  ["lib/admin/", ["lib/node/services.ts", "lib/config/", "lib/store/"]],
  ["lib/node/backends.ts", ["lib/node/services.ts", "lib/store/", "lib/bus/", "lib/config/", "lib/log.ts"]],
  ["lib/node/run_node.ts", ["lib/node/backends.ts", "lib/server/server.ts", "lib/config/", "lib/log.ts"]],
  ["lib/node/open_files.ts", [
    "lib/config/",
    "lib/server/net/health.ts",
    "lib/log.ts",
  ]],
  ["lib/workers/", [
    "lib/workers/",
    "lib/node/run_node.ts",
    "lib/node/backends.ts",
    "lib/bus/",
    "lib/store/",
    "lib/config/",
    "lib/log.ts",
  ]],
  ["main.ts", ["lib/"]],
];

Deno.test("imports: each part imports only what it may, and each folder of the server only those below it", () => {
  assert(graph.size > 50 && [...graph.values()].flat().length > 100, "the files were read");
  for (const [file, imports] of graph) {
    const rule = rules.find(([files]) => file.startsWith(files));
    assert(rule, `no rule for ${file}`);
    for (const to of imports) {
      assert(rule[1].some((allowed) => to.startsWith(allowed)), `${file} must not import ${to}`);
    }
  }
});

Deno.test("imports: no cycles", () => {
  const done = new Set<string>();
  const visit = (file: string, way: readonly string[]) => {
    assert(!way.includes(file), `a cycle: ${[...way.slice(way.indexOf(file)), file].join(" -> ")}`);
    if (done.has(file)) return;
    for (const to of graph.get(file) ?? []) visit(to, [...way, file]);
    done.add(file);
  };
  for (const file of graph.keys()) visit(file, []);
  assertEquals(done.has("lib/wire/protocol.ts"), true);
});
