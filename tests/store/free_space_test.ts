/** Tests of the limit of free space on the embedded database's disk: to the byte, and with a server. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { statfsSync } from "node:fs";
import type { Batch } from "../../lib/store/sqlite/calls.ts";
import { IN_MEMORY, openDatabase } from "../../lib/store/sqlite/database.ts";
import { Executor } from "../../lib/store/sqlite/executor.ts";
import { type DiskSpace, FreeSpace } from "../../lib/store/sqlite/free_space.ts";
import { Memtable } from "../../lib/store/sqlite/memtable.ts";
import { Errno, Msg } from "../harness/protocol_numbers.ts";
import { login, newUser } from "../harness/framed_client.ts";
import { writableFolder } from "../harness/program.ts";
import { startServer } from "../harness/server.ts";
import { until } from "../harness/wait.ts";
import { NOON, ROOMY } from "./store_fixture.ts";

const MIN = 1_048_576; // the minimum of the option

Deno.test("min-free-space: is low one byte below the limit, and reports each change once", () => {
  const told: DiskSpace[] = [];
  let free = MIN;
  const space = new FreeSpace("file", MIN, (seen) => told.push(seen), () => free);
  const look = (bytes: number) => {
    free = bytes;
    space.check();
    return space.isLow;
  };
  assertEquals([MIN, MIN - 1, 0, MIN, MIN - 1].map(look), [false, true, true, false, true]);
  assertEquals(told.map(({ space }) => space), ["low", "enough", "low"]);
  assertEquals(told[0]!.free, MIN - 1);
});

Deno.test("min-free-space: is not low when the space is unknown, and reports that once", () => {
  const told: DiskSpace[] = [];
  const space = new FreeSpace("file", MIN, (seen) => told.push(seen), () => {
    throw new Error("no");
  });
  for (let i = 0; i < 3; i++) {
    space.check();
    assertEquals(space.isLow, false);
  }
  assertEquals(told, [{ space: "unknown", free: "no" }]);
  new FreeSpace("file", 0, () => told.push({ space: "low", free: 0 }), () => 0).isLow;
  assertEquals(told.length, 1, "without a limit nothing is checked");
});

Deno.test("min-free-space: accepts a duplicate of a compacted message when the space is low", () => {
  const db = openDatabase(IN_MEMORY);
  try {
    const space = { isLow: false };
    const executor = new Executor(db, ROOMY, new Memtable(db, 2), space);
    const run = (changes: Batch["changes"]) => executor.run([{ changes, reads: [] }])[0]!.results;
    const append = (cid: string): Batch["changes"][number] => ["append", 1, 2, cid, cid, NOON];
    run([["createUser", "u1", "hash"], ["createUser", "u2", "hash"]]);
    for (let i = 0; i < 20; i++) run([append(`${i}`)]); // each batch compacts earlier messages
    assertEquals(db.prepare("SELECT count(*) AS n FROM Message WHERE cid = '0'").get()!.n, 1);
    space.isLow = true;
    assertEquals(run([append("0"), append("19"), append("20")]), [
      { seq: 1, time: NOON, duplicate: true },
      { seq: 20, time: NOON, duplicate: true },
      { refused: "disk_full" },
    ]);
    space.isLow = false;
    assertEquals(run([append("20")]), [21]);
  } finally {
    db.close();
  }
});

/** Distance of the limit from the free bytes: other tests create and remove databases meanwhile. */
const MARGIN = 1_073_741_824;

Deno.test("min-free-space: rejects new messages below the limit, and accepts duplicates and all other requests", async () => {
  const folder = await Deno.makeTempDir({ prefix: "chat-space-" });
  try {
    const { bavail, bsize } = statfsSync(folder);
    const args = ["--min-free-space", `${bavail * bsize - MARGIN}`];
    await using server = await startServer({ args });
    const alice = await newUser(server);
    await using bob = await newUser(server);
    const first = await alice.chat(bob.id, "1", "c1");
    assertEquals(first.errno, Errno.OK);
    const filler = `${folder}/filler`;
    const { success } = await new Deno.Command("fallocate", { args: ["-l", `${2 * MARGIN}`, filler] })
      .output();
    assertEquals(success, true);
    const refused = await until(async () => {
      const reply = await alice.chat(bob.id, "2");
      return reply.errno === Errno.OK ? undefined : reply;
    }, "a refusal");
    assertEquals([refused.errno, refused.errmsg, refused.retry_after], [
      Errno.UNAVAILABLE,
      "the server's disk is nearly full; the message was not accepted",
      10_000,
    ]);
    const again = await alice.chat(bob.id, "1", "c1");
    assertEquals([again.errno, again.seq], [Errno.OK, first.seq]);
    await bob.next(Msg.ONE_CHAT);
    await bob.delivered({ id: alice.id }, 1);
    await alice.close();
    await using back = await login(server, { id: alice.id });
    assertStringIncludes(server.log(), '"event":"the disk is nearly full: new messages are rejected"');

    await Deno.remove(filler);
    await until(async () => (await back.chat(bob.id, "3")).errno === Errno.OK, "room");
    await until(() => server.log().includes("the disk has enough free space again"), "a line in the log");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("min-free-space: works with the permission set of the server", async () => {
  const { blocks, bsize } = statfsSync(".");
  const folder = await writableFolder();
  try {
    const db = `${folder}/chat.db`;
    const args = ["--min-free-space", `${blocks * bsize}`]; // the whole disk
    await using server = await startServer({ args, db, permissions: ["-P=server", "--no-prompt"] });
    await using alice = await newUser(server);
    await using bob = await newUser(server);
    assertEquals((await alice.chat(bob.id, "1")).errno, Errno.UNAVAILABLE);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
