/** Tests of starts with an incomplete database: the server never continues silently without a part. */
import { assertEquals, assertNotEquals, assertStringIncludes } from "@std/assert";
import { DatabaseSync } from "node:sqlite";
import { Msg } from "../harness/protocol_numbers.ts";
import { login, newUser } from "../harness/framed_client.ts";
import { startServer, withServer } from "../harness/server.ts";
import { refusal } from "./database_fixture.ts";

const MESSAGES = 5;

/** Runs `body` with the folder of a new database after a kill: `chat.db`, `chat.db-wal` and `chat.db-shm`. */
async function withKilled(body: (folder: string) => Promise<void>): Promise<void> {
  await using server = await startServer();
  const [ann, bob] = [await newUser(server), await newUser(server)];
  for (let at = 0; at < MESSAGES; at++) await ann.chat(bob.id, "text");
  server.kill("SIGKILL");
  await server.wait();
  for (const client of [ann, bob]) await client.close();
  await body(server.folder);
}

/** Faults of the files, and a part of the error of a start with `name`. */
const CASES: readonly [
  what: string,
  fault: (folder: string) => Promise<void>,
  name: string,
  words: string,
][] = [
  [
    "another hard link",
    (folder) => Deno.link(`${folder}/chat.db`, `${folder}/h.db`),
    "h.db",
    "chat.db-wal may hold",
  ],
  [
    "a new name",
    (folder) => Deno.rename(`${folder}/chat.db`, `${folder}/new.db`),
    "new.db",
    "chat.db-wal may hold",
  ],
  [
    "a hard link in another folder",
    async (folder) => {
      await Deno.mkdir(`${folder}/other`);
      await Deno.link(`${folder}/chat.db`, `${folder}/other/chat.db`);
    },
    "other/chat.db",
    "2 hard links",
  ],
  ["no -wal", (folder) => Deno.remove(`${folder}/chat.db-wal`), "chat.db", "chat.db-wal is missing"],
  [
    "a truncated -wal",
    (folder) => Deno.truncate(`${folder}/chat.db-wal`, 0),
    "chat.db",
    "chat.db-wal is truncated",
  ],
  [
    "a file that is truncated to two pages",
    async (folder) => {
      await Deno.truncate(`${folder}/chat.db`, 8_192);
      for (const suffix of ["-wal", "-shm"]) await Deno.remove(`${folder}/chat.db${suffix}`);
    },
    "chat.db",
    "chat.db is truncated: it has 8192 of",
  ],
  [
    "a file that lacks three bytes",
    async (folder) => {
      const { size } = await Deno.stat(`${folder}/chat.db`);
      await Deno.truncate(`${folder}/chat.db`, size - 3);
      for (const suffix of ["-wal", "-shm"]) await Deno.remove(`${folder}/chat.db${suffix}`);
    },
    "chat.db",
    "chat.db is truncated",
  ],
  [
    "no tables",
    async (folder) => {
      new DatabaseSync(`${folder}/empty.db`).exec("PRAGMA journal_mode = WAL");
      await Deno.copyFile(`${folder}/empty.db`, `${folder}/none.db`);
    },
    "none.db",
    "it has no tables",
  ],
];

for (const [what, fault, name, words] of CASES) {
  Deno.test(`database start: fails with ${what}`, () =>
    withKilled(async (folder) => {
      await fault(folder);
      const before = [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
      assertStringIncludes(await refusal(`${folder}/${name}`), words);
      const after = [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
      assertEquals(
        after.filter((file) => !file.endsWith(".lock")),
        before.filter((file) => !file.endsWith(".lock")),
      );
    }));
}

Deno.test("database start: has the tables of a new database in its file", () =>
  withKilled(async (folder) => {
    await Deno.copyFile(`${folder}/chat.db`, `${folder}/alone.db`);
    const db = new DatabaseSync(`${folder}/alone.db`);
    assertEquals(db.prepare("SELECT count(*) AS n FROM StoreIdentity").get()?.n, 1);
    db.close();
  }));

Deno.test("database start: warns and renews the epoch when a database in use has no -wal", () =>
  withKilled(async (folder) => {
    const file = `${folder}/chat.db`;
    const epochOf = () => {
      const db = new DatabaseSync(file);
      try {
        return db.prepare("SELECT epoch FROM StoreIdentity").get()?.epoch;
      } finally {
        db.close(); // the last connection removes the -wal
      }
    };
    const epoch = epochOf();
    await withServer({ db: file }, async (server) => {
      assertStringIncludes(server.log(), "was not closed by its last server");
      server.kill("SIGTERM");
      await server.wait();
      const renewed = epochOf();
      assertNotEquals(renewed, epoch);
      const from = server.logSize;
      await server.start();
      await using _user = await newUser(server);
      assertEquals(
        server.log(from).includes("was not closed"),
        false,
        "a server that stops closes the database",
      );
      assertEquals(_user.welcome!.epoch, renewed);
    });
  }));

Deno.test("database start: ignores the index of an earlier log, as after a power failure", () =>
  withKilled(async (folder) => {
    const shm = await Deno.readFile(`${folder}/chat.db-shm`);
    for (const copy of [0, 48]) { // the index begins with two copies of its header
      new DataView(shm.buffer).setUint32(copy + 16, 1_000_000, true); // frames
      shm[copy + 32]! ^= 1; // the salt, which differs between logs
    }
    await Deno.writeFile(`${folder}/chat.db-shm`, shm);
    await withServer({ db: `${folder}/chat.db` }, async (server) => {
      await using user = await login(server, { id: 2 });
      assertEquals((await user.take(MESSAGES, Msg.ONE_CHAT)).length, MESSAGES);
    });
  }));

Deno.test("database start: logs no warning after a crash", () =>
  withKilled(async (folder) => {
    await withServer({ db: `${folder}/chat.db` }, async (server) => {
      assertEquals(server.log().includes('"warn"'), false, server.log());
      await using user = await login(server, { id: 2 });
      assertEquals((await user.take(MESSAGES, Msg.ONE_CHAT)).length, MESSAGES);
    });
  }));
