/** Contract of every store: rows that an operator deleted are no error. */
import { assertEquals } from "@std/assert";
import {
  type ContractTest,
  granted,
  makeGroup,
  makeUsers,
  NOON,
  PLENTY,
  send,
  seqs,
} from "./store_fixture.ts";

/** Registers the tests. */
export function gapContract(test: ContractTest): void {
  const gaps: readonly [what: string, condition: string, left: readonly number[]][] = [
    ["the next one", "seq = 3", [4, 5, 6]],
    ["several at the beginning", "seq <= 4", [5, 6]],
    ["one in the middle", "seq = 5", [3, 4, 6]],
    ["the last ones", "seq >= 5", [3, 4]],
    ["all after the cursor", "seq > 2", []],
    ["all", "seq > 0", []],
  ];
  for (const [what, condition, left] of gaps) {
    for (const again of [false, true]) {
      test(
        `reads past deleted messages: ${what}${again ? ", reopened twice" : ""}`,
        async (store, reopen, sql) => {
          const [a, b] = await makeUsers(store, 2) as [number, number];
          for (let i = 1; i <= 6; i++) await send(store, a, b, `${i}`, { time: NOON + i });
          await store.advanceCursors([{ user: b, peer: a, seq: 2 }, { user: a, peer: b, seq: 6 }]);
          await sql(`DELETE FROM Message WHERE ${condition}`);
          store = await reopen();
          if (again) store = await reopen();
          const unread = left.length > 0 ? [{ peer: a, cursor: 2, since: NOON + left[0]! }] : [];
          const found = await store.unread(b, 10);
          assertEquals(found.map(({ peer, cursor, since }) => ({ peer, cursor, since })), unread);
          assertEquals(await store.usersWithUnread([a, b]), left.length > 0 ? [b] : []);
          assertEquals(seqs(await store.read(b, a, undefined, 10, PLENTY)), left);
          assertEquals(
            seqs(await store.history(b, a, undefined, left.length + 1, PLENTY)).slice(-left.length || 9),
            left,
          );
          const { seq } = granted(await send(store, a, b, "next"));
          assertEquals(seq, 7, "no seq is assigned twice");
          assertEquals(seqs(await store.read(b, a, undefined, 10, PLENTY)), [...left, 7]);
          await store.advanceCursors([{ user: b, peer: a, seq: 7 }]);
          assertEquals(await store.unread(b, 10), []);
          assertEquals(await store.usersWithUnread([b]), []);
        },
      );
    }
  }

  const references: readonly [table: "users" | "groups", statement: string][] = [
    ["users", "INSERT INTO Friend (userid, friendid) VALUES (50, 1)"],
    ["users", "INSERT INTO Friend (userid, friendid) VALUES (1, 50)"],
    ["users", "INSERT INTO GroupUser (groupid, userid, grouprole) VALUES (1, 50, 'normal')"],
    ["users", "INSERT INTO MemberCursor (userid, low, high, seq) VALUES (50, 1, 50, 0)"],
    [
      "users",
      "INSERT INTO Message(low, high, seq, sender, cid, time, body) VALUES (1, 50, 1, 50, 'c', 0, 'text')",
    ],
    ["users", "INSERT INTO Session (userid, token_hash, expires) VALUES (50, X'00', 0)"],
    ["groups", "INSERT INTO GroupUser (groupid, userid, grouprole) VALUES (50, 1, 'normal')"],
    ["groups", "INSERT INTO Conversation (low, high, last_seq) VALUES (0, 50, 0)"],
  ];
  for (const [of, statement] of references) {
    test(`assigns no id that a row refers to: ${of}, ${statement}`, async (store, reopen, sql) => {
      const [a] = await makeUsers(store, 1) as [number];
      await makeGroup(store, "g", [a]);
      await sql(statement);
      store = await reopen();
      const [user, group] = [await store.createUser("new", "hash"), await store.createGroup(a, "new", "")];
      assertEquals([user, group], [{ id: of === "users" ? 51 : a + 1 }, { id: of === "groups" ? 51 : 2 }]);
    });
  }

  test(
    "returns unread conversations in order, and up to the limit, when messages are deleted",
    async (store, reopen, sql) => {
      const [a, b, c, d] = await makeUsers(store, 4) as [number, number, number, number];
      for (const [i, from] of [b, c, d, b, c].entries()) {
        await send(store, from, a, `${i}`, {
          time: NOON + i,
        });
      }
      await sql(`DELETE FROM Message WHERE sender = ${b} AND seq = 1`);
      await sql(`DELETE FROM Message WHERE sender = ${d}`);
      store = await reopen();
      const peers = async (limit: number) =>
        (await store.unread(a, limit)).map(({ peer, since }) => [peer, since]);
      assertEquals(await peers(10), [[c, NOON + 1], [b, NOON + 3]]);
      assertEquals(await peers(1), [[c, NOON + 1]]);
    },
  );

  test(
    "returns messages of a deleted account with an empty name",
    async (store, reopen, sql) => {
      const [a, b, c] = await makeUsers(store, 3) as [number, number, number];
      const group = await makeGroup(store, "g", [a, b, c]);
      await send(store, a, b, "1");
      await send(store, a, -group, "2");
      await send(store, c, -group, "3");
      await sql(`DELETE FROM User WHERE id = ${a}`);
      for (let i = 0; i < 2; i++) {
        const names = async (peer: number) =>
          (await store.read(b, peer, undefined, 10, PLENTY)).messages.map(({ senderName }) => senderName);
        assertEquals(await names(a), [""]);
        assertEquals(await names(-group), ["", "u3"]);
        assertEquals((await store.unread(b, 10)).length, 2);
        assertEquals(seqs(await store.history(b, -group, undefined, 10, PLENTY)), [1, 2]);
        store = await reopen();
      }
    },
  );

  test("continues a conversation after its last seq when its row is deleted", async (store, reopen, sql) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    const group = await makeGroup(store, "g", [a, b]);
    for (const peer of [b, -group]) {
      for (const n of [1, 2, 3]) await send(store, a, peer, `${n} to ${peer}`, { time: NOON + n });
    }
    await store.advanceCursors([{ user: b, peer: a, seq: 1 }, { user: b, peer: -group, seq: 1 }]);
    await sql("DELETE FROM Conversation");
    store = await reopen();
    assertEquals(await store.unread(b, 10), [
      { peer: -group, cursor: 1, last: 3, since: NOON + 2 },
      { peer: a, cursor: 1, last: 3, since: NOON + 2 },
    ]);
    assertEquals(await store.usersWithUnread([b]), [b]);
    for (const peer of [a, -group]) {
      assertEquals(seqs(await store.read(b, peer, undefined, 10, PLENTY)), [2, 3]);
      await store.advanceCursors([{ user: b, peer, seq: 2 }]);
      assertEquals(seqs(await store.read(b, peer, undefined, 10, PLENTY)), [3]);
    }
    assertEquals(granted(await send(store, a, b, "4")).seq, 4);
    assertEquals(granted(await send(store, a, -group, "4 too")).seq, 4);
    store = await reopen();
    for (const peer of [a, -group]) {
      assertEquals(seqs(await store.read(b, peer, undefined, 10, PLENTY)), [3, 4]);
    }
  });

  test(
    "never decreases time within a conversation, and returns the stored time",
    async (store, reopen) => {
      const [a, b, c] = await makeUsers(store, 3) as [number, number, number];
      const times = async (...sent: number[]) =>
        (await Promise.all(sent.map((time, i) => send(store, a, b, `${time} ${i}`, { time: NOON + time }))))
          .map((answer) => granted(answer).time - NOON);
      assertEquals(await times(5, 3, 7), [5, 5, 7]);
      assertEquals(await times(1), [7]);
      assertEquals(granted(await send(store, a, c, "other", { time: NOON + 1 })).time, NOON + 1);
      store = await reopen();
      assertEquals(await times(2, 9, 8), [7, 9, 9]);
      const { messages: messages } = await store.read(b, a, 0, 10, PLENTY);
      assertEquals(messages.map(({ time }) => time - NOON), [5, 5, 7, 7, 7, 9, 9]);
    },
  );
}
