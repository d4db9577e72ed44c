/** The workflow of continuous integration: what it runs, on which versions of the services. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { database } from "../harness/database_program.ts";
import { ROOT } from "../harness/program.ts";

const read = (path: string) => Deno.readTextFile(new URL(path, ROOT));
const workflow = await read(".github/workflows/ci.yml");
const [, runtime = ""] = /^ARG DENO_VERSION=(.*)$/m.exec(await read("deploy/Dockerfile"))!;

/** The values of a key, wherever it stands, without their quotation marks. */
function values(key: string): string[] {
  return [...workflow.matchAll(new RegExp(`^[ -]*${key}: (.*)$`, "gm"))].map(([, value]) =>
    value!.replace(/^"(.*)"$/, "$1").replace(/ # .*/, "")
  );
}

Deno.test("workflow: runs .ci/run, the store and cluster tests, and an audit of the packages", async () => {
  const { tasks } = JSON.parse(await read("deno.json"));
  const runs = values("run").filter((command) =>
    !command.includes("--version") && !command.includes("apt-get")
  );
  const named = runs.slice(1).map((command) => command.replace(`npx --yes deno@${runtime} task `, ""));
  assertEquals([runs[0], ...named], [".ci/run", "test:store", "test:cluster", "audit"]);
  for (const name of named) assert(tasks[name], `there is no task ${name}`);
  assertEquals(tasks.audit, "deno audit");
});

Deno.test("workflow: names actions by commit and images by version", () => {
  const actions = values("uses");
  assert(actions.length > 0);
  for (const action of actions) assertMatch(action, /^[\w-]+\/[\w-]+@[0-9a-f]{40}$/);
  const images = values("image").filter((image) => image !== "${{ matrix.image }}");
  assert(images.length > 0);
  for (const image of images) {
    assertMatch(image, /^(?:node:\d+\.\d+\.\d+-\w+|debian:\d+\.\d+|ubuntu:\d+\.\d+)$/);
  }
});

Deno.test("workflow: covers MariaDB 10.11 and 11, MySQL 8.4, and Redis 7 and 8", () => {
  assertStringIncludes(workflow, "image: node:22.12.0-bookworm"); // has MariaDB 10.11 and Redis 7, as its comment says
  const databases = values("database").slice(0, values("database-version").length);
  const services = databases.map((name, at) => `${name} ${values("database-version")[at]}`);
  assertEquals(services, ["mariadb 11.8", "mysql 8.4", "mysql 8.0"]);
  assertEquals(values("redis-version"), ["8", "8", "7"]);
  assertEquals(values("TEST_DATABASE"), ["${{ matrix.database }}"]);
  assertEquals(database.name, Deno.env.get("TEST_DATABASE") === "mysql" ? "mysqld" : "mariadbd");
});
