/** Contract of every store: cursors, and reading the message log. */
import { assertEquals, assertNotEquals } from "@std/assert";
import type { Page } from "../../lib/store/store.ts";
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
export function cursorContract(test: ContractTest): void {
  test("I4 moves a cursor forward only, and not beyond the last seq", async (store) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    for (const cid of ["1", "2", "3", "4"]) await send(store, a, b, cid);
    const cursor = async () => (await store.read(b, a, undefined, 10, PLENTY)).after;
    const moves: readonly [seq: number, then: number][] = [[2, 2], [1, 2], [0, 2], [3, 3], [2, 3]];
    for (const [seq, then] of moves) {
      await store.advanceCursors([{ user: b, peer: a, seq }]);
      assertEquals(await cursor(), then, `after delivered up to ${seq}`);
    }
    await send(store, a, b, "5");
    assertEquals(seqs(await store.read(b, a, undefined, 10, PLENTY)), [4, 5]);
    // The client received messages that the store lost: their successors are not delivered yet.
    await store.advanceCursors([{ user: b, peer: a, seq: 99 }]);
    assertEquals(await cursor(), 3);
  });

  test("moves a member's own cursor for its acknowledgements only, not when it sends", async (store) => {
    const [a, b, c] = await makeUsers(store, 3) as [number, number, number];
    const group = await makeGroup(store, "g", [a, b, c]);
    await send(store, a, -group, "1");
    await send(store, b, -group, "1");
    await send(store, a, b, "2");
    await store.advanceCursors([{ user: b, peer: -group, seq: 1 }, { user: c, peer: -group, seq: 2 }]);
    const after = (user: number, peer: number) => store.read(user, peer, undefined, 10, PLENTY);
    assertEquals([await after(a, -group), await after(b, -group), await after(c, -group)].map(seqs), [
      [1, 2],
      [2],
      [],
    ]);
    assertEquals([await after(a, b), await after(b, a)].map(seqs), [[1], [1]]);
  });

  test("ignores cursors that do not exist, and moves the others of the same call", async (store) => {
    const [a, b, c] = await makeUsers(store, 3) as [number, number, number];
    const group = await makeGroup(store, "g", [a]);
    await send(store, a, b, "1");
    await send(store, a, -group, "2", { time: NOON + 1 });
    await store.advanceCursors([]);
    await store.advanceCursors([
      { user: b, peer: c, seq: 1 },
      { user: b, peer: UNKNOWN_ID, seq: 1 },
      { user: b, peer: -UNKNOWN_ID, seq: 1 },
      { user: b, peer: -group, seq: 1 },
      { user: b, peer: 0, seq: 1 },
      { user: UNKNOWN_ID, peer: a, seq: 1 },
      { user: b, peer: a, seq: 1 },
    ]);
    assertEquals(await store.unread(b, 10), []);
    assertEquals(await store.unread(a, 10), [
      { peer: b, cursor: 0, last: 1, since: NOON },
      { peer: -group, cursor: 0, last: 1, since: NOON + 1 },
    ]);
    assertEquals(granted(await store.joinGroup(b, group)), { name: "g" });
    assertEquals(await store.unread(b, 10), []);
  });

  test("has no unread messages for a new member", async (store) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    const group = await makeGroup(store, "g", [a]);
    await send(store, a, -group, "1");
    await send(store, a, -group, "2");
    await store.joinGroup(b, group);
    assertEquals(await store.unread(b, 10), []);
    await send(store, a, -group, "3");
    await store.joinGroup(b, group);
    assertEquals(await store.unread(b, 10), [{ peer: -group, cursor: 2, last: 3, since: NOON }]);
    assertEquals(seqs(await store.history(b, -group, undefined, 10, PLENTY)), [1, 2, 3]);
  });

  test("returns unread conversations up to the limit, the oldest unread message first", async (store) => {
    const [a, b, c, d] = await makeUsers(store, 4) as [number, number, number, number];
    const group = await makeGroup(store, "g", [a, b]);
    await send(store, d, a, "1", { time: NOON + 1 });
    await send(store, b, a, "1", { time: NOON + 2 });
    await send(store, b, -group, "2", { time: NOON + 3 });
    await send(store, c, a, "1", { time: NOON + 4 });
    await send(store, d, a, "2", { time: NOON + 5 });
    await store.advanceCursors([{ user: a, peer: d, seq: 1 }]);
    const expected = [
      { peer: b, cursor: 0, last: 1, since: NOON + 2 },
      { peer: -group, cursor: 0, last: 1, since: NOON + 3 },
      { peer: c, cursor: 0, last: 1, since: NOON + 4 },
      { peer: d, cursor: 1, last: 2, since: NOON + 5 },
    ];
    assertEquals(await store.unread(a, 10), expected);
    assertEquals(await store.unread(a, 2), expected.slice(0, 2));
    await store.advanceCursors(expected.map(({ peer, last }) => ({ user: a, peer, seq: last })));
    assertEquals(await store.unread(a, 10), []);
    assertEquals(await store.unread(UNKNOWN_ID, 10), []);
  });

  test("returns exactly those users that have unread conversations", async (store) => {
    const users = await makeUsers(store, 5);
    const [a, b, c, d, e] = users as [number, number, number, number, number];
    const group = await makeGroup(store, "g", [a, b, c]);
    const behind = async (asked = [...users, UNKNOWN_ID]) =>
      (await store.usersWithUnread(asked)).toSorted((x, y) => x - y);
    const haveUnread = async () => {
      const unread = await Promise.all(users.map((user) => store.unread(user, 1)));
      return users.filter((_, i) => unread[i]!.length > 0);
    };
    const steps: readonly [() => Promise<unknown>, readonly number[]][] = [
      [() => Promise.resolve(), []],
      [() => send(store, a, d, "1"), [a, d]], // user a, too: own messages count as unread
      [() => store.advanceCursors([{ user: a, peer: d, seq: 1 }]), [d]],
      [() => send(store, b, -group, "1"), [a, b, c, d]],
      [() => send(store, b, -group, "2"), [a, b, c, d]],
      [() => store.advanceCursors([{ user: c, peer: -group, seq: 1 }, { user: d, peer: a, seq: 1 }]), [
        a,
        b,
        c,
      ]],
      [() => store.advanceCursors([a, b, c].map((user) => ({ user, peer: -group, seq: 2 }))), []],
      [() => store.joinGroup(e, group), []],
      [() => send(store, e, e, "1"), [e]],
    ];
    for (const [i, [step, expected]] of steps.entries()) {
      await step();
      assertEquals(await behind(), expected, `after step ${i}`);
      assertEquals(await haveUnread(), expected, `unread after step ${i}`);
    }
    assertEquals(await behind([a, b, UNKNOWN_ID]), []);
    assertEquals(await behind([]), []);
    const many = Array.from({ length: 2_000 }, (_, i) => UNKNOWN_ID + i);
    assertEquals(await behind([...many, e]), [e]);
  });
}

/** Registers the tests. */
export function pageContract(test: ContractTest): void {
  test("reads after the given seq or the cursor, and returns that seq", async (store) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    for (let i = 1; i <= 5; i++) await send(store, a, b, `${i}`);
    await store.advanceCursors([{ user: b, peer: a, seq: 2 }]);
    const read = async (after: number | undefined, limit: number) =>
      outline(await store.read(b, a, after, limit, PLENTY));
    assertEquals(await read(undefined, 10), { after: 2, seqs: [3, 4, 5] });
    assertEquals(await read(undefined, 3), { after: 2, seqs: [3, 4, 5] });
    assertEquals(await read(undefined, 2), { after: 2, seqs: [3, 4] });
    assertEquals(await read(0, 10), { after: 0, seqs: [1, 2, 3, 4, 5] });
    assertEquals(await read(4, 1), { after: 4, seqs: [5] });
    assertEquals(await read(5, 10), { after: 5, seqs: [] });
    assertEquals(await read(9, 10), { after: 9, seqs: [] });
  });

  test("reads no messages when the conversation does not exist", async (store) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    const group = await makeGroup(store, "g", [a]);
    for (const peer of [b, UNKNOWN_ID, -UNKNOWN_ID, 0, -group]) {
      assertEquals(await store.read(a, peer, undefined, 10, PLENTY), { after: 0, messages: [] });
      assertEquals(await store.read(a, peer, 7, 10, PLENTY), { after: 7, messages: [] });
    }
  });

  test("returns a group's messages to members only", async (store) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    const group = await makeGroup(store, "g", [a]);
    await send(store, a, -group, "1");
    assertEquals(seqs(await store.read(b, -group, 0, 10, PLENTY)), []);
    assertEquals(seqs(await store.read(b, -group, undefined, 10, PLENTY)), []);
    assertEquals(await store.history(b, -group, undefined, 10, PLENTY), { refused: "forbidden" });
  });

  test("limits a page's bytes, but returns at least one message", async (store) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    for (const [i, body] of ["€€", "123456", "x", "yy", "😀😀😀"].entries()) {
      await send(store, a, b, `${i}`, { body }); // 6, 6, 1, 2 and 12 bytes of UTF-8
    }
    const read = async (after: number, bytes: number) => outline(await store.read(b, a, after, 10, bytes));
    assertEquals(await read(0, 11), { after: 0, seqs: [1] });
    assertEquals(await read(0, 12), { after: 0, seqs: [1, 2] });
    assertEquals(await read(0, 1), { after: 0, seqs: [1] });
    assertEquals(await read(2, 14), { after: 2, seqs: [3, 4] });
    assertEquals(await read(2, 15), { after: 2, seqs: [3, 4, 5] });
    assertEquals(await read(4, 11), { after: 4, seqs: [5] });
    const history = async (bytes: number) => seqs(await store.history(b, a, undefined, 10, bytes));
    assertEquals(await history(1), [5]);
    assertEquals(await history(13), [5]);
    assertEquals(await history(14), [4, 5]);
    assertEquals(await history(21), [2, 3, 4, 5]);
  });

  test("returns history before the end or a seq, in seq order", async (store) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    for (let i = 1; i <= 5; i++) await send(store, a, b, `${i}`);
    await store.advanceCursors([{ user: b, peer: a, seq: 4 }]);
    const history = async (before: number | undefined, limit: number) =>
      seqs(await store.history(b, a, before, limit, PLENTY));
    assertEquals(await history(undefined, 2), [4, 5]);
    assertEquals(await history(undefined, 10), [1, 2, 3, 4, 5]);
    assertEquals(await history(4, 2), [2, 3]);
    assertEquals(await history(2, 10), [1]);
    assertEquals(await history(1, 10), []);
    assertEquals(await history(2 ** 31 - 1, 1), [5]);
    assertEquals(await history(6, 5), [1, 2, 3, 4, 5]);
  });

  test("rejects history of an unknown user, and returns an empty one without messages", async (store) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    const group = await makeGroup(store, "g", [a]);
    assertEquals(await store.history(a, UNKNOWN_ID, undefined, 10, PLENTY), { refused: "not_found" });
    assertEquals(await store.history(a, -UNKNOWN_ID, undefined, 10, PLENTY), { refused: "not_found" });
    assertEquals(await store.history(b, -group, undefined, 10, PLENTY), { refused: "forbidden" });
    assertEquals(await store.history(a, -group, undefined, 10, PLENTY), []);
    assertEquals(await store.history(a, b, undefined, 10, PLENTY), []);
  });

  test("separates conversations of two users from those of groups, whatever the ids", async (store) => {
    const users = await makeUsers(store, 3);
    const [a, b, c] = users as [number, number, number];
    const group = await makeGroup(store, "g", [a, b]);
    await send(store, a, -group, "1");
    await send(store, a, b, "2");
    await send(store, a, c, "3");
    const conversations = await Promise.all([-group, b, c].map((peer) => whole(store, a, peer)));
    assertEquals(conversations.map((messages) => messages.map(({ cid }) => cid)), [["1"], ["2"], ["3"]]);
    assertNotEquals(await store.unread(b, 10), await store.unread(c, 10));
  });
}

function outline(page: Page): { after: number; seqs: number[] } {
  return { after: page.after, seqs: seqs(page) };
}
