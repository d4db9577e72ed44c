/** Contract of every store: appending to the message log. */
import { assert, assertEquals } from "@std/assert";
import {
  type ContractTest,
  granted,
  makeGroup,
  makeUsers,
  NOON,
  PLENTY,
  send,
  seqs,
  UNKNOWN_ID,
  whole,
} from "./store_fixture.ts";

/** Registers the tests. */
export function appendContract(test: ContractTest): void {
  test("I1 has an accepted message after a reopening", async (store, reopen) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    const group = await makeGroup(store, "g", [a, b]);
    await send(store, a, b, "one");
    await send(store, a, -group, "two");
    await send(store, b, a, "three");
    await store.advanceCursors([{ user: b, peer: a, seq: 1 }]);
    const before = await whole(store, b, a);
    const again = await reopen();
    assertEquals(await whole(again, b, a), before);
    assertEquals(seqs(await again.read(b, a, undefined, 10, PLENTY)), [2]);
    assertEquals(granted(await send(again, a, b, "four")).seq, 3);
    assertEquals(granted(await send(again, a, -group, "five")).seq, 2);
  });

  test("I2 assigns seqs 1, 2, 3, … to a conversation whichever of the two users sends", async (store) => {
    const [a, b, c] = await makeUsers(store, 3) as [number, number, number];
    const sent = [
      await send(store, b, a, "1", { time: NOON + 1 }),
      await send(store, a, b, "1", { time: NOON + 2 }),
      await send(store, a, c, "2", { time: NOON + 3 }),
      await send(store, b, a, "2", { time: NOON + 4 }),
    ];
    assertEquals(sent, [
      { seq: 1, time: NOON + 1, duplicate: false },
      { seq: 2, time: NOON + 2, duplicate: false },
      { seq: 1, time: NOON + 3, duplicate: false },
      { seq: 3, time: NOON + 4, duplicate: false },
    ]);
    const expected = [
      { seq: 1, sender: b, senderName: "u2", cid: "1", body: "1", time: NOON + 1 },
      { seq: 2, sender: a, senderName: "u1", cid: "1", body: "1", time: NOON + 2 },
      { seq: 3, sender: b, senderName: "u2", cid: "2", body: "2", time: NOON + 4 },
    ];
    assertEquals(await whole(store, a, b), expected);
    assertEquals(await whole(store, b, a), expected);
  });

  test("I2 assigns gapless seqs in call order to 1,000 messages of one batch", async (store) => {
    const users = await makeUsers(store, 4);
    const group = await makeGroup(store, "g", users);
    const sent = await Promise.all(Array.from({ length: 1_000 }, async (_, i) => {
      const [sender, other] = [users[i % 4]!, users[(i + 1 + i % 3) % 4]!];
      const peer = i % 5 === 0 ? -group : other;
      const key = peer < 0 ? "group" : [sender, peer].sort((x, y) => x - y).join();
      return { key, cid: `${i}`, sender, peer, ...granted(await send(store, sender, peer, `${i}`)) };
    }));
    const conversations = Map.groupBy(sent, ({ key }) => key);
    assert(conversations.size > 3);
    for (const messages of conversations.values()) {
      assertEquals(messages.map(({ seq }) => seq), messages.map((_, i) => i + 1));
      const { sender, peer } = messages[0]!;
      assertEquals((await whole(store, sender, peer)).map(({ cid }) => cid), messages.map(({ cid }) => cid));
    }
  });

  test("I2 continues a conversation within a batch", async (store) => {
    const [a, b, c] = await makeUsers(store, 3) as [number, number, number];
    const group = await makeGroup(store, "g", [a]);
    await Promise.all([
      send(store, a, -group, "1"),
      send(store, a, -group, "2"),
      store.joinGroup(b, group),
    ]);
    await Promise.all([
      send(store, b, -group, "1"),
      send(store, a, c, "3"),
      store.advanceCursors([{ user: c, peer: a, seq: 1 }]),
      send(store, a, c, "4"),
    ]);
    assertEquals(seqs(await store.read(b, -group, undefined, 10, PLENTY)), [3]);
    assertEquals(seqs(await store.read(c, a, undefined, 10, PLENTY)), [2]);
  });

  test(
    "I5 returns the first seq and time for a repeated cid, and stores nothing",
    async (store, reopen) => {
      const [a, b] = await makeUsers(store, 2) as [number, number];
      const first = { seq: 1, time: NOON, duplicate: true };
      await send(store, a, b, "x");
      assertEquals(await send(store, a, b, "x", { body: "other", time: NOON + 9 }), first);
      assertEquals(granted(await send(store, a, b, "y")).seq, 2);
      const again = await reopen();
      assertEquals(await send(again, a, b, "x"), first);
      assertEquals(granted(await send(again, b, a, "x")), { seq: 3, time: NOON, duplicate: false });
      assertEquals((await whole(again, a, b)).map(({ body }) => body), ["x", "y", "x"]);
    },
  );

  test("I5 assigns one seq to a cid that is twice in a batch", async (store) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    const sent = await Promise.all(
      ["x", "x", "y", "x", "z"].map((cid, i) => send(store, a, b, cid, { time: NOON + i })),
    );
    assertEquals(sent, [
      { seq: 1, time: NOON, duplicate: false },
      { seq: 1, time: NOON, duplicate: true },
      { seq: 2, time: NOON + 2, duplicate: false },
      { seq: 1, time: NOON, duplicate: true },
      { seq: 3, time: NOON + 4, duplicate: false },
    ]);
  });

  test("I5 rejects a cid that the sender has used in another conversation", async (store) => {
    const [a, b, c] = await makeUsers(store, 3) as [number, number, number];
    const group = await makeGroup(store, "g", [a, b]);
    await send(store, a, b, "x");
    const others = await Promise.all([
      send(store, a, c, "x"),
      send(store, a, -group, "x"),
      send(store, a, c, "y"),
    ]);
    assertEquals(others, [
      { refused: "cid_reused" },
      { refused: "cid_reused" },
      { seq: 1, time: NOON, duplicate: false },
    ]);
    assertEquals(await whole(store, a, -group), []);
    assertEquals(await store.unread(b, 10), [{ peer: a, cursor: 0, last: 1, since: NOON }]);
  });

  test("I5 compares cids by bytes: trailing spaces, U+0000 and case are significant", async (store) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    const cids = [
      "x",
      "X",
      "x ",
      "x  ",
      "x\t",
      "x\u0000",
      "x\u0000\u0000",
      "x \u0000",
      "\u0000",
      " ",
      "'",
      "\\",
      "\\'",
      "%",
      "1",
      "01",
      "1.0",
      "x\u0000y",
      "é",
      "e\u0301",
      "ｘ",
      "\ufeffx",
      "😀",
      "😃",
      "c".repeat(64),
      "😀".repeat(64),
    ];
    const sendAll = () => Promise.all(cids.map((cid) => send(store, a, b, cid)));
    const expected = cids.map((_, i) => ({ seq: i + 1, time: NOON, duplicate: false }));
    assertEquals(await sendAll(), expected, "in one batch");
    assertEquals(await sendAll(), expected.map((appended) => ({ ...appended, duplicate: true })));
    for (const [i, cid] of cids.entries()) {
      assertEquals(granted(await send(store, a, b, cid)).seq, i + 1, cid);
    }
    assertEquals((await whole(store, a, b)).map(({ cid }) => cid), cids);
  });

  test("rejects a message to an unknown user or a foreign group, and stores nothing", async (store) => {
    const [a, b, c] = await makeUsers(store, 3) as [number, number, number];
    const group = await makeGroup(store, "g", [a, b]);
    const sent = await Promise.all([
      send(store, a, UNKNOWN_ID, "1"),
      send(store, a, -UNKNOWN_ID, "1"),
      send(store, a, 0, "1"),
      send(store, a, -group, "1"),
      send(store, c, -group, "1"),
      send(store, UNKNOWN_ID, a, "1"),
    ]);
    assertEquals(sent, [
      { refused: "not_found" },
      { refused: "not_found" },
      { refused: "not_found" },
      { seq: 1, time: NOON, duplicate: false },
      { refused: "forbidden" },
      { refused: "not_found" },
    ]);
    assertEquals((await whole(store, a, -group)).map(({ sender }) => sender), [a]);
    assertEquals(await store.unread(c, 10), []);
  });

  test("returns every body unchanged", async (store) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    const bodies = [
      "a\u0000b\u0000",
      "\u0000",
      "\ufeffat the front",
      "日本語 😀👨‍👩‍👧 \u202e\u{10ffff}",
      "'; DROP TABLE User; -- \\ % _ \" ` ?",
      "';",
      "\\",
      "\\\\'",
      "\\' OR 1=1 -- ",
      "\\0 \\u0000 \\x00 \\Z \u001a",
      "%s %d %' ${body} :sender ?? ???? @@version /*!50000 SELECT 1 */ #",
      "\ufffd\ufffe\uffff\u{1ffff} \u0085\u2028\u007f",
      " \t\r\n ",
      "ends with blanks  ",
      "1e3",
      "NULL",
      "0x41",
      "null",
      "x".repeat(65_536),
      "'\\\"%\u0000😀 ".repeat(52_429).slice(0, 512 * 1_024), // nearly all characters need escapes
    ];
    await Promise.all(bodies.map((body, i) => send(store, a, b, `${i}`, { body })));
    assertEquals((await whole(store, b, a)).map(({ body }) => body), bodies);
  });

  test("stores messages to the own account as a conversation", async (store) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    await send(store, a, a, "1");
    await send(store, a, b, "2");
    assertEquals(granted(await send(store, a, a, "3")).seq, 2);
    assertEquals((await store.unread(a, 10)).find(({ peer }) => peer === a)?.last, 2);
    await store.advanceCursors([{ user: a, peer: a, seq: 2 }]);
    assertEquals(seqs(await store.read(a, a, undefined, 10, PLENTY)), []);
  });
}
