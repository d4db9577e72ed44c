/** What is acknowledged by the embedded store is on the disk: what a loss of power must leave, as far as a test can see. */
import { assertEquals } from "@std/assert";
import { openDatabase } from "../../lib/store/sqlite/database.ts";
import { SqliteStore } from "../../lib/store/sqlite/sqlite_store.ts";
import { granted, makeUsers, ROOMY, send, whole } from "./store_fixture.ts";

const FULL = 2; // of SQLite: the write-ahead log is synced at each commit, before the commit counts

async function withFolder(work: (folder: string) => Promise<void> | void): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "chat-test-" });
  try {
    await work(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("sqlite: I1 each commit is synced, in a new file and in one that was there", () =>
  withFolder((folder) => {
    for (const when of ["new", "opened again"]) {
      const db = openDatabase(`${folder}/chat.db`);
      try {
        const { synchronous } = db.prepare("PRAGMA synchronous").get() as { synchronous: number };
        const { journal_mode } = db.prepare("PRAGMA journal_mode").get() as { journal_mode: string };
        assertEquals([synchronous, journal_mode], [FULL, "wal"], when);
      } finally {
        db.close();
      }
    }
  }));

Deno.test("sqlite: I1 a copy of the files, made when a message is acknowledged, has the message", () =>
  withFolder(async (folder) => {
    const store = await SqliteStore.open(`${folder}/chat.db`, ROOMY);
    const sent = new Map<string, number>(); // by cid, in the order of the answers
    let users: [number, number] = [0, 0];
    let copies = 0;
    try {
      users = await makeUsers(store, 2) as [number, number];
      for (let round = 0; round < 5; round++) {
        await Promise.all(Array.from({ length: 20 }, async (_, i) => {
          const cid = `${round} ${i}`;
          sent.set(cid, granted(await send(store, ...users, cid)).seq);
          if (i !== round) return;
          // In the same step as the answer, with others' messages on their way. No shared memory: a crash keeps none.
          Deno.mkdirSync(`${folder}/${copies}`);
          for (const end of ["", "-wal"]) {
            Deno.copyFileSync(`${folder}/chat.db${end}`, `${folder}/${copies}/chat.db${end}`);
          }
          Deno.writeTextFileSync(`${folder}/${copies++}/sent`, JSON.stringify([...sent]));
        }));
      }
    } finally {
      await store.close();
    }
    assertEquals(copies, 5);
    for (let copy = 0; copy < copies; copy++) {
      const kept = await SqliteStore.open(`${folder}/${copy}/chat.db`, ROOMY);
      try {
        const log = new Map((await whole(kept, ...users)).map(({ cid, seq }) => [cid, seq]));
        const acked = JSON.parse(Deno.readTextFileSync(`${folder}/${copy}/sent`)) as [string, number][];
        for (const [cid, seq] of acked) assertEquals(log.get(cid), seq, `${cid} in copy ${copy}`);
      } finally {
        await kept.close();
      }
    }
  }));
