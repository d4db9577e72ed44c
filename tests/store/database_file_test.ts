/** Tests of a server whose database file is removed, moved, replaced, or used by a second server. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { DatabaseSync } from "node:sqlite";
import { Errno, Msg, type Received } from "../harness/protocol_numbers.ts";
import { type FramedClient, login, newUser } from "../harness/framed_client.ts";
import { type Server, serverTest, withServer } from "../harness/server.ts";
import { until } from "../harness/wait.ts";
import { entries, type Entry, EXIT_FAILED, messagesIn, refusal, saved } from "./database_fixture.ts";

const MESSAGES = 20; // acknowledged before each fault

function isLoss({ event }: Entry): boolean {
  return event.startsWith("the database file is lost");
}

function send(from: FramedClient, toid: number, cid: string): Promise<Received> {
  return from.request({ msgid: Msg.ONE_CHAT, toid, msg: "text", cid });
}

/** Sends messages one after the other, and asserts that each is acknowledged. */
async function sendSome(from: FramedClient, toid: number): Promise<void> {
  for (let at = 0; at < MESSAGES; at++) assertEquals((await send(from, toid, `cid ${at}`)).errno, Errno.OK);
}

async function removeAll(db: string): Promise<void> {
  for (const suffix of ["", "-wal", "-shm", ".lock"]) await Deno.remove(db + suffix);
}

async function replace(db: string): Promise<void> {
  await Deno.copyFile(db, `${db}.other`);
  await Deno.rename(`${db}.other`, db);
}

/** Replaces the log with a copy, which SQLite would accept. */
async function replaceLog(db: string): Promise<void> {
  await Deno.copyFile(`${db}-wal`, `${db}-wal.other`);
  await Deno.rename(`${db}-wal.other`, `${db}-wal`);
}

/** A fault, and the file that has all messages afterwards; undefined if that is the rescued copy. */
interface Fault {
  readonly name: string;
  readonly args?: readonly string[];
  readonly cause: (db: string) => Promise<void>;
  /** Whether a reader prevents SQLite from restarting the log, so that the log has all messages. */
  readonly withReader?: boolean;
  readonly whole?: (db: string) => string;
}

const FAULTS: readonly Fault[] = [
  { name: "all its files are removed", cause: removeAll },
  { name: "all its files are removed under two workers", args: ["--workers", "2"], cause: removeAll },
  { name: "it is replaced by another file", cause: replace },
  { name: "it is moved", cause: (db) => Deno.rename(db, `${db}.moved`), whole: (db) => `${db}.moved` },
  { name: "its -wal is removed", cause: (db) => Deno.remove(`${db}-wal`), whole: (db) => db },
  { name: "its -wal is replaced", cause: replaceLog, whole: (db) => db },
  { name: "its -shm is removed", cause: (db) => Deno.remove(`${db}-shm`), whole: (db) => db },
  { name: "its -wal is truncated to nothing", cause: (db) => Deno.truncate(`${db}-wal`, 0) },
  {
    name: "its -wal is truncated to 20000 bytes",
    cause: (db) => Deno.truncate(`${db}-wal`, 20_000),
    withReader: true,
  },
];

/** Waits for the log entry with the place of the data. */
async function rescued(server: Server, { whole }: Fault): Promise<Entry> {
  const entry = await saved(server);
  assertEquals(entry.copy === undefined, whole !== undefined, entry.event);
  return entry;
}

for (const fault of FAULTS) {
  serverTest(
    `database file: acknowledges nothing more and loses nothing when ${fault.name}`,
    { args: ["--drain-timeout", "2s", ...fault.args ?? []] },
    async (server) => {
      const [ann, bob] = [await newUser(server), await newUser(server)];
      const reader = fault.withReader ? new DatabaseSync(server.db, { readOnly: true }) : undefined;
      reader?.exec("BEGIN; SELECT count(*) FROM User");
      await sendSome(ann, bob.id);
      await fault.cause(server.db);
      reader?.close();
      assertEquals(
        (await send(ann, bob.id, "late")).errno,
        Errno.UNAVAILABLE,
        "the next message is rejected",
      );
      const { event, copy } = await rescued(server, fault);
      const file = copy ?? fault.whole!(server.db);
      const page = { msgid: Msg.HISTORY, id: bob.id };
      assertEquals(
        (await ann.request(page)).errno,
        Errno.UNAVAILABLE,
        "reads on the same connection are rejected",
      );
      server.kill("SIGTERM");
      assertEquals(await server.wait(), EXIT_FAILED);
      assertEquals(entries(server).filter(isLoss).map(({ level }) => level), ["error"]);
      const last = entries(server).findLast(({ level }) => level !== "info");
      assertEquals(last?.event, `the database file was lost: ${event}`);
      for (const { event, error = "" } of entries(server)) {
        assert(
          error.split("while the server used it").length <= 2,
          `the error is repeated: ${event}: ${error}`,
        );
      }
      for (const client of [ann, bob]) await client.close();

      assert(messagesIn(file) >= MESSAGES, "all messages are in the file");
      if (file !== server.db) {
        assertStringIncludes(await refusal(server.db), file === copy ? file : "move the database");
        await Deno.rename(file, server.db);
      }
      assertEquals((await Deno.stat(server.db)).mode! & 0o777, 0o600);
      await server.restart();
      await using again = await login(server, { name: ann.name });
      assertEquals((await send(again, bob.id, "cid 3")).seq, 4, "the server continues with them");
    },
  );
}

serverTest(
  "database file: is copied when it is moved while a reader prevents a checkpoint",
  {},
  async (server) => {
    const [ann, bob] = [await newUser(server), await newUser(server)];
    const reader = new DatabaseSync(server.db, { readOnly: true });
    reader.exec("BEGIN; SELECT count(*) FROM User"); // further commits stay in the -wal
    await sendSome(ann, bob.id);
    await Deno.rename(server.db, `${server.db}.moved`);
    const { copy } = await saved(server);
    assertEquals(messagesIn(copy!), MESSAGES);
    reader.close();
    for (const client of [ann, bob]) await client.close();
    server.kill("SIGTERM");
    assertEquals(await server.wait(), EXIT_FAILED);
  },
);

/** Overwrites a database in place, as `cp copy.db chat.db` does. */
async function overwrite(db: string): Promise<void> {
  const copy = await Deno.readFile(db);
  new DataView(copy.buffer).setUint32(24, 1); // the file's counter is higher by now
  using open = await Deno.open(db, { write: true });
  await open.write(copy);
}

for (
  const [what, cause] of [
    ["its file is removed", (db: string) => Deno.remove(db)],
    ["its file is truncated", (db: string) => Deno.truncate(db, 4_096)],
    [
      "its file is overwritten by one of the same size",
      (db: string) => Deno.writeFile(db, new Uint8Array(Deno.statSync(db).size)),
    ],
    ["its file is overwritten by an older copy", overwrite],
    ["its -wal is truncated", (db: string) => Deno.truncate(`${db}-wal`, 0)],
  ] as const
) {
  serverTest(`database file: reports while idle that ${what}`, {}, async (server) => {
    await (await newUser(server)).close();
    await cause(server.db);
    await until(() => entries(server).some(isLoss), "an error in the log");
    server.kill("SIGTERM");
    assertEquals(await server.wait(), EXIT_FAILED);
  });
}

serverTest(
  "database file: is saved when the server stops right after the files are removed",
  {},
  async (server) => {
    const [ann, bob] = [await newUser(server), await newUser(server)];
    await sendSome(ann, bob.id);
    for (const client of [ann, bob]) await client.close();
    await removeAll(server.db);
    server.kill("SIGTERM");
    assertEquals(await server.wait(), EXIT_FAILED);
    const { copy } = await rescued(server, FAULTS[0]!);
    assertEquals(messagesIn(copy!), MESSAGES);
    assertStringIncludes(await refusal(server.db), ".rescued-", "no new database is created");
  },
);

serverTest(
  "database file: rejects a second server under any of its names",
  {},
  async (server) => {
    const { db, folder } = server;
    await Deno.mkdir(`${folder}/other`);
    await Deno.symlink(db, `${folder}/symlink.db`);
    await Deno.symlink("../symlink.db", `${folder}/other/relative.db`);
    await Deno.link(db, `${folder}/other/hard.db`);
    for (const name of ["symlink.db", "other/relative.db", "other/hard.db"]) {
      assertStringIncludes(await refusal(`${folder}/${name}`), "another server is using it");
    }
    await Deno.remove(`${db}.lock`);
    assertStringIncludes(await refusal(db), "another server is using it");

    const [ann, bob] = [await newUser(server), await newUser(server)];
    await sendSome(ann, bob.id);
    assertEquals(messagesIn(db), MESSAGES, "other programs may read meanwhile");
    await sendSome(ann, bob.id);
    for (const client of [ann, bob]) await client.close();
    server.kill("SIGTERM");
    assertEquals(await server.wait(), 0);
    assertEquals(messagesIn(db), MESSAGES);
  },
);

Deno.test("database file: is created at the target of a symbolic link", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.symlink("real.db", `${folder}/link.db`);
    await withServer({ db: `${folder}/link.db` }, async (server) => {
      assertStringIncludes(await refusal(`${folder}/real.db`), "another server is using it");
      await (await newUser(server)).close();
    });
    assertEquals((await Deno.stat(`${folder}/real.db`)).mode! & 0o777, 0o600);
    const wal = `${folder}/real.db-wal`;
    await Deno.remove(`${folder}/real.db`);
    assertStringIncludes(await refusal(`${folder}/link.db`), wal);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

serverTest("database file: fails a start when a -wal has no database", {}, async (server) => {
  await (await newUser(server)).close();
  server.kill("SIGKILL");
  await server.wait();
  const wal = `${server.db}-wal`;
  const before = await Deno.readFile(wal);
  await Deno.rename(server.db, `${server.db}.away`);
  assertStringIncludes(await refusal(server.db), wal);
  await Deno.writeTextFile(server.db, ""); // SQLite would delete the log beside an empty database
  assertStringIncludes(await refusal(server.db), wal);
  assertEquals(await Deno.readFile(wal), before);
  await Deno.rename(`${server.db}.away`, server.db);
  await server.start();
  await (await newUser(server)).close();
});
