/** Imports point one way, as docs/ARCHITECTURE.md says: what may import what, and no circles. */
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

/** For the files that begin with the first, the beginnings of what they may import. The first that fits counts. */
const rules: readonly (readonly [files: string, imports: readonly string[]])[] = [
  ["lib/wire/", ["lib/wire/"]],
  ["lib/log.ts", []],
  ["lib/keyed_mutex.ts", []],
  ["lib/version.ts", []],
  ["lib/bounded_map.ts", []],
  ["lib/sleep.ts", []],
  ["lib/node/permissions.ts", []],
  ["lib/node/stop_signals.ts", ["lib/log.ts"]],
  ["lib/config/", ["lib/config/", "lib/wire/", "lib/log.ts"]],
  ["lib/store/store.ts", []],
  ["lib/store/", ["lib/store/", "lib/bounded_map.ts", "lib/keyed_mutex.ts", "lib/sleep.ts", "schema.sql"]],
  ["lib/bus/", [
    "lib/bus/",
    "lib/store/store.ts",
    "lib/bounded_map.ts",
    "lib/keyed_mutex.ts",
    "lib/log.ts",
    "lib/sleep.ts",
  ]],
  ["lib/client/", ["lib/client/", "lib/wire/", "lib/sleep.ts", "lib/version.ts"]],
  ["client.ts", ["lib/client/"]],
  ["lib/server/connection", [
    "lib/server/net/connection_context.ts",
    "lib/server/scheduling/event_loop.ts",
    "lib/server/scheduling/crowd.ts",
    "lib/server/protocol/dialect.ts",
    "lib/server/scheduling/lane.ts",
    "lib/server/net/write_queue.ts",
    "lib/server/net/read_throttle.ts",
    "lib/server/net/read_ahead.ts",
    "lib/server/net/read_buffer.ts",
    "lib/server/net/reply_queue.ts",
    "lib/wire/",
  ]],
  ["lib/passwords/", ["lib/passwords/", "lib/store/store.ts", "lib/bounded_map.ts"]],
  ["lib/server/", [
    "lib/server/",
    "lib/passwords/password_hasher.ts",
    "lib/passwords/common_passwords.ts",
    "lib/store/store.ts",
    "lib/bus/bus.ts",
    "lib/bus/gcra.ts",
    "lib/config/",
    "lib/wire/",
    "lib/bounded_map.ts",
    "lib/log.ts",
    "lib/sleep.ts",
  ]],
  ["lib/node/services.ts", ["lib/store/mysql/", "lib/config/"]],
  ["lib/admin/", ["lib/node/services.ts", "lib/config/", "lib/store/"]],
  ["lib/node/backends.ts", ["lib/node/services.ts", "lib/store/", "lib/bus/", "lib/config/", "lib/log.ts"]],
  ["lib/node/run_node.ts", ["lib/node/backends.ts", "lib/server/server.ts", "lib/config/", "lib/log.ts"]],
  ["lib/node/open_files.ts", [
    "lib/config/",
    "lib/passwords/password_hasher.ts",
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

Deno.test("imports: each part imports only what it may: handlers know ports, not what is behind them", () => {
  assert(graph.size > 50 && [...graph.values()].flat().length > 100, "the files were read");
  for (const [file, imports] of graph) {
    const rule = rules.find(([files]) => file.startsWith(files));
    assert(rule, `no rule for ${file}`);
    for (const to of imports) {
      assert(rule[1].some((allowed) => to.startsWith(allowed)), `${file} must not import ${to}`);
    }
  }
});

Deno.test("imports: no circles", () => {
  const done = new Set<string>();
  const visit = (file: string, way: readonly string[]) => {
    assert(!way.includes(file), `a circle: ${[...way.slice(way.indexOf(file)), file].join(" -> ")}`);
    if (done.has(file)) return;
    for (const to of graph.get(file) ?? []) visit(to, [...way, file]);
    done.add(file);
  };
  for (const file of graph.keys()) visit(file, []);
  assertEquals(done.has("lib/wire/protocol.ts"), true);
});
