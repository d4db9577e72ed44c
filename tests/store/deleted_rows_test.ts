/** Rows that an operator deletes: no login is blocked, and all remaining messages arrive in order. */
import { assertEquals } from "@std/assert";
import { DatabaseSync } from "node:sqlite";
import { Errno, Msg } from "../harness/protocol_numbers.ts";
import { login, newGroup, newUser, register } from "../harness/framed_client.ts";
import { sharedMariadb } from "../harness/mariadb.ts";
import { ROOT } from "../harness/program.ts";
import { type Server, serverTest, withServer } from "../harness/server.ts";

const mariadb = sharedMariadb();

const COUNT = 6;

/** Sends messages to an offline user, deletes some, and logs the user in again. */
async function comesBack(
  server: Server,
  remove: (statements: readonly string[]) => Promise<void>,
): Promise<void> {
  const from = await register(server);
  const to = await register(server);
  await using sender = await login(server, { id: from });
  for (let i = 1; i <= COUNT; i++) await sender.chat(to, `${i}`);
  await sender.close();
  await remove([
    `DELETE FROM Message WHERE sender = ${from} AND seq IN (1, 4)`,
    `DELETE FROM RecentMessage WHERE sender = ${from} AND seq IN (1, 4)`,
  ]);
  await using again = await login(server, { id: from });
  await using back = await login(server, { id: to });
  const left = await back.take(4, Msg.ONE_CHAT);
  assertEquals(left.map(({ seq }) => seq), [2, 3, 5, 6]);
  await back.delivered({ id: from }, 6);
  await again.chat(to, "next");
  assertEquals((await back.next(Msg.ONE_CHAT)).seq, 7);
}

/** Runs statements in a server's embedded database while the server is stopped. */
async function whileStopped(server: Server, statements: readonly string[]): Promise<void> {
  server.kill("SIGTERM");
  await server.wait();
  const db = new DatabaseSync(server.db);
  for (const statement of statements) db.exec(statement);
  db.close();
  await server.start();
}

serverTest(
  "deleted rows: deleted messages block no login on the embedded store",
  {},
  (server) => comesBack(server, (statements) => whileStopped(server, statements)),
);

mariadb.test("deleted rows: deleted messages block no login on a running MySQL", async (db) => {
  await withServer(
    { args: ["--mysql", db.url] },
    (server) => comesBack(server, async ([statement]) => void await db.sql(statement!)),
  );
});

mariadb.test("deleted rows: a session of a deleted account gets that as the error", async (db) => {
  await withServer({ args: ["--mysql", db.url] }, async (server) => {
    const to = await register(server);
    await using sender = await newUser(server);
    const unknown = await sender.chat(to + 1_000, "1");
    assertEquals([unknown.errno, unknown.errmsg], [Errno.NOT_FOUND, `there is no user ${to + 1_000}`]);
    await db.sql("DELETE FROM User WHERE id = ?", [sender.id]);
    const gone = await sender.chat(to, "2");
    assertEquals([gone.errno, gone.errmsg], [Errno.NOT_FOUND, "your account does not exist any more"]);
  });
});

/** Returns the statements of docs/RELIABILITY.md that repair cursors. */
async function mendingStatements(): Promise<readonly string[]> {
  const text = await Deno.readTextFile(new URL("docs/RELIABILITY.md", ROOT));
  const block = /<!-- mend: .*-->\n```sql\n([^]*?)```/.exec(text)![1]!;
  return block.split(";").map((statement) => statement.trim()).filter((statement) => statement !== "");
}

/** Deletes cursors and sets some too high, repairs them by the document, and logs the users in again. */
async function mends(
  server: Server,
  run: (statements: readonly string[]) => Promise<void>,
): Promise<void> {
  const from = await newUser(server);
  const [missing, high] = [await register(server), await register(server)];
  const member = await newUser(server);
  const group = await newGroup(from, [member]);
  await member.close();
  for (const to of [missing, high]) await from.chat(to, "before");
  await from.succeed({ msgid: Msg.GROUP_CHAT, groupid: group, msg: "before" });
  await from.close();
  await run([
    `DELETE FROM MemberCursor WHERE userid IN (${missing}, ${member.id})`,
    `UPDATE MemberCursor SET seq = 100 WHERE userid = ${high}`,
    ...await mendingStatements(),
  ]);
  const again = await login(server, { id: from.id });
  for (const to of [missing, high]) await again.chat(to, "after");
  await again.succeed({ msgid: Msg.GROUP_CHAT, groupid: group, msg: "after" });
  for (
    const [id, kind, isWhole] of [
      [missing, Msg.ONE_CHAT, true],
      [high, Msg.ONE_CHAT, false], // the first message may be repeated
      [member.id, Msg.GROUP_CHAT, true],
    ] as const
  ) {
    await using user = await login(server, { id });
    const texts: string[] = [];
    while (texts.at(-1) !== "after") texts.push((await user.next(kind)).msg!);
    assertEquals(texts.slice(isWhole ? 0 : -1), isWhole ? ["before", "after"] : ["after"]);
  }
  await again.close();
}

serverTest(
  "deleted rows: the documented statements repair cursors in the embedded database",
  {},
  (server) => mends(server, (statements) => whileStopped(server, statements)),
);

mariadb.test("deleted rows: the documented statements repair cursors in a running MySQL", async (db) => {
  await withServer({ args: ["--mysql", db.url] }, (server) =>
    mends(server, async (statements) => {
      for (const statement of statements) await db.sql(statement);
    }));
});
