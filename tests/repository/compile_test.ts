/** `deno task compile`: the images contain everything that the programs load. */
import { assert, assertEquals } from "@std/assert";

const tasks = JSON.parse(await Deno.readTextFile("deno.json")).tasks as Record<string, string>;

/**
 * Builds an image as the task does, into a temporary folder, and returns the compiler's list of its contents.
 */
async function compile(task: string): Promise<string> {
  const folder = await Deno.makeTempDir();
  try {
    const words = tasks[task]!.replaceAll('"', "").replace(/\$(\w+)/g, (_, name) => Deno.env.get(name) ?? "");
    const [deno, ...args] = words.split(" ").map((arg) => arg.startsWith("bin/") ? `${folder}/image` : arg);
    assertEquals(deno, "deno");
    // The base binary is usually downloaded. With any other file in its place the image has the same
    // contents.
    const env = { DENORT_BIN: await Deno.realPath(Deno.execPath()), NO_COLOR: "1" };
    const { code, stderr } = await new Deno.Command(Deno.execPath(), { args, env }).output();
    const said = new TextDecoder().decode(stderr);
    assertEquals(code, 0, said);
    assert((await Deno.stat(`${folder}/image`)).size > 0);
    return said;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("compile: the server's image contains threads, schema and dynamically loaded modules", async () => {
  const said = await compile("compile:server");
  for (const file of ["main.ts", "schema.sql", "mysql2", "ioredis"]) {
    assert(said.includes(file), `${file} in:\n${said}`);
  }
});

Deno.test("compile: the modules of all threads are included by name", async () => {
  const included = [...tasks["compile:server"]!.matchAll(/--include (\S+)/g)].map(([, path]) => path);
  const started: string[] = [];
  for await (const path of sources("lib")) {
    const text = await Deno.readTextFile(path);
    for (const [, module] of text.matchAll(/new URL\("\.\/(\w+\.ts)", import\.meta\.url\)/g)) {
      started.push(path.replace(/[^/]+$/, module!));
    }
  }
  assertEquals(started.toSorted(), included.toSorted());
});

Deno.test("compile: the client's image contains no server code but the wire code", async () => {
  const said = await compile("compile:client");
  for (const part of ["client.ts", "wire"]) assert(said.includes(part), `${part} in:\n${said}`);
  for (const part of ["main.ts", "server", "sqlite"]) assert(!said.includes(part), `${part} in:\n${said}`);
});

async function* sources(folder: string): AsyncGenerator<string> {
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    if (isDirectory) yield* sources(`${folder}/${name}`);
    else if (name.endsWith(".ts")) yield `${folder}/${name}`;
  }
}

Deno.test("compile: the server's image has the permissions of -P=server, the admin's all", async () => {
  const { permissions } = JSON.parse(await Deno.readTextFile("deno.json"));
  const { net, read, write, env, sys, ...others } = permissions.server;
  assertEquals([net, env.ignore, others], [true, true, {}]);
  const isInside = (path: string) => ["./lib", "./schema.sql"].includes(path); // the image contains the code
  const list = (paths: string[]) =>
    paths.filter((path) => !isInside(path)).map((path) => path.replace(/^\.\//, ""));
  const flags = tasks["compile:server"]!.split(" ").filter((arg) =>
    /^(?:-A|--(?:allow|ignore|deny)-.*)$/.test(arg)
  );
  assertEquals(flags.toSorted(), [
    `--allow-env=${env.allow.filter((name: string) => name !== "npm_command")}`, // npm does not start images
    "--allow-net",
    `--allow-read=${list(read)}`,
    `--allow-sys=${sys}`,
    `--allow-write=${list(write)}`,
    "--ignore-env",
  ]);
  assert(tasks["compile:server"]!.includes(" --no-prompt "));
  const included = (task: string) => tasks[task]!.match(/--include \S+/g);
  assertEquals(included("compile:admin"), included("compile:server"));
});
