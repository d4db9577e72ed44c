/** The rules for passwords of new accounts, which do not apply to existing ones. */
import { assert, assertEquals } from "@std/assert";
import { COMMON_PASSWORDS } from "../../lib/passwords/common_passwords.ts";
import { PLAINTEXT_PREFIX, type Store } from "../../lib/store/store.ts";
import { ClassicClient } from "../harness/classic_client.ts";
import { Errno, Msg } from "../harness/protocol_numbers.ts";
import { FramedClient, freshName } from "../harness/framed_client.ts";
import { withNodes } from "../harness/nodes.ts";
import { type Server, serverTest, sharedServer } from "../harness/server.ts";
import { idOf } from "../store/store_fixture.ts";

const test = sharedServer();
const TOO_SHORT = "password must have at least 8 characters";
const TOO_COMMON = "password is too common: choose one that is harder to guess";

/** Registers with this password and returns the reason of a refusal, or undefined. */
async function problem(server: Server, password: string, name = freshName()): Promise<string | undefined> {
  await using client = await FramedClient.connect(server);
  const { errno, errmsg } = await client.request({ msgid: Msg.REGISTER, name, password });
  assertEquals(errno, errmsg === undefined ? Errno.OK : Errno.BAD_REQUEST);
  return errmsg;
}

test("new passwords: have the minimum length, to the character, in both dialects", async (server) => {
  for (const password of ["1", "seven 7", "é李😀x y!"]) {
    assertEquals(await problem(server, password), TOO_SHORT, password);
  }
  for (const password of ["eight 88", "é李😀x y!z"]) {
    assertEquals(await problem(server, password), undefined, password);
  }
  await using classic = await ClassicClient.connect(server);
  const name = freshName();
  await classic.send({ msgid: Msg.REGISTER, name, password: "seven 7" });
  const refused = await classic.next(Msg.REGISTER_ACK);
  assertEquals([refused.errno, refused.errmsg], [Errno.BAD_REQUEST, TOO_SHORT]);
  await classic.send({ msgid: Msg.REGISTER, name, password: "eight 88" });
  assertEquals((await classic.next(Msg.REGISTER_ACK)).errno, Errno.OK, "a refusal makes no account");
});

test("new passwords: are refused when they are common, however they are written", async (server) => {
  for (
    const password of [
      "password",
      "Password1",
      "QWERTYUIOP",
      "12345678",
      "ｐａｓｓｗｏｒｄ",
      "aaaaaaaaaaa",
      "🙂".repeat(8),
    ]
  ) {
    assertEquals(await problem(server, password), TOO_COMMON, password);
  }
  for (const password of ["password of mine", "aaaaaaab", "correct horse"]) {
    assertEquals(await problem(server, password), undefined, password);
  }
  const name = "Margaret Hamilton";
  for (const password of [name, "margaret HAMILTON"]) {
    assertEquals(await problem(server, password, name), "password is the account's name");
  }
  assertEquals(await problem(server, `${name} 1`, name), undefined);
});

Deno.test("new passwords: the list has common ones once each, in the form of the lookup", () => {
  const words = COMMON_PASSWORDS.trim().split(/\s+/);
  assertEquals([words.length, new Set(words).size], [4_142, 4_142]);
  for (const word of ["123456", "password", "qwertyuiop", "iloveyou"]) assert(words.includes(word), word);
  assertEquals(words.filter((word) => word !== word.normalize("NFKC").toLowerCase()), []);
});

serverTest("new passwords: either rule can be turned off alone", {
  args: ["--min-password", "1"],
}, async (server) => {
  assertEquals(await problem(server, "short"), undefined);
  assertEquals(await problem(server, "123456"), TOO_COMMON);
});

serverTest("new passwords: are all taken when both rules are off", {
  args: ["--min-password", "1", "--common-passwords", "allow"],
}, async (server) => {
  for (const password of ["1", "123456", "aaaa"]) {
    assertEquals(await problem(server, password), undefined, password);
  }
  assertEquals(await problem(server, "me", "me"), undefined);
});

Deno.test("new passwords: the rules do not apply to existing accounts", async () => {
  let store: Store | undefined;
  await withNodes(1, async (node) => {
    for (const password of ["1", "123456", "old"]) {
      const name = freshName("old");
      const id = idOf(await store!.createUser(name, PLAINTEXT_PREFIX + password));
      for (const form of ["as it was", "hashed"]) {
        await using client = await FramedClient.connect(node!);
        assertEquals((await client.succeed({ msgid: Msg.LOGIN, name, password })).id, id, form);
        await client.succeed({ msgid: Msg.LOGOUT });
      }
    }
  }, { store: (real) => store = real });
});
