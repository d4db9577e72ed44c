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
