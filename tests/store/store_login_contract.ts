/** Contract of every store: logins, and sessions that survive connections. */
import { assert, assertEquals } from "@std/assert";
import type { Store } from "../../lib/store/store.ts";
import {
  type ContractTest,
  idOf,
  LAST_ID,
  makeCrowd,
  makeGroup,
  makeUsers,
  NOON,
  PLENTY,
  send,
  UNKNOWN_ID,
} from "./store_fixture.ts";

/** Returns a token's hash, which differs by `number`. */
const hash = (fill: number) => new Uint8Array(32).fill(fill);

/** Registers the tests. */
export function loginContract(test: ContractTest): void {
  numberContract(test);
  stateContract(test);
  sessionContract(test);
  resumeContract(test);
  tokenContract(test);
  crowdContract(test);
  unknownContract(test);
}

function numberContract(test: ContractTest): void {
  test("returns an epoch above those of all earlier logins of the account", async (store, reopen) => {
    const [a, b, c] = await makeUsers(store, 3) as [number, number, number];
    assertEquals(await store.latestLoginEpochs([a, b]), new Map([[a, 0], [b, 0]]));
    const first = await store.claimAccount(a);
    const second = await store.claimAccount(a);
    assert(0 < first && first < second, `${first} < ${second}`);
    assertEquals(await store.latestLoginEpochs([a, b]), new Map([[a, second], [b, 0]]));
    await store.releaseAccounts([{ user: a, loginEpoch: second }]);
    const again = await reopen();
    assertEquals(await again.latestLoginEpochs([a]), new Map([[a, second]]));
    const third = await again.claimAccount(a);
    assert(second < third, `${second} < ${third}`);
    const other = await again.claimAccount(b);
    assert(other > 0);
    assertEquals(await again.latestLoginEpochs([c, b, a]), new Map([[a, third], [b, other], [c, 0]]));
  });

  test("returns the last login epochs of any number of users, known or not", async (store) => {
    const [a, b, c] = await makeUsers(store, 3) as [number, number, number];
    const login = await store.claimAccount(b);
    await store.claimAccount(c);
    assertEquals(await store.latestLoginEpochs([]), new Map());
    assertEquals(await store.latestLoginEpochs([UNKNOWN_ID]), new Map());
    const many = Array.from({ length: 2_000 }, (_, i) => UNKNOWN_ID + i);
    assertEquals(await store.latestLoginEpochs([...many, b, a]), new Map([[a, 0], [b, login]]));
  });

  test("assigns ascending epochs in call order to logins of one account in one batch", async (store) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    const logins = await Promise.all([a, a, b, a, b].map((user) => store.claimAccount(user)));
    const [a1, a2, b1, a3, b2] = logins as [number, number, number, number, number];
    assert(a1 < a2 && a2 < a3 && b1 < b2, `${logins}`);
    assertEquals(await store.latestLoginEpochs([a, b]), new Map([[a, a3], [b, b2]]));
    await store.releaseAccounts([{ user: a, loginEpoch: a2 }, { user: b, loginEpoch: b2 }]);
    assertEquals(await store.onlineLogins(0, 10), [{ user: a, loginEpoch: a3 }]);
  });

  test("claims and releases hundreds of accounts at once", async (store) => {
    const users = await makeCrowd(store, 300);
    const first = await Promise.all(users.map((user) => store.claimAccount(user)));
    assertEquals(await store.latestLoginEpochs(users), new Map(users.map((user, i) => [user, first[i]!])));
    // Every second account logs in again while all first logins end: those ends come too late.
    const second = new Map<number, number>();
    await Promise.all(users.map(async (user, i) => {
      if (i % 2 === 0) second.set(user, await store.claimAccount(user));
      await store.releaseAccounts([{ user, loginEpoch: first[i]! }]);
    }));
    const left = [...second].map(([user, login]) => ({ user, loginEpoch: login })).toSorted((a, b) =>
      a.user - b.user
    );
    assertEquals(left.length, 150);
    assertEquals(await store.onlineLogins(0, 1_000), left);
    await store.releaseAccounts(left);
    assertEquals(await store.onlineLogins(0, 1_000), []);
  });
}

function stateContract(test: ContractTest): void {
  const online = async (store: Store, id: number) => (await store.findUser({ id }))?.online;

  test("keeps an account online from a claim to the release of the last login", async (store, reopen) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    const first = await store.claimAccount(a);
    assertEquals((await store.findUser({ name: "u1" }))?.online, true);
    const second = await store.claimAccount(a);
    await store.releaseAccounts([{ user: a, loginEpoch: first }]);
    assertEquals(await online(store, a), true, "an earlier login ended");
    await store.releaseAccounts([{ user: a, loginEpoch: second + 1 }]);
    assertEquals(await online(store, a), true, "a login that hasn't begun ended");
    const again = await reopen();
    assertEquals(await online(again, a), true, "opened again");
    await again.releaseAccounts([{ user: a, loginEpoch: second }]);
    assertEquals(await online(again, a), false, "the last login ended");
    await again.releaseAccounts([{ user: a, loginEpoch: second }]);
    assertEquals(await online(again, a), false, "and once more");
    assertEquals(await online(again, b), false);
    await again.claimAccount(a);
    assertEquals([await online(again, a), await online(again, b)], [true, false]);
  });

  test("releases accounts by the hundred, and ignores earlier and unknown logins", async (store) => {
    const [a, b, c, d] = await makeUsers(store, 4) as [number, number, number, number];
    const [a1, b1, c1, d1] = await Promise.all([a, b, c, d].map((user) => store.claimAccount(user))) as [
      number,
      number,
      number,
      number,
    ];
    const b2 = await store.claimAccount(b);
    await store.releaseAccounts([]);
    const many = Array.from({ length: 1_000 }, (_, i) => ({ user: UNKNOWN_ID + i, loginEpoch: 1 }));
    await store.releaseAccounts([
      { user: b, loginEpoch: b1 },
      { user: a, loginEpoch: a1 + 1 },
      ...many,
      { user: d, loginEpoch: d1 },
      { user: c, loginEpoch: c1 },
      { user: d, loginEpoch: d1 },
    ]);
    assertEquals(await store.onlineLogins(0, 10), [{ user: a, loginEpoch: a1 }, { user: b, loginEpoch: b2 }]);
    assertEquals(await store.latestLoginEpochs([c, d]), new Map([[c, c1], [d, d1]]));
    assertEquals(await store.findUser({ id: UNKNOWN_ID }), undefined);
  });

  test("returns online accounts in pages by id, with the last login", async (store) => {
    const users = await makeUsers(store, 6);
    const [a, b, c, d, e] = users as [number, number, number, number, number];
    assertEquals(await store.onlineLogins(0, 10), []);
    const logins = new Map<number, number>();
    for (const user of [e, a, d, c, a, b]) logins.set(user, await store.claimAccount(user));
    await store.releaseAccounts([{ user: d, loginEpoch: logins.get(d)! }]);
    const expected = [a, b, c, e].map((user) => ({ user, loginEpoch: logins.get(user)! }));
    assertEquals(await store.onlineLogins(0, 10), expected);
    assertEquals(await store.onlineLogins(0, 2), expected.slice(0, 2));
    assertEquals(await store.onlineLogins(b, 1), expected.slice(2, 3));
    assertEquals(await store.onlineLogins(c, 2), expected.slice(3));
    assertEquals(await store.onlineLogins(e, 2), []);
  });
}

function sessionContract(test: ContractTest): void {
  test("has one session per account: the last one saved", async (store) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    assertEquals(await store.findSession(a), undefined);
    const [login, other] = [
      { user: a, loginEpoch: await store.claimAccount(a) },
      { user: b, loginEpoch: await store.claimAccount(b) },
    ];
    const tokenHash = Uint8Array.from({ length: 32 }, (_, i) => i * 8);
    assertEquals(await store.saveSession(login, hash(0), NOON), true);
    assertEquals(await store.saveSession(other, hash(0), NOON), true);
    assertEquals(await store.saveSession(login, tokenHash, NOON + 1), true);
    assertEquals(await store.findSession(a), { user: a, name: "u1", tokenHash, expires: NOON + 1 });
    await store.deleteSession(login);
    await store.deleteSession(login);
    assertEquals(await store.findSession(a), undefined);
    assertEquals(await store.findSession(b), { user: b, name: "u2", tokenHash: hash(0), expires: NOON });
  });

  test("saves a session for the last login only", async (store) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    await store.claimAccount(b);
    const first = { user: a, loginEpoch: await store.claimAccount(a) };
    const second = { user: a, loginEpoch: await store.claimAccount(a) };
    assertEquals(await store.saveSession(first, hash(1), NOON), false);
    assertEquals(await store.findSession(a), undefined);
    assertEquals(await store.saveSession(second, hash(2), NOON), true);
    const saved = { user: a, name: "u1", tokenHash: hash(2), expires: NOON };
    assertEquals(await store.saveSession(first, hash(1), NOON + 1), false);
    assertEquals(
      await store.saveSession({ user: a, loginEpoch: second.loginEpoch + 1 }, hash(1), NOON + 1),
      false,
    );
    assertEquals(await store.findSession(a), saved);
    assertEquals(await store.saveSession(second, hash(2), NOON), true, "the very same session again");
    assertEquals(await store.findSession(a), saved);
    assertEquals(await store.findSession(b), undefined);
  });

  test("has a session after its login's end, until a later login replaces it", async (store) => {
    const [a] = await makeUsers(store, 1) as [number];
    const first = { user: a, loginEpoch: await store.claimAccount(a) };
    await store.saveSession(first, hash(1), NOON);
    await store.releaseAccounts([first]);
    const saved = await store.findSession(a);
    assertEquals(saved?.tokenHash, hash(1));
    assertEquals(await store.saveSession(first, hash(1), NOON), true, "ended, but still the last");
    const second = { user: a, loginEpoch: await store.claimAccount(a) };
    assertEquals(await store.findSession(a), saved);
    assertEquals(await store.saveSession(second, hash(2), NOON + 1), true);
    assertEquals((await store.findSession(a))?.tokenHash, hash(2));
  });

  test("deletes the session for the last login only, whichever saved it", async (store) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    const first = { user: a, loginEpoch: await store.claimAccount(a) };
    await store.saveSession(first, hash(1), NOON);
    const second = { user: a, loginEpoch: await store.claimAccount(a) };
    await store.deleteSession(first);
    await store.deleteSession({ user: a, loginEpoch: second.loginEpoch + 1 });
    await store.deleteSession({ user: b, loginEpoch: second.loginEpoch });
    assertEquals((await store.findSession(a))?.tokenHash, hash(1));
    await store.deleteSession(second);
    assertEquals(await store.findSession(a), undefined);
  });

  test("has the last login's session when many log in and save sessions at once", async (store) => {
    const [a] = await makeUsers(store, 1) as [number];
    const logins = await Promise.all(Array.from({ length: 20 }, async (_, i) => {
      const login = await store.claimAccount(a);
      return { login, i, saved: await store.saveSession({ user: a, loginEpoch: login }, hash(i), NOON) };
    }));
    const last = logins.reduce((x, y) => x.login > y.login ? x : y);
    assertEquals(new Set(logins.map(({ login }) => login)).size, 20);
    assert(last.saved);
    assertEquals((await store.findSession(a))?.tokenHash, hash(last.i));
  });
}

function resumeContract(test: ContractTest): void {
  test("reclaims an account when the login still is the last one", async (store, reopen) => {
    const [a, b, c] = await makeUsers(store, 3) as [number, number, number];
    const first = { user: a, loginEpoch: await store.claimAccount(a) };
    const other = { user: b, loginEpoch: await store.claimAccount(b) };
    await store.releaseAccounts([first, other]);
    await store.reclaimAccounts([first, { user: c, loginEpoch: 1 }, { user: UNKNOWN_ID, loginEpoch: 1 }]);
    assertEquals(await store.onlineLogins(0, 10), [first]);
    const second = { user: a, loginEpoch: await store.claimAccount(a) };
    await store.releaseAccounts([second]);
    await store.reclaimAccounts([first]);
    const again = await reopen();
    assertEquals(await again.onlineLogins(0, 10), []);
    await again.reclaimAccounts([]);
    // In the order of the calls.
    await Promise.all([again.reclaimAccounts([second, other]), again.releaseAccounts([second])]);
    assertEquals(await again.onlineLogins(0, 10), [other]);
  });
}

function crowdContract(test: ContractTest): void {
  test("releases more accounts than a batch holds, and runs later calls in order", async (store) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    const login = await store.claimAccount(a);
    const others = Array.from({ length: 1_000 }, (_, i) => ({ user: UNKNOWN_ID + i, loginEpoch: 1 }));
    const [, next] = await Promise.all([
      store.releaseAccounts([{ user: a, loginEpoch: login }, ...others]),
      store.claimAccount(a),
      store.claimAccount(b),
    ]);
    assertEquals((await store.onlineLogins(0, 10))[0], { user: a, loginEpoch: next });
  });
}

function tokenContract(test: ContractTest): void {
  test("claims an account by a token only while the saved session has it", async (store) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    const first = { user: a, loginEpoch: await store.claimAccount(a) };
    assertEquals(await store.claimAccount(a, hash(1)), 0, "no session is saved");
    await store.saveSession(first, hash(1), NOON);
    assertEquals(await store.claimAccount(a, hash(2)), 0);
    assertEquals(await store.claimAccount(b, hash(1)), 0, "it is another account's");
    assertEquals(await store.latestLoginEpochs([a, b]), new Map([[a, first.loginEpoch], [b, 0]]));
    assertEquals((await store.findUser({ id: b }))?.online, false);
    const second = { user: a, loginEpoch: await store.claimAccount(a, hash(1)) };
    assert(second.loginEpoch > first.loginEpoch);
    await store.saveSession(second, hash(2), NOON);
    assertEquals(await store.claimAccount(a, hash(1)), 0);
    await store.deleteSession(second);
    assertEquals(await store.claimAccount(a, hash(2)), 0);
    const all = await Promise.all([
      store.claimAccount(a),
      store.claimAccount(a, hash(2)),
      store.claimAccount(a),
    ]);
    assertEquals(all.map((login) => login > 0), [true, false, true]);
  });
}

function unknownContract(test: ContractTest): void {
  test("returns nothing for the largest ids, which no user has", async (store) => {
    const [a] = await makeUsers(store, 1) as [number];
    const group = await makeGroup(store, "g", [a]);
    const login = { user: LAST_ID, loginEpoch: LAST_ID };
    const notFound = { refused: "not_found" as const };
    assertEquals(await store.claimAccount(LAST_ID), 0);
    await store.releaseAccounts([login]);
    await store.setPassword(LAST_ID, "hash", "hash");
    assertEquals(await store.saveSession(login, new Uint8Array(32), NOON), false);
    await store.deleteSession(login);
    await store.advanceCursors([-LAST_ID, LAST_ID, a].map((peer) => ({ user: LAST_ID, peer, seq: LAST_ID })));
    await store.advanceCursors([-LAST_ID, LAST_ID].map((peer) => ({ user: a, peer, seq: LAST_ID })));
    assertEquals(await store.addFriend(a, LAST_ID), notFound);
    assertEquals(await store.joinGroup(a, LAST_ID), notFound);
    assertEquals(await send(store, a, LAST_ID, "1"), notFound);
    assertEquals(await send(store, a, -LAST_ID, "1"), notFound);
    assertEquals(await send(store, LAST_ID, a, "1"), notFound);
    assertEquals(await send(store, LAST_ID, LAST_ID, "1"), notFound);
    assertEquals(await send(store, LAST_ID, -group, "1"), { refused: "forbidden" });
    assertEquals(await store.findUser({ id: LAST_ID }), undefined);
    assertEquals(await store.plaintextAccounts(LAST_ID, 10), []);
    assertEquals(await store.latestLoginEpochs([LAST_ID]), new Map());
    assertEquals(await store.onlineLogins(LAST_ID, 10), []);
    assertEquals(await store.findSession(LAST_ID), undefined);
    assertEquals(await store.followers(LAST_ID, LAST_ID, 10), []);
    assertEquals(await store.friendsOf([LAST_ID]), []);
    assertEquals(await store.contacts(LAST_ID, 50), { friends: [], groups: [] });
    assertEquals(await store.members(a, LAST_ID, 0, 10), notFound);
    assertEquals(await store.members(LAST_ID, group, LAST_ID, 10), { refused: "forbidden" });
    assertEquals(await store.unread(LAST_ID, 10), []);
    assertEquals(await store.usersWithUnread([LAST_ID]), []);
    for (const peer of [LAST_ID, -LAST_ID]) {
      assertEquals(await store.read(a, peer, undefined, 10, PLENTY), { after: 0, messages: [] });
      assertEquals(await store.read(LAST_ID, peer, LAST_ID, 10, PLENTY), { after: LAST_ID, messages: [] });
      assertEquals(await store.history(a, peer, LAST_ID, 10, PLENTY), notFound);
    }
    assertEquals(await store.history(LAST_ID, -group, undefined, 10, PLENTY), { refused: "forbidden" });
    assertEquals(idOf(await store.createUser("next", "hash")) < LAST_ID, true);
  });
}
