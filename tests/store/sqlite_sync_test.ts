/**
 * Tests of durability: acknowledged data is on the disk, as far as a test without a power failure can tell.
 */
import { assertEquals } from "@std/assert";
import { openDatabase } from "../../lib/store/sqlite/database.ts";
import { SqliteStore } from "../../lib/store/sqlite/sqlite_store.ts";
import { granted, makeUsers, ROOMY, send, whole } from "./store_fixture.ts";

const FULL = 2; // SQLite syncs the write-ahead log at each commit

async function withFolder(work: (folder: string) => Promise<void> | void): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "chat-test-" });
  try {
    await work(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("sqlite: I1 syncs each commit, in a new and in an existing file", () =>
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

Deno.test("sqlite: I1 has a message in the files when it is acknowledged", () =>
  withFolder(async (folder) => {
    const store = await SqliteStore.open(`${folder}/chat.db`, ROOMY);
    const sent = new Map<string, number>(); // seqs by cid, in the order of the acknowledgements
    let users: [number, number] = [0, 0];
    let copies = 0;
    try {
      users = await makeUsers(store, 2) as [number, number];
      for (let round = 0; round < 5; round++) {
        await Promise.all(Array.from({ length: 20 }, async (_, i) => {
          const cid = `${round} ${i}`;
          sent.set(cid, granted(await send(store, ...users, cid)).seq);
          if (i !== round) return;
          // Synchronously with the acknowledgement, while others are in flight. No -shm: a crash loses it.
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
      const copied = await SqliteStore.open(`${folder}/${copy}/chat.db`, ROOMY);
      try {
        const log = new Map((await whole(copied, ...users)).map(({ cid, seq }) => [cid, seq]));
        const acked = JSON.parse(Deno.readTextFileSync(`${folder}/${copy}/sent`)) as [string, number][];
        for (const [cid, seq] of acked) assertEquals(log.get(cid), seq, `${cid} in copy ${copy}`);
      } finally {
        await copied.close();
      }
    }
  }));
