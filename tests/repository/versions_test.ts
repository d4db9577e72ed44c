/**
 * The project has one version, and the runtime and packages have one exact version, wherever a file names it.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { VERSION } from "../../lib/version.ts";
import { ROOT } from "../harness/program.ts";

const EXACT = /^\d+\.\d+\.\d+$/;

const read = (path: string) => Deno.readTextFile(new URL(path, ROOT));
const [, runtime = ""] = /^ARG DENO_VERSION=(.*)$/m.exec(await read("deploy/Dockerfile"))!;

Deno.test("versions: --version, deno.json and the newest release in CHANGELOG.md are one", async () => {
  assertMatch(VERSION, EXACT);
  assertEquals(JSON.parse(await read("deno.json")).version, VERSION);
  const [, newest] = /^## \[(\d[^\]]*)\] - \d{4}-\d{2}-\d{2}$/m.exec(await read("CHANGELOG.md")) ?? [];
  assertEquals(newest, VERSION);
});

Deno.test("versions: the runtime is the same exact one in the image, the workflow, the README and the tests", async () => {
  assertMatch(runtime, EXACT);
  for (
    const path of [
      "README.md",
      "README.zh-CN.md",
      ".ci/run",
      ".github/workflows/ci.yml",
      "tests/protocol/signals_test.ts",
    ]
  ) {
    const named = [...(await read(path)).matchAll(/\bdeno@([\w.^~-]*\w)/g)].map(([, version]) => version!);
    assert(named.length > 0, path);
    assertEquals([...new Set(named)], [runtime], path);
  }
});

Deno.test("versions: packages are exact, and the lock file has them so", async () => {
  const { imports, lock } = JSON.parse(await read("deno.json"));
  assertEquals(lock, { frozen: true });
  const packages = Object.values<string>(imports).map((specifier) =>
    /^(\w+:@?[^@]+)@(.*)$/.exec(specifier)!.slice(1, 3)
  );
  for (const [name, version] of packages) assertMatch(version!, EXACT, name);
  const { specifiers, npm } = JSON.parse(await read("deno.lock"));
  const own = packages.filter(([name]) => name!.startsWith("npm:")).map(([name, version]) =>
    `${name}@${version}`
  );
  assertEquals(Object.keys(specifiers).toSorted(), own.toSorted());
  for (const [name, { integrity }] of Object.entries<{ integrity: string }>(npm)) {
    assertMatch(integrity, /^sha512-/, name);
  }
});

Deno.test("versions: the workflow runs what .ci/run runs, audits the packages, and names actions by commit", async () => {
  const workflow = await read(".github/workflows/ci.yml");
  const runs = [...workflow.matchAll(/- run: (.*)/g)].map(([, command]) => command);
  assertEquals(runs, [".ci/run", `npx --yes deno@${runtime} task audit`]);
  assertEquals(JSON.parse(await read("deno.json")).tasks.audit, "deno audit");
  const actions = [...workflow.matchAll(/uses: (\S+)/g)].map(([, action]) => action!);
  assert(actions.length > 0);
  for (const action of actions) assertMatch(action, /^[\w-]+\/[\w-]+@[0-9a-f]{40}$/);
  for (const [, image] of workflow.matchAll(/image: (\S+)/g)) assertMatch(image!, /^\w+:\d+\.\d+\.\d+\b/);
});
