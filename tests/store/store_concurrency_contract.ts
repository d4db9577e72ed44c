/** Contract of every store: concurrent calls have the results of sequential ones. */
import { assert, assertEquals } from "@std/assert";
import {
  type ContractTest,
  granted,
  idOf,
  makeCrowd,
  makeGroup,
  makeUsers,
  NOON,
  PLENTY,
  send,
  seqs,
  UNKNOWN_ID,
  whole,
} from "./store_fixture.ts";
import { pause } from "../harness/wait.ts";

/** Registers the tests. */
export function concurrencyContract(test: ContractTest): void {
  accountsAtOnce(test);
  messagesAtOnce(test);
}

function accountsAtOnce(test: ContractTest): void {
  test("runs hundreds of mixed calls in one batch correctly", async (store) => {
    const users = await makeCrowd(store, 150);
    const [a, ...others] = users as [number, ...number[]];
    assertEquals(new Set(users).size, users.length);
    const group = await makeGroup(store, "g", [a]);
    const [logins] = await Promise.all([
      Promise.all(users.map((user) => store.claimAccount(user))),
      ...others.map((user) => store.joinGroup(user, group)),
      ...others.map((user) => store.addFriend(user, a)),
      ...others.map((user) => send(store, user, a, `to ${a}`)),
      ...others.map((user) => store.setPassword(user, `hash ${user}`, "hash")),
      ...users.map((user) => store.findUser({ id: user })),
    ]);
    const saved = await Promise.all([
      ...users.map((user, i) =>
        store.saveSession({ user, loginEpoch: logins[i]! }, new Uint8Array(32).fill(i), i)
      ),
      ...users.map((user, i) =>
        store.saveSession({ user, loginEpoch: logins[i]! - 1 }, new Uint8Array(32), 0)
      ),
    ]);
    assertEquals(saved, [...users.map(() => true), ...users.map(() => false)]);
    const sessions = await Promise.all(users.map((user) => store.findSession(user)));
    assertEquals(sessions.map((session) => session?.expires), users.map((_, i) => i));
    const sorted = others.toSorted((x, y) => x - y);
    assertEquals(await store.followers(a, 0, 1_000), sorted);
    assertEquals(
      (await store.contacts(a, 1_000)).groups.map(({ members, users }) => [members, users.length]),
      [
        [150, 150],
      ],
    );
    assertEquals((await store.unread(a, 1_000)).map(({ peer }) => peer), sorted);
    const accounts = await Promise.all(users.map((id) => store.findUser({ id })));
    assertEquals(accounts.map((account) => [account?.online, account?.password]), [
      [true, "hash"],
      ...others.map((user) => [true, `hash ${user}`]),
    ]);
  }, { membersPerGroup: 150 });

  test("returns each user's own data, up to the limit, when many users ask at once", async (store) => {
    const users = await makeUsers(store, 4);
    const [a, b, c, d] = users as [number, number, number, number];
    for (const [user, friend] of [[b, a], [c, a], [d, a], [a, c], [b, d]]) {
      await store.addFriend(user!, friend!);
    }
    for (const [at, [from, to]] of [[b, a], [d, a], [c, a], [a, b]].entries()) {
      await send(store, from!, to!, `${at}`, { time: NOON + at });
    }
    // Own messages count as unread here: the server advances the cursor over them.
    for (const limit of [1, 2, 3, 10]) {
      const followers = await Promise.all(users.map((user) => store.followers(user, 0, limit)));
      assertEquals(followers, [[b, c, d].slice(0, limit), [], [a], [b]], `followers, ${limit}`);
      const [later, ...others] = await Promise.all([
        store.followers(a, b, limit),
        store.followers(a, 0, 1),
        store.followers(c, 0, 10),
      ]);
      assertEquals([later, ...others], [[c, d].slice(0, limit), [b], [a]], `other pages, ${limit}`);
      const unread = await Promise.all(users.map((user) => store.unread(user, limit)));
      const peers = unread.map((each) => each.map(({ peer }) => peer));
      assertEquals(peers, [[b, d, c].slice(0, limit), [a], [a], [a]], `unread, ${limit}`);
    }
    await makeGroup(store, "g", users);
    const limits = [1, 3, 2, 10];
    const contacts = await Promise.all(users.map((user, at) => store.contacts(user, limits[at]!)));
    assertEquals(contacts.map(({ friends }) => friends.map(({ id }) => id)), [[c], [a, d], [a], [a]]);
    assertEquals(
      contacts.map(({ groups }) => groups.map(({ users }) => users.map(({ id }) => id))),
      limits.map((limit) => [users.slice(0, limit)]),
    );
  });

  test("enforces limits when many calls exceed them at once", async (store) => {
    const users = await makeCrowd(store, 40);
    const [a, ...others] = users as [number, ...number[]];
    const group = await makeGroup(store, "g", [a]);
    const full = (results: readonly object[]) => results.filter((result) => "refused" in result).length;
    const refused = await Promise.all([
      Promise.all(others.map((user) => store.joinGroup(user, group))).then(full),
      Promise.all(others.map((user) => store.addFriend(a, user))).then(full),
      Promise.all(others.map((_, i) => store.createGroup(a, `g${i}`, ""))).then(full),
    ]);
    assertEquals(refused, [39 - 9, 39 - 10, 39 - 9]); // the creator is a member
    const { friends, groups } = await store.contacts(a, 50);
    assertEquals([friends.length, groups.length], [10, 10]);
    assertEquals(groups.map(({ members }) => members), [10, ...groups.slice(1).map(() => 1)]);
    assertEquals((await store.members(a, group, 0, 50) as unknown[]).length, 10);
  }, { membersPerGroup: 10, friendsPerUser: 10, groupsPerUser: 10 });

  test("assigns each name and group name to one of many concurrent calls", async (store) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    const names = Array.from({ length: 100 }, (_, i) => `n${i % 10}`);
    const made = await Promise.all([
      ...names.map((name) => store.createUser(name, "hash")),
      ...names.map((name, i) => store.createGroup(i % 2 ? a : b, name, "")),
    ]);
    assertEquals(made.filter((result) => !("refused" in result)).length, 20);
    assert(made.every((result) => !("refused" in result) || result.refused === "name_in_use"));
    const groups = await Promise.all([a, b].map(async (user) => (await store.contacts(user, 1)).groups));
    assertEquals(groups.flat().length, 10);
  });

  test("adds a member once when it joins many times at once", async (store) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    const group = await makeGroup(store, "g", [a]);
    const joined = await Promise.all(Array.from({ length: 20 }, () => store.joinGroup(b, group)));
    assertEquals(joined, joined.map(() => ({ name: "g" })));
    assertEquals((await store.contacts(a, 50)).groups.map(({ members }) => members), [2]);
  });
}

function messagesAtOnce(test: ContractTest): void {
  test("I2 assigns gapless seqs in each sender's call order when many send to a group", async (store) => {
    const users = await makeCrowd(store, 30);
    const group = idOf(await store.createGroup(users[0]!, "g", ""));
    for (const result of await Promise.all(users.slice(1).map((user) => store.joinGroup(user, group)))) {
      granted(result);
    }
    const calls: Promise<{ cid: string; seq: number }>[] = [];
    for (let wave = 0; wave < 20; wave++) {
      for (const user of users) {
        const cid = `${user}.${wave}`;
        calls.push(send(store, user, -group, cid).then((result) => ({ cid, seq: granted(result).seq })));
      }
      await pause(0); // the earlier calls may or may not be done after it
    }
    const sent = await Promise.all(calls);
    assertEquals(sent.map(({ seq }) => seq).toSorted((x, y) => x - y), sent.map((_, i) => i + 1));
    const stored = await whole(store, users[0]!, -group);
    assertEquals(stored.map(({ seq, cid }) => ({ cid, seq })), sent.toSorted((x, y) => x.seq - y.seq));
    for (const user of users) {
      const own = stored.filter(({ sender }) => sender === user).map(({ cid }) => cid);
      assertEquals(own, own.map((_, wave) => `${user}.${wave}`));
    }
  });

  test("I2 shows readers a gapless prefix of the conversation while others send", async (store) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    let sending = true;
    const sent = (async () => {
      for (let wave = 0; wave < 20; wave++) {
        await Promise.all(
          Array.from({ length: 10 }, (_, i) => send(store, i % 2 ? a : b, i % 2 ? b : a, `${wave}.${i}`)),
        );
      }
      sending = false;
    })();
    let seen = 0;
    while (sending) {
      const [page, unread] = await Promise.all([store.read(b, a, 0, 1_000, PLENTY), store.unread(b, 10)]);
      assertEquals(seqs(page), seqs(page).map((_, i) => i + 1));
      assert(page.messages.length >= seen, "no message disappears");
      assert(unread.length === 0 || unread[0]!.last >= seen);
      seen = page.messages.length;
    }
    await sent;
    assertEquals((await whole(store, a, b)).length, 200);
  });

  test("I5 returns each message's own result when rejected, duplicate and new ones share a batch", async (store) => {
    const [a, b, c, d] = await makeUsers(store, 4) as [number, number, number, number];
    const group = await makeGroup(store, "g", [a, b]);
    await send(store, a, b, "old");
    await send(store, a, -group, "old in the group");
    const at = (cid: string, peer: number, sender = a) => send(store, sender, peer, cid, { time: NOON + 1 });
    const fresh = (seq: number) => ({ seq, time: NOON + 1, duplicate: false });
    const calls: readonly [Promise<unknown>, unknown][] = [
      [at("1", b), fresh(2)],
      [at("old", b), { seq: 1, time: NOON, duplicate: true }],
      [at("1", b), { seq: 2, time: NOON + 1, duplicate: true }],
      [at("1", c), { refused: "cid_reused" }], // used in another conversation, in this batch
      [at("old", c), { refused: "cid_reused" }], // used before this batch
      [at("old in the group", b), { refused: "cid_reused" }],
      [at("2", UNKNOWN_ID), { refused: "not_found" }],
      [at("2", -UNKNOWN_ID), { refused: "not_found" }],
      [at("2", -group, c), { refused: "forbidden" }],
      [at("2", c), fresh(1)], // the rejected message has not used the cid
      [at("2", -group, b), fresh(2)],
      [at("old in the group", -group), { seq: 1, time: NOON, duplicate: true }],
      [at("3", -group), fresh(3)],
      [at("1", a, b), fresh(3)],
      [at("1", a, a), { refused: "cid_reused" }],
      [at("4", a, a), fresh(1)],
      [at("1", d, c), fresh(1)],
      [at("1", c, d), fresh(2)], // the peer's first message in the same new conversation
      [at("1", c, d), { seq: 2, time: NOON + 1, duplicate: true }],
      [at("5", UNKNOWN_ID, UNKNOWN_ID), { refused: "not_found" }],
      [at("5", b), fresh(4)],
    ];
    assertEquals(await Promise.all(calls.map(([call]) => call)), calls.map(([, expected]) => expected));
    const pages = await Promise.all([whole(store, a, b), whole(store, a, c), whole(store, a, -group)]);
    assertEquals(pages.map((messages) => messages.map(({ sender, cid }) => [sender, cid])), [
      [[a, "old"], [a, "1"], [b, "1"], [a, "5"]],
      [[a, "2"]],
      [[a, "old in the group"], [b, "2"], [a, "3"]],
    ]);
  });

  test("I5 stores one message when a retry overtakes the first attempt", async (store) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    const tries: Promise<number>[] = [];
    for (let wave = 0; wave < 10; wave++) {
      for (const cid of ["x", "y", `z${wave}`]) {
        tries.push(send(store, a, b, cid).then((result) => granted(result).seq));
      }
      await pause(0);
    }
    const got = await Promise.all(tries);
    assertEquals(new Set(got).size, 12);
    assertEquals((await whole(store, a, b)).map(({ cid }) => cid), [
      "x",
      "y",
      ...got.slice(0, 10).map((_, i) => `z${i}`),
    ]);
  });

  test("I4 gives a new member all messages after the join while others send", async (store) => {
    const users = await makeCrowd(store, 21);
    const [a, ...others] = users as [number, ...number[]];
    const group = await makeGroup(store, "g", [a]);
    let acked = 0;
    const joins = others.map(async (user, i) => {
      for (let step = 0; step < i; step++) await pause(0);
      const before = acked;
      granted(await store.joinGroup(user, group));
      const later = granted(await send(store, user, -group, "hello")).seq;
      const page = await store.read(user, -group, undefined, 1_000, PLENTY);
      assert(before <= page.after && page.after < later, `${before} <= ${page.after} < ${later}`);
      assertEquals(seqs(page), page.messages.map((_, i) => page.after + 1 + i));
      assert(page.messages.some(({ seq }) => seq === later));
    });
    for (let i = 0; i < 100; i++) {
      acked = Math.max(acked, granted(await send(store, a, -group, `${i}`)).seq);
    }
    await Promise.all(joins);
  });

  test("I4 moves a cursor to the highest of many concurrent positions", async (store) => {
    const users = await makeCrowd(store, 20);
    const [a, ...others] = users as [number, ...number[]];
    const group = await makeGroup(store, "g", users);
    for (
      const result of await Promise.all(Array.from({ length: 30 }, (_, i) => send(store, a, -group, `${i}`)))
    ) {
      granted(result);
    }
    const orders = [[5, 30, 1], [30, 5, 30], [1, 2, 3], [29, 30, 2]];
    await Promise.all(
      orders.flatMap((seqs, k) =>
        seqs.map((seq) =>
          store.advanceCursors(
            others.filter((_, i) => i % 4 === k).map((user) => ({ user, peer: -group, seq })),
          )
        )
      ),
    );
    const cursors = await Promise.all(
      others.map(async (user) => (await store.read(user, -group, undefined, 1, PLENTY)).after),
    );
    assertEquals(cursors, others.map((_, i) => [30, 30, 3, 30][i % 4]));
  });
}
