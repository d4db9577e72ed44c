/** Tests of the embedded database's default place. */
import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { DatabaseSync } from "node:sqlite";
import { plant } from "../chaos/bugs.ts";
import { newUser } from "../harness/framed_client.ts";
import { type Server, startServer, withServer } from "../harness/server.ts";
import { until } from "../harness/wait.ts";

const PERMISSIONS = [["-A"], ["--no-prompt", "-P=server"]];

/** A server without the option --db, in a checkout of its own. */
const at = (root: string, permissions: readonly string[]) => ({ root, permissions, usualDb: true });

async function register(server: Server, name: string): Promise<void> {
  await using user = await newUser(server, name);
  await user.settle();
}

/** Returns whether the name is in use, so that the server uses the database of its registration. */
async function isThere(server: Server, name: string): Promise<boolean> {
  return await register(server, name).then(() => false, () => true);
}

for (const permissions of PERMISSIONS) {
  const set = permissions.at(-1)!;

  Deno.test(`database: ${set}: is in data/, which only the server's account may read`, async () => {
    await using tree = await plant();
    const before = [...Deno.readDirSync(tree.root)].map(({ name }) => name);
    await withServer({ ...at(tree.root, permissions), umask: "0" }, (server) => register(server, "alice"));
    const added = [...Deno.readDirSync(tree.root)].map(({ name }) => name).filter((name) =>
      !before.includes(name)
    );
    assertEquals(added, ["data"]);
    assertEquals(Deno.statSync(`${tree.root}/data`).mode! & 0o777, 0o700);
    const files = [...Deno.readDirSync(`${tree.root}/data`)];
    assert(files.length > 1, "the write-ahead log is there, too");
    for (const { name } of files) {
      assertMatch(name, /^chat\.db/);
      if (!name.endsWith(".lock")) {
        assertEquals(Deno.statSync(`${tree.root}/data/${name}`).mode! & 0o777, 0o600, name);
      }
    }
    // The folder exists now.
    await withServer(at(tree.root, permissions), async (server) => assert(await isThere(server, "alice")));
  });

  Deno.test(`database: ${set}: is a chat.db in the working directory if there is one, with a notice`, async () => {
    await using tree = await plant();
    await withServer({ root: tree.root, db: "chat.db" }, async (server) => {
      await register(server, "alice");
      server.kill("SIGTERM");
      assertEquals(await server.wait(), 0);
    });
    assertEquals([...Deno.readDirSync(tree.root)].some(({ name }) => name === "chat.db-wal"), false);
    await withServer(at(tree.root, permissions), async (server) => {
      assert(await isThere(server, "alice"));
      assertEquals(await isThere(server, "bob"), false);
      assertMatch(
        server.log(),
        /the database is still at the default place of earlier releases.*mkdir -pm 700 data && mv chat\.db\* data\//,
      );
    });
    assertEquals([...Deno.readDirSync(tree.root)].some(({ name }) => name === "data"), false);
    // As the notice advises.
    const moved = new Deno.Command("sh", {
      args: ["-c", "mkdir -pm 700 data && mv chat.db* data/"],
      cwd: tree.root,
    });
    assert((await moved.output()).success);
    await withServer(at(tree.root, permissions), async (server) => {
      assert(await isThere(server, "bob"));
      assertEquals(server.log().includes("is still at the default place of earlier releases"), false);
    });
  });

  Deno.test(`database: ${set}: fails the start when there is one in both places`, async () => {
    await using tree = await plant();
    for (const db of ["chat.db", "data/chat.db"]) {
      await Deno.mkdir(`${tree.root}/data`, { recursive: true });
      await withServer({ root: tree.root, db }, (server) => register(server, "alice"));
    }
    const error = await assertRejects(() => startServer(at(tree.root, permissions)), Error);
    assertStringIncludes(error.message, "both chat.db and data/chat.db exist; name one with --db");
    await withServer({ root: tree.root, permissions, db: "chat.db" }, async (server) => {
      assert(await isThere(server, "alice"));
    });
  });

  Deno.test(`database: ${set}: fails the start when a lost chat.db left files`, async () => {
    await using tree = await plant();
    await Deno.writeTextFile(`${tree.root}/chat.db-wal`, "messages");
    const error = await assertRejects(() => startServer(at(tree.root, permissions)), Error);
    assertStringIncludes(error.message, "chat.db-wal holds messages");
  });
}

Deno.test("database: fails the start when there is a rescued copy of a lost chat.db", async () => {
  await using tree = await plant();
  await Deno.writeTextFile(`${tree.root}/chat.db.rescued-1`, "messages");
  const error = await assertRejects(() => startServer(at(tree.root, ["-A"])), Error);
  assertStringIncludes(error.message, "chat.db.rescued-1");
});

Deno.test("database: fails the start in one line with an action when the folder cannot be created", async () => {
  await using tree = await plant();
  const permissions = ["--no-prompt", "--allow-net", "--allow-read", "--allow-env=CHAT_*"];
  const error = await assertRejects(() => startServer(at(tree.root, permissions)), Error);
  assertStringIncludes(error.message, "Cannot create the folder data for the database");
  assertStringIncludes(error.message, "name a file with --db");
});

Deno.test("database: -P=server: rescues acknowledged data into data/ when the file is removed", async () => {
  await using tree = await plant();
  await withServer(at(tree.root, ["--no-prompt", "-P=server"]), async (server) => {
    await register(server, "alice");
    await Deno.remove(`${tree.root}/data/chat.db`);
    const copy = await until(
      () =>
        [...Deno.readDirSync(`${tree.root}/data`)].find(({ name }) => /^chat\.db\.rescued-\w+$/.test(name)),
      "the copy",
    );
    using db = new DatabaseSync(`${tree.root}/data/${copy.name}`, { readOnly: true });
    assertEquals(db.prepare("SELECT name FROM User").all().map(({ name }) => name), ["alice"]);
  });
});
