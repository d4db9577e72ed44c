/** Tests of the commands backup and restore of the embedded database, as an operator runs them. */
import { assert, assertEquals, assertNotEquals, assertStringIncludes } from "@std/assert";
import { DatabaseSync } from "node:sqlite";
import { Errno, Msg } from "../harness/protocol_numbers.ts";
import { ClientProcess } from "../harness/client_process.ts";
import { login, newUser, PASSWORD } from "../harness/framed_client.ts";
import { runProgram } from "../harness/program.ts";
import { startServer } from "../harness/server.ts";

/** Returns the value `n` of a query's first row. */
function one(file: string, query: string): unknown {
  const db = new DatabaseSync(file);
  try {
    return db.prepare(query).get()!.n;
  } finally {
    db.close();
  }
}

/** Logs a user in, and returns the texts of the unread messages and the store's epoch. */
async function unread(server: Awaited<ReturnType<typeof startServer>>, id: number, count: number) {
  await using user = await login(server, { id });
  const texts = (await user.take(count, Msg.ONE_CHAT)).map(({ msg }) => msg);
  await user.settle();
  assertEquals(user.drain(), []);
  return { texts, epoch: user.welcome!.epoch! };
}

Deno.test("backup: has all earlier commits when made beside a busy server", async () => {
  await using server = await startServer();
  const copy = `${server.folder}/copy.db`;
  const alice = await newUser(server);
  const bob = await newUser(server);
  const { epoch } = bob.welcome!;
  await bob.close();
  for (let i = 0; i < 20; i++) await alice.chat(bob.id, `before ${i}`);
  const sending = Promise.all(Array.from({ length: 100 }, (_, i) => alice.chat(bob.id, `beside ${i}`)));
  const backup = await runProgram("main.ts", ["backup", "--db", server.db, "--to", copy]);
  assertEquals([backup.code, backup.stderr], [0, ""]);
  await sending;
  for (let i = 0; i < 5; i++) await alice.chat(bob.id, `after ${i}`);

  const early = await runProgram("main.ts", ["restore", "--from", copy, "--db", server.db]);
  assertEquals(early.code, 1);
  assertStringIncludes(early.stderr, "another server is using it");
  assertEquals((await alice.chat(bob.id, "still here")).errno, Errno.OK);
  server.kill("SIGKILL");
  await server.wait();
  await alice.close();

  const restored = await runProgram("main.ts", ["restore", "--from", copy, "--db", server.db]);
  assertEquals([restored.code, restored.stderr], [0, ""]);
  const [, replaced] = /the former database is now (.+)\n/.exec(restored.stdout)!;
  assertEquals(
    one(replaced!, "SELECT count(*) AS n FROM AnyMessage"),
    126,
    "the previous database is complete",
  );
  assertEquals(one(server.db, "SELECT count(*) AS n FROM User WHERE state = 'online'"), 0);
  await server.start();
  await using user = await login(server, { id: bob.id });
  const { messages } = await user.succeed({ msgid: Msg.HISTORY, id: alice.id, limit: 200 });
  const texts = messages!.map(({ msg }) => msg!);
  const beside = texts.slice(20);
  assertEquals(texts.slice(0, 20), Array.from({ length: 20 }, (_, i) => `before ${i}`));
  assertEquals(beside, beside.map((_, i) => `beside ${i}`), "commits during the backup are a prefix");
  assertNotEquals(user.welcome!.epoch, epoch);
});

Deno.test("restore: makes a running client show new messages with seqs that it has seen before", async () => {
  await using server = await startServer();
  const copy = `${server.folder}/copy.db`;
  let alice = await newUser(server);
  await using bob = await newUser(server);
  await bob.close();
  const args = ["127.0.0.1", `${server.port}`, "--id", `${bob.id}`, "--json", "--follow"];
  await using client = new ClientProcess(args, { env: { CHAT_PASSWORD: PASSWORD } });
  const shows = (text: string) => client.until(({ stdout }) => stdout.includes(`"${text}"`), text);
  await alice.chat(bob.id, "kept");
  await shows("kept");
  assertEquals((await runProgram("main.ts", ["backup", "--db", server.db, "--to", copy])).code, 0);
  for (const text of ["lost 1", "lost 2", "lost 3"]) await alice.chat(bob.id, text);
  await shows("lost 3");
  server.kill("SIGKILL");
  await server.wait();
  await alice.close();
  assertEquals((await runProgram("main.ts", ["restore", "--from", copy, "--db", server.db])).code, 0);
  await server.start();
  alice = await login(server, { id: alice.id });
  assertEquals((await alice.chat(bob.id, "new")).seq, 2);
  await shows("new");
  await alice.close();
});

Deno.test("restore: ignores the -wal of a removed database", async () => {
  await using server = await startServer();
  const copy = `${server.folder}/copy.db`;
  const alice = await newUser(server);
  const bob = await newUser(server);
  await bob.close();
  await alice.chat(bob.id, "kept");
  assertEquals((await runProgram("main.ts", ["backup", "--db", server.db, "--to", copy])).code, 0);
  await Deno.chmod(copy, 0o644);
  for (let i = 0; i < 100; i++) await alice.chat(bob.id, `lost ${i}`);
  server.kill("SIGKILL");
  await server.wait();
  await alice.close();
  await Deno.remove(server.db);
  assert((await Deno.stat(`${server.db}-wal`)).size > 0);
  assertEquals((await runProgram("main.ts", ["restore", "--from", copy, "--db", server.db])).code, 0);
  assertEquals(one(server.db, "SELECT count(*) AS n FROM AnyMessage"), 1);
  assertEquals((await Deno.stat(server.db)).mode! & 0o777, 0o600, "only its owner may read it");
  await server.start();
  assertEquals((await unread(server, bob.id, 1)).texts, ["kept"]);
});

Deno.test("backup, restore: reject a damaged database, and leave no files", async () => {
  await using server = await startServer();
  const copy = `${server.folder}/copy.db`;
  const alice = await newUser(server);
  for (let i = 0; i < 200; i++) await alice.chat(alice.id, "x".repeat(1_000));
  await alice.close();
  server.kill("SIGTERM");
  await server.wait();
  assertEquals((await runProgram("main.ts", ["backup", "--db", server.db, "--to", copy])).code, 0);
  // Changes the user's name in either the table or its index, which then differ.
  const bytes = await Deno.readFile(copy);
  const at = new TextDecoder("latin1").decode(bytes).indexOf(alice.name);
  bytes[at] = bytes[at]! ^ 1;
  await Deno.writeFile(copy, bytes);
  const before = one(server.db, "SELECT epoch AS n FROM StoreIdentity");
  const restored = await runProgram("main.ts", ["restore", "--from", copy, "--db", server.db]);
  assertEquals(restored.code, 1);
  assertStringIncludes(restored.stderr, "the copy is damaged");
  assertEquals(one(server.db, "SELECT epoch AS n FROM StoreIdentity"), before);

  const whole = await Deno.readFile(server.db);
  whole.fill(0xff, whole.length / 2); // the pages of many messages
  const damaged = `${server.folder}/damaged.db`;
  await Deno.writeFile(damaged, whole);
  const backup = await runProgram("main.ts", ["backup", "--db", damaged, "--to", `${server.folder}/none.db`]);
  assertEquals(backup.code, 1);
  assertStringIncludes(backup.stderr, "malformed");
  const left = [...Deno.readDirSync(server.folder)].map(({ name }) => name);
  assertEquals(left.filter((name) => name.includes(".part") || name.includes("none")), []);
});

Deno.test("restore: creates a database that does not exist", async () => {
  await using server = await startServer();
  const [copy, fresh] = [`${server.folder}/copy.db`, `${server.folder}/fresh.db`];
  const alice = await newUser(server);
  await using bob = await newUser(server);
  await bob.close();
  await alice.chat(bob.id, "hi");
  await alice.close();
  assertEquals((await runProgram("main.ts", ["backup", "--db", server.db, "--to", copy])).code, 0);
  assertEquals((await runProgram("main.ts", ["restore", "--from", copy, "--db", fresh])).code, 0);
  await using other = await startServer({ db: fresh });
  assertEquals((await unread(other, bob.id, 1)).texts, ["hi"]);
});

/** Runs a command, which must succeed, and returns its output. */
async function run(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await runProgram("main.ts", args);
  assertEquals([code, stderr], [0, ""]);
  return stdout;
}

function modeOf(file: string): number {
  return Deno.statSync(file).mode! & 0o777;
}

Deno.test("restore: can be undone with all acknowledged data of a crashed server", async () => {
  await using server = await startServer();
  const copy = `${server.folder}/copy.db`;
  const alice = await newUser(server);
  await using bob = await newUser(server);
  await bob.close();
  await run("backup", "--db", server.db, "--to", copy);
  assertEquals(modeOf(copy), 0o600);
  const late = Array.from({ length: 33 }, (_, i) => `late ${i}`);
  for (const text of late) await alice.chat(bob.id, text);
  server.kill("SIGKILL");
  await server.wait();
  await alice.close();
  const [, before] = /the former database is now (.+)\n/.exec(
    await run("restore", "--from", copy, "--db", server.db),
  )!;
  assert((await Deno.stat(`${before}-wal`)).size > 0);
  const again = await run("restore", "--from", before!, "--db", server.db); // within the same second
  const [, second] = /the former database is now (.+)\n/.exec(again)!;
  assertNotEquals(second, before);
  for (const file of [before!, second!]) assert((await Deno.stat(file)).size > 0);
  await server.start();
  assertEquals((await unread(server, bob.id, late.length)).texts, late);
});

Deno.test("restore: accepts a manual copy with its -wal, but not while a server uses it", async () => {
  await using server = await startServer();
  const [alice, bob] = [await newUser(server), await newUser(server)];
  await bob.close();
  await alice.chat(bob.id, "hi");
  const fresh = `${server.folder}/fresh.db`;
  const refused = await runProgram("main.ts", ["restore", "--from", server.db, "--db", fresh]);
  assertEquals(refused.code, 1);
  assertStringIncludes(refused.stderr, `a server is using ${server.db}`);
  server.kill("SIGKILL");
  await server.wait();
  await alice.close();
  await Deno.mkdir(`${server.folder}/hand`);
  const hand = `${server.folder}/hand/chat.db`;
  for (const suffix of ["", "-wal"]) await Deno.copyFile(server.db + suffix, hand + suffix);
  const files = ["", "-wal"].map((suffix) => Deno.readFileSync(hand + suffix));
  await run("restore", "--from", hand, "--db", fresh);
  assertEquals(["", "-wal"].map((suffix) => Deno.readFileSync(hand + suffix)), files);
  await using other = await startServer({ db: fresh });
  assertEquals((await unread(other, bob.id, 1)).texts, ["hi"]);
});

Deno.test("restore: preserves the owner, the permissions and a symbolic link", async () => {
  await using server = await startServer();
  await (await newUser(server)).close();
  const copy = `${server.folder}/copy.db`;
  await run("backup", "--db", server.db, "--to", copy);
  server.kill("SIGTERM");
  await server.wait();
  await Deno.remove(`${server.db}.lock`);
  await Deno.chmod(server.db, 0o640);
  const isRoot = Deno.uid() === 0;
  const [uid, gid] = isRoot ? [1_234, 1_235] : [Deno.uid()!, Deno.gid()!];
  if (isRoot) await Deno.chown(server.db, uid, gid);
  const link = `${server.folder}/link.db`;
  await Deno.symlink("chat.db", link);
  await run("restore", "--from", copy, "--db", link);
  assert((await Deno.lstat(link)).isSymlink);
  for (const file of [server.db, `${server.db}.lock`]) {
    const info = await Deno.stat(file);
    assertEquals([info.uid, info.gid, modeOf(file)], [uid, gid, 0o640], file);
  }
});

Deno.test("restore: replaces a database that a server lost", async () => {
  await using server = await startServer();
  await (await newUser(server)).close();
  const copy = `${server.folder}/copy.db`;
  await run("backup", "--db", server.db, "--to", copy);
  await Deno.rename(server.db, `${server.db}.moved`);
  server.kill("SIGTERM");
  assertEquals(await server.wait(), 1);
  await run("restore", "--from", copy, "--db", server.db);
  await server.start();
  await (await newUser(server)).close();
});

Deno.test("backup, restore: report the kind of damage in one line", async () => {
  await using server = await startServer();
  await (await newUser(server)).close();
  server.kill("SIGTERM");
  await server.wait();
  const { folder, db } = server;
  const { size } = await Deno.stat(db);
  const make = async (name: string, change: (file: string) => unknown) => {
    await Deno.copyFile(db, `${folder}/${name}`);
    await change(`${folder}/${name}`);
    return `${folder}/${name}`;
  };
  const cut = await make("cut", (file) => Deno.truncate(file, size - 3));
  const version = await make("version", (file) => {
    const changed = new DatabaseSync(file);
    changed.exec("PRAGMA user_version = 1");
    changed.close();
  });
  const empty = await make("empty", (file) => Deno.truncate(file, 0));
  const crashed = `${folder}/crashed`; // a copy of the files of a database in use
  await make("used", async (file) => {
    const used = new DatabaseSync(file);
    used.exec("PRAGMA journal_mode = WAL; UPDATE User SET logins = logins + 1");
    for (const suffix of ["", "-wal", "-shm"]) await Deno.copyFile(file + suffix, crashed + suffix);
    used.close();
  });
  await Deno.truncate(`${crashed}-wal`, 100);
  const logless = await make("logless", (file) => Deno.copyFile(`${crashed}-shm`, `${file}-shm`));
  const cases: [args: string[], words: string][] = [
    [
      ["restore", "--from", cut, "--db", `${folder}/x`],
      `${folder}/cut is truncated: it has ${size - 3} of ${size} bytes`,
    ],
    [
      ["backup", "--db", cut, "--to", `${folder}/y`],
      `${folder}/cut is truncated: it has ${size - 3} of ${size} bytes`,
    ],
    [["restore", "--from", version, "--db", `${folder}/x`], "its schema is not that of version 1"],
    [["restore", "--from", empty, "--db", `${folder}/x`], `${folder}/empty is empty`],
    [["restore", "--from", crashed, "--db", `${folder}/x`], "crashed-wal is truncated"],
    [["backup", "--db", crashed, "--to", `${folder}/y`], "crashed-wal is truncated"],
    [["restore", "--from", logless, "--db", `${folder}/x`], "logless-wal is missing"],
    [["backup", "--db", logless, "--to", `${folder}/y`], "logless-wal is missing"],
    [["backup", "--db", db, "--to", `${folder}/none/y`], `the folder ${folder}/none/ does not exist`],
  ];
  for (const [args, words] of cases) {
    const { code, stderr } = await runProgram("main.ts", args);
    assertEquals(code, 1, `${args.join(" ")}: ${stderr}`);
    assertStringIncludes(stderr, words);
    assertEquals(stderr.trimEnd().split("\n").length, 1, stderr);
    assert(stderr.length < 500, stderr);
  }
  const left = [...Deno.readDirSync(folder)].map(({ name }) => name);
  assertEquals(left.filter((name) => /part/.test(name)), []);
});

Deno.test("backup, restore: report an impossible command in one line, and change nothing", async () => {
  const folder = await Deno.makeTempDir({ prefix: "chat-test-" });
  try {
    await Deno.writeTextFile(`${folder}/text`, "no database");
    await Deno.writeTextFile(`${folder}/db`, "kept");
    const refused: [args: string[], code: number, words: string][] = [
      [["backup"], 2, "--db is missing"],
      [["backup", "--db", "x", "--to", "y", "--more", "z"], 2, "unknown argument --more"],
      [["backup", "--db", `${folder}/none`, "--to", `${folder}/copy`], 1, `${folder}/none does not exist`],
      [["backup", "--db", `${folder}/text`, "--to", `${folder}/db`], 1, `${folder}/db exists`],
      [["backup", "--db", `${folder}/text`, "--to", `${folder}/copy`], 1, "not a database"],
      [["restore", "--from", `${folder}/none`, "--db", `${folder}/db`], 1, `${folder}/none does not exist`],
      [["restore", "--from", `${folder}/text`, "--db", `${folder}/db`], 1, "not a database"],
    ];
    for (const [args, code, words] of refused) {
      const outcome = await runProgram("main.ts", args);
      assertEquals(outcome.code, code, outcome.stderr);
      assertStringIncludes(outcome.stderr, words);
      assertEquals(outcome.stderr.trimEnd().split("\n").length, 1);
    }
    assertEquals(await Deno.readTextFile(`${folder}/db`), "kept");
    const left = [...Deno.readDirSync(folder)].map(({ name }) => name).filter((name) =>
      !name.endsWith(".lock")
    );
    assertEquals(left.sort(), ["db", "text"]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
