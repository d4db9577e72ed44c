/** Passwords that were taken over from a server that didn't hash them: at a login, and in the background. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { Log } from "../lib/log.ts";
import { Passwords } from "../lib/passwords/passwords.ts";
import { rehashAll } from "../lib/server/rehash.ts";
import { IN_MEMORY, SqliteStore } from "../lib/store/sqlite/sqlite_store.ts";
import { PLAIN, type Store } from "../lib/store/store.ts";
import { Errno, Msg } from "./harness/contract.ts";
import { FramedClient } from "./harness/framed_client.ts";
import type { Address } from "./harness/server.ts";
import { withNodes, wrapped } from "./harness/nodes.ts";
import { idOf, ROOMY } from "./store_fixture.ts";

const CHEAP = { ln: 1, r: 1, p: 1 };
const HASHED = "$scrypt$ln=1,r=1,p=1$";

Deno.test("rehash: an old password logs in, a wrong one doesn't, and it is hashed at the login", async () => {
  let store: Store | undefined;
  await withNodes(1, async (node) => {
    const id = idOf(await store!.createUser("old", `${PLAIN}123456`));
    await using client = await FramedClient.connect(node!);
    for (const password of ["12345", "1234567", `${PLAIN}123456`, PLAIN]) {
      assertEquals((await client.request({ msgid: Msg.LOGIN, id, password })).errno, Errno.FAILED, password);
    }
    assertEquals((await store!.findUser({ id }))!.password, `${PLAIN}123456`);
    await client.succeed({ msgid: Msg.LOGIN, id, password: "123456" });
    assertStringIncludes((await store!.findUser({ id }))!.password, "$scrypt$ln=1,");
    await client.succeed({ msgid: Msg.LOGOUT });
    await client.succeed({ msgid: Msg.LOGIN, id, password: "123456" });
  }, { store: (real) => store = real });
});

const WRITTEN = "set by sql";

/** Runs `work` on a node over a store with a password that was written into it as plain text, and gives the log. */
async function withWritten(
  written: string,
  acceptPlainPasswords: "yes" | "no",
  work: (node: Address, id: number, store: Store) => Promise<void>,
): Promise<string> {
  let store: Store | undefined;
  const lines: string[] = [];
  await withNodes(1, async (node) => {
    const id = idOf(await store!.createUser("old", `${HASHED}AAAA$AAAA`));
    await store!.setPassword(id, written, `${HASHED}AAAA$AAAA`);
    await work(node!, id, store!);
  }, {
    store: (real) => store = real,
    log: new Log("warn", "text", (line) => lines.push(line)),
    config: { acceptPlainPasswords },
  });
  return lines.join("");
}

Deno.test("rehash: a password written as plain text is told of by the user's id, and does not log in", async () => {
  const log = await withWritten(WRITTEN, "no", async (node, id, store) => {
    await using client = await FramedClient.connect(node);
    for (const password of [WRITTEN, "wrong", WRITTEN]) {
      const reply = await client.request({ msgid: Msg.LOGIN, id, password });
      assertEquals([reply.errno, reply.errmsg], [Errno.FAILED, "unknown user or wrong password"]);
    }
    assertEquals((await store.findUser({ id }))!.password, WRITTEN);
  });
  assertEquals(log.match(/stored password is not hashed/g)?.length, 1, log);
  assertMatch(log, /user=1 help=.*--accept-plain-passwords/);
  assert(!log.includes(WRITTEN) && !log.includes("wrong"), log);
});

Deno.test("rehash: with --accept-plain-passwords it logs in, and is hashed; another program's hash does not", async () => {
  const log = await withWritten(WRITTEN, "yes", async (node, id, store) => {
    await using client = await FramedClient.connect(node);
    for (const password of ["wrong", `${PLAIN}${WRITTEN}`]) {
      assertEquals((await client.request({ msgid: Msg.LOGIN, id, password })).errno, Errno.FAILED);
    }
    await client.succeed({ msgid: Msg.LOGIN, id, password: WRITTEN });
    assertStringIncludes((await store.findUser({ id }))!.password, "$scrypt$ln=1,");
    await client.succeed({ msgid: Msg.LOGOUT });
    await client.succeed({ msgid: Msg.LOGIN, id, password: WRITTEN });
  });
  assert(log.includes("user=1") && !log.includes(WRITTEN), log);
  for (
    const hash of ["0123456789abcdef".repeat(2), "$2b$12$abcdefghijkl", "$2b$12$abc\ndef", "$scrypt$ln=1"]
  ) {
    const log = await withWritten(hash, "yes", async (node, id) => {
      await using client = await FramedClient.connect(node);
      assertEquals(
        (await client.request({ msgid: Msg.LOGIN, id, password: hash })).errno,
        Errno.FAILED,
        hash,
      );
    });
    assertStringIncludes(log, "another program's hash");
    assert(!log.includes(hash), log);
  }
});

Deno.test("rehash: names of earlier times log in as they are", async () => {
  let store: Store | undefined;
  await withNodes(1, async (node) => {
    for (const name of ["al\u200bice", " \u0430lice ", "re\u0301ne\u0301"]) {
      const id = idOf(await store!.createUser(name, `${PLAIN}123456`));
      await using client = await FramedClient.connect(node!);
      assertEquals((await client.succeed({ msgid: Msg.LOGIN, name, password: "123456" })).id, id);
    }
    await using client = await FramedClient.connect(node!);
    const reply = await client.request({ msgid: Msg.REGISTER, name: "r\u00e9n\u00e9", password: "x" });
    assertEquals(reply.errno, Errno.FAILED, "the same name in another form");
  }, { store: (real) => store = real });
});

Deno.test("rehash: in the background all of them are hashed, and no other password is touched", async () => {
  const store = await SqliteStore.open(IN_MEMORY, ROOMY);
  try {
    using passwords = new Passwords(CHEAP, 1, 100);
    const kept = await passwords.hash("hashed before");
    const hashed = idOf(await store.createUser("hashed", kept));
    const old: number[] = [];
    for (let i = 0; i < 1_500; i++) old.push(idOf(await store.createUser(`u${i}`, `${PLAIN}pw ${i}`)));
    const lines: string[] = [];
    const log = new Log("info", "text", (line) => lines.push(line));
    await rehashAll({ store, passwords, log }, () => false);
    assertEquals(await store.unhashed(0, 10), []);
    assertEquals((await store.findUser({ id: hashed }))!.password, kept);
    for (const at of [0, 999, 1_000, 1_499]) {
      const { password } = (await store.findUser({ id: old[at]! }))!;
      assertStringIncludes(password, HASHED);
      assert((await passwords.verify(`pw ${at}`, password)).right);
    }
    assertStringIncludes(lines.join(""), "count=1500");
    assert(!lines.join("").includes("pw "));
  } finally {
    await store.close();
  }
});

Deno.test("rehash: a password that is changed meanwhile stays changed, and it ends when it is told to", async () => {
  const real = await SqliteStore.open(IN_MEMORY, ROOMY);
  try {
    using passwords = new Passwords(CHEAP, 1, 100);
    const log = new Log("error", "text", () => {});
    const id = idOf(await real.createUser("old", `${PLAIN}old`));
    idOf(await real.createUser("other", `${PLAIN}other`));
    const store = wrapped<Store>(real, async (name, go, args) => {
      // Between the look and the change, another node does the same.
      if (name === "setPassword" && args[0] === id) await real.setPassword(id, "another hash", `${PLAIN}old`);
      return await go();
    });
    await rehashAll({ store, passwords, log }, () => true);
    assertEquals((await real.unhashed(0, 10)).length, 2);
    await rehashAll({ store, passwords, log }, () => false);
    assertEquals((await real.findUser({ id }))!.password, "another hash");
    assertEquals(await real.unhashed(0, 10), []);
  } finally {
    await real.close();
  }
});
