/**
 * Tests of the checkpoint thread: it copies the write-ahead log during commits, and limits the log's size.
 */
import { assertEquals, assertLess, assertRejects } from "@std/assert";
import { Buffer } from "node:buffer";
import type { DatabaseSync } from "node:sqlite";
import { Checkpoints } from "../../lib/store/sqlite/checkpoints.ts";
import { openDatabase } from "../../lib/store/sqlite/database.ts";
import { fileIdentity } from "../../lib/store/sqlite/file_watch.ts";
import { readLatestCommit } from "../../lib/store/sqlite/newest.ts";
import { SqliteStore } from "../../lib/store/sqlite/sqlite_store.ts";
import { granted, makeUsers, NOON, PLENTY, ROOMY, seqs } from "./store_fixture.ts";
import { until, within } from "../harness/wait.ts";

const MEBIBYTE = 1_048_576;

async function sizeOf(file: string): Promise<number> {
  return await Deno.stat(file).then(({ size }) => size, () => 0);
}

async function withFile(body: (file: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    await body(`${directory}/chat.db`);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("sqlite checkpoints: limit the log while 120 MiB are written, and empty it at close", () =>
  withFile(async (file) => {
    const store = await SqliteStore.open(file, ROOMY);
    await store.start();
    const [sender, peer] = await makeUsers(store, 2) as [number, number];
    const body = "x".repeat(60_000);
    const [rounds, each] = [200, 10];
    let largest = 0;
    for (let round = 0; round < rounds; round++) {
      const sent = Array.from({ length: each }, (_, at) => {
        return store.append({ sender, peer, cid: `${round} ${at}`, body, time: NOON });
      });
      (await Promise.all(sent)).forEach(granted);
      largest = Math.max(largest, await sizeOf(`${file}-wal`));
    }
    assertLess(largest, 40 * MEBIBYTE, "the committing thread alone lets 64 MiB gather");
    await store.close();
    assertEquals([await sizeOf(`${file}-wal`), await sizeOf(`${file}-shm`)], [0, 0]);
    const again = await SqliteStore.open(file, ROOMY);
    const page = await again.read(peer, sender, rounds * each - 2, 10, PLENTY);
    assertEquals(seqs(page), [rounds * each - 1, rounds * each]);
    await again.close();
  }));

Deno.test("sqlite checkpoints: copy a commit soon, without delaying the next one", () =>
  withFile(async (file) => {
    const db = openDatabase(file);
    const checkpoints = new Checkpoints(db);
    await checkpoints.open(file);
    db.exec("CREATE TABLE large (text TEXT)");
    const before = await sizeOf(file);
    db.exec("INSERT INTO large VALUES (hex(zeroblob(500000)))");
    assertEquals(await sizeOf(file), before, "not by the commit itself");
    checkpoints.onCommit();
    await until(async () => await sizeOf(file) > before + 900_000, "the copy");
    const small = await Deno.readFile(file);
    db.exec("INSERT INTO large VALUES ('right after it')");
    checkpoints.onCommit();
    await until(
      async () => !Buffer.from(small).equals(await Deno.readFile(file)),
      "the copy of the commits within 20 ms",
    );
    await checkpoints.close();
    const { n } = db.prepare("SELECT count(*) AS n FROM large").get() as { n: number };
    assertEquals(n, 2);
    db.close();
  }));

Deno.test("sqlite checkpoints: close without waiting for a thread that is starting", () =>
  withFile(async (file) => {
    const db = openDatabase(file);
    const endless = new URL("data:text/javascript,"); // it never sends `ready`
    const checkpoints = new Checkpoints(db, endless);
    void checkpoints.open(file);
    db.exec("CREATE TABLE small (n INTEGER)");
    checkpoints.onCommit();
    await within(checkpoints.close(), "the thread's end");
    db.close();
  }));

Deno.test("sqlite checkpoints: allow commits and close when the checkpoint thread has died", () =>
  withFile(async (file) => {
    const db = openDatabase(file);
    const broken = new URL(
      "data:text/javascript,onmessage = () => { throw new Error('out of luck'); }; postMessage({ kind: 'ready' });",
    );
    const checkpoints = new Checkpoints(db, broken);
    await checkpoints.open(file);
    db.exec("CREATE TABLE small (n INTEGER)");
    for (const end = performance.now() + 1_500; performance.now() < end;) {
      db.exec("INSERT INTO small VALUES (1)");
      checkpoints.onCommit();
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await checkpoints.close();
    const { n } = db.prepare("SELECT count(*) AS n FROM small").get() as { n: number };
    assertLess(1, n);
    db.close();
  }));

Deno.test("sqlite checkpoints: continue when the database thread cannot copy the rest of the log", async () => {
  const longLog = new URL(
    `data:text/javascript,onmessage = ({ data }) =>
      postMessage(data.kind === "open" ? { kind: "opened" } : { kind: "done", pages: 1_000_000 });
    postMessage({ kind: "ready" });`,
  );
  let attempts = 0;
  const get = () => {
    attempts++;
    throw new Error("disk I/O error");
  };
  const checkpoints = new Checkpoints({ prepare: () => ({ get }) } as unknown as DatabaseSync, longLog);
  await checkpoints.open("chat.db");
  for (const expected of [1, 2]) {
    checkpoints.onCommit();
    await until(() => attempts >= expected, `attempt ${expected}`);
  }
  await checkpoints.close();
});

Deno.test("sqlite checkpoints: open the locked file only, and create none", () =>
  withFile(async (file) => {
    const db = openDatabase(file);
    const identity = fileIdentity(await Deno.stat(file));
    const newest = readLatestCommit(db);
    await Deno.copyFile(file, `${file}.other`);
    for (
      const [name, opens] of [[file, true], [`${file}.other`, false], [`${file}.missing`, false]] as const
    ) {
      const checkpoints = new Checkpoints(db);
      await checkpoints.open(name, identity);
      if (opens) await checkpoints.verify(newest);
      else {await assertRejects(
          () => checkpoints.verify(newest),
          Error,
          "the checkpoint thread is not running",
        );}
      await checkpoints.close();
    }
    db.close();
    const left = [...Deno.readDirSync(file.slice(0, file.lastIndexOf("/")))].map(({ name }) => name).sort();
    assertEquals(left, ["chat.db", "chat.db.other"]);
  }));
