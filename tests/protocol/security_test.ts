/** Claims of docs/SECURITY.md that no other test covers. */
import { assert, assertEquals } from "@std/assert";
import { DatabaseSync } from "node:sqlite";
import { Errno, Msg } from "../harness/protocol_numbers.ts";
import { FramedClient, login, newGroup, newUser, register } from "../harness/framed_client.ts";
import { type Server, serverTest, sharedServer } from "../harness/server.ts";

const decoder = new TextDecoder("latin1");

/** Returns all bytes of the server's files: the database and the files beside it. */
function stored(server: Server): string {
  const files = [...Deno.readDirSync(server.folder)].filter(({ name }) => name.startsWith("chat.db"));
  return files.map(({ name }) => decoder.decode(Deno.readFileSync(`${server.folder}/${name}`))).join("");
}

serverTest("security: writes no password, token or message to the log at any level", {
  args: ["--log-level", "debug"],
}, async (server) => {
  const secrets = { password: "pw-3f9a61c2", wrong: "wrong-77be0d", msg: "text-5d2c88", cid: "cid-90aa1f" };
  await using alice = await FramedClient.connect(server);
  const id = await alice.register("alice", secrets.password);
  await alice.request({ msgid: Msg.LOGIN, id, password: secrets.wrong });
  await alice.request({ msgid: Msg.LOGIN, id, token: `${id}.${"x".repeat(43)}` });
  const { token } = await alice.succeed({ msgid: Msg.LOGIN, id, password: secrets.password });
  await using bob = await newUser(server);
  await alice.chat(bob.id, secrets.msg, secrets.cid);
  await alice.request({ msgid: Msg.ONE_CHAT, toid: 999, msg: secrets.msg });
  await alice.request({ msgid: 99, password: secrets.password });
  await alice.sendBody(`{"password":"${secrets.password}"`); // not JSON
  await alice.settle();
  const log = server.log();
  assert(log.includes('"refused"'), "refusals are logged");
  for (const secret of [...Object.values(secrets), token!]) assert(!log.includes(secret), secret);
});

serverTest(
  "security: stores hashes of passwords and tokens only, which cannot be used to log in",
  {},
  async (server) => {
    const password = "a password that is not guessed";
    await using alice = await FramedClient.connect(server);
    const id = await alice.register("alice", password);
    const { token } = await alice.succeed({ msgid: Msg.LOGIN, id, password });
    await using bob = await newUser(server);
    await alice.chat(bob.id, "messages are stored as they are");
    const disk = stored(server);
    assert(disk.includes("messages are stored as they are"), "the stored form is checked");
    const secret = token!.split(".")[1]!;
    const raw = decoder.decode(Uint8Array.fromBase64(secret, { alphabet: "base64url" }));
    for (const text of [password, secret, raw]) assert(!disk.includes(text));

    using db = new DatabaseSync(server.db, { readOnly: true });
    const { password: hash } = db.prepare("SELECT password FROM User WHERE id = ?").get(id) as {
      password: string;
    };
    assert(hash.startsWith("$argon2id$"));
    const row = db.prepare("SELECT * FROM Session WHERE userid = ?").get(id) as Record<string, unknown>;
    const tokenHash = Object.values(row).find((value) => value instanceof Uint8Array) as Uint8Array<
      ArrayBuffer
    >;
    await using thief = await FramedClient.connect(server);
    const shown = tokenHash.toBase64({ alphabet: "base64url", omitPadding: true });
    for (const proof of [{ id, password: hash }, { token: `${id}.${shown}` }]) {
      assertEquals((await thief.request({ msgid: Msg.LOGIN, ...proof })).errno, Errno.FAILED);
    }
  },
);

const test = sharedServer();

test("security: takes a name full of SQL as a name", async (server) => {
  const victim = await register(server, "victim");
  const names = [
    "' OR '1'='1",
    "victim' -- -",
    'victim" or ""="',
    "'; DROP TABLE User; --",
    "' UNION SELECT password FROM User -- -",
    "\\' OR 1=1 #",
  ];
  for (const name of names) {
    await using client = await FramedClient.connect(server);
    const unknown = await client.request({ msgid: Msg.LOGIN, name, password: "x" });
    assertEquals([unknown.errno, unknown.errmsg], [Errno.FAILED, "unknown user or wrong password"]);
    const id = await client.register(name);
    assert(id !== victim);
    const welcome = await client.login({ name });
    assertEquals([welcome.id, welcome.name], [id, name], "an account of its own, with the name unchanged");
    assert(!JSON.stringify(welcome).includes("$argon2id"));
    const groupid = await client.succeed({ msgid: Msg.CREATE_GROUP, groupname: name, groupdesc: name });
    assert(groupid.groupid! > 0);
  }
  await using still = await login(server, { id: victim });
  assertEquals(still.name, "victim");
});

test("security: shows a conversation to its members only", async (server) => {
  await using alice = await newUser(server);
  await using bob = await newUser(server);
  await using eve = await newUser(server);
  const groupid = await newGroup(alice, [bob]);
  await alice.chat(bob.id, "between us");
  await alice.groupChat(groupid, "among us");
  for (const peer of [{ id: alice.id }, { id: bob.id }]) {
    assertEquals((await eve.succeed({ msgid: Msg.HISTORY, ...peer })).messages, []);
  }
  for (const request of [{ msgid: Msg.HISTORY, groupid }, { msgid: Msg.MEMBERS, groupid }]) {
    const reply = await eve.request(request);
    assertEquals(reply.errno, Errno.FORBIDDEN);
    assertEquals([reply.messages, reply.users], [undefined, undefined]);
  }
  await eve.send({ msgid: Msg.DELIVERED, id: alice.id, seq: 1 });
  await eve.settle();
  assertEquals(eve.drain(), [], "nothing was pushed to her");
});

test("security: lets a user write to others, see their names and join any group only", async (server) => {
  await using alice = await newUser(server);
  await using other = await newUser(server);
  const groupid = await newGroup(alice);
  assertEquals((await other.chat(alice.id, "unasked")).errno, Errno.OK);
  const friend = await other.succeed({ msgid: Msg.ADD_FRIEND, friendid: alice.id });
  assertEquals([friend.name, friend.state], [alice.name, "online"]);
  await alice.groupChat(groupid, "before");
  assertEquals((await other.request({ msgid: Msg.ADD_GROUP, groupid })).errno, Errno.OK);
  const { messages } = await other.succeed({ msgid: Msg.HISTORY, groupid });
  assertEquals(messages!.map(({ msg }) => msg), ["before"], "also what was said before");
});
