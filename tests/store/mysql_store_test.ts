/** The store on MySQL and MariaDB: the contract, and the properties of many nodes on one database. */
import { assert, assertEquals } from "@std/assert";
import type { Appended } from "../../lib/store/store.ts";
import { sharedMariadb } from "../harness/mariadb.ts";
import { openMysql, withStores } from "./mysql_fixture.ts";
import { storeContract } from "./store_contract.ts";
import { granted, makeCrowd, makeGroup, makeUsers, send, seqs, whole } from "./store_fixture.ts";

const mariadb = sharedMariadb();

storeContract("mysql", async (limits) => {
  const db = await mariadb.fresh();
  let store = await openMysql(db.url, limits);
  return {
    store,
    reopen: async () => {
      await store.close();
      return store = await openMysql(db.url, limits);
    },
    sql: async (statement) => void await db.sql(statement),
    discard: async () => {
      await store.close();
      await db[Symbol.asyncDispose]();
    },
  };
});

mariadb.test("mysql: I2 nodes write to one conversation without gaps or losses", async (db) => {
  await withStores(3, db, async (...nodes) => {
    const users = await makeCrowd(nodes[0]!, 6);
    const group = await makeGroup(nodes[0]!, "g", users);
    const calls: Promise<{ conversation: string; seq: number; cid: string }>[] = [];
    for (let i = 0; i < 1_500; i++) {
      // These users have no conversations yet, so that the nodes also create the conversations at once.
      const [sender, other] = [users[i % 6]!, users[(i * 5 + (i >> 3)) % 6]!];
      const peer = i % 4 === 0 ? -group : other;
      const conversation = peer < 0 ? "group" : [sender, peer].sort((x, y) => x - y).join();
      const sent = send(nodes[i % 3]!, sender, peer, `${i}`);
      calls.push(sent.then((result) => ({ conversation, seq: granted(result).seq, cid: `${i}` })));
      if (i % 50 === 0) await calls[i]; // the nodes' batches begin at various times
    }
    const sent = Map.groupBy(await Promise.all(calls), ({ conversation }) => conversation);
    assert(sent.size > 15);
    for (const [conversation, messages] of sent) {
      const bySeq = messages.toSorted((x, y) => x.seq - y.seq);
      assertEquals(bySeq.map(({ seq }) => seq), bySeq.map((_, i) => i + 1), conversation);
      const [a, b] = conversation === "group" ? [users[0]!, -group] : conversation.split(",").map(Number);
      assertEquals((await whole(nodes[1]!, a!, b!)).map(({ cid }) => cid), bySeq.map(({ cid }) => cid));
    }
  });
});

mariadb.test("mysql: I5 stores a cid from several nodes as one message", async (db) => {
  await withStores(3, db, async (...nodes) => {
    const [a, b, c] = await makeUsers(nodes[0]!, 3) as [number, number, number];
    for (let i = 0; i < 20; i++) {
      const sent = await Promise.all(nodes.map((node) => send(node, a, b, `${i}`)));
      const appended = sent.map(granted) as Appended[];
      assertEquals(appended.map(({ seq }) => seq), [i + 1, i + 1, i + 1]);
      assertEquals(appended.filter(({ duplicate }) => !duplicate).length, 1);
    }
    const sent = await Promise.all(nodes.map((node, i) => send(node, a, i === 0 ? b : c, "both")));
    const reused = sent.filter((answer) => "refused" in answer && answer.refused === "cid_reused").length;
    assert(reused === 1 || reused === 2, "the cid is of one conversation");
    assertEquals((await whole(nodes[0]!, a, b)).length + (await whole(nodes[0]!, a, c)).length, 21);
  });
});

mariadb.test("mysql: limits hold when several nodes reach them at once", async (db) => {
  await withStores(3, db, async (...nodes) => {
    const users = await makeCrowd(nodes[0]!, 30);
    const [a, ...others] = users as [number, ...number[]];
    const group = await makeGroup(nodes[0]!, "g", [a]);
    const full = (results: readonly object[]) => results.filter((result) => "refused" in result).length;
    const node = (i: number) => nodes[i % 3]!;
    const refused = await Promise.all([
      Promise.all(others.map((user, i) => node(i).joinGroup(user, group))).then(full),
      Promise.all(others.map((user, i) => node(i).addFriend(a, user))).then(full),
      Promise.all(others.map((_, i) => node(i).createGroup(a, `g${i}`, ""))).then(full),
      Promise.all(others.map((_, i) => node(i).createUser(`v${i % 10}`, "hash"))).then(full),
    ]);
    assertEquals(refused, [29 - 9, 29 - 10, 29 - 9, 29 - 10]);
    const { friends, groups } = await nodes[1]!.contacts(a, 50);
    assertEquals([friends.length, groups.length, groups[0]!.members], [10, 10, 10]);
  }, { membersPerGroup: 10, friendsPerUser: 10, groupsPerUser: 10 });
});

mariadb.test("mysql: each login has a higher epoch than those on other nodes", async (db) => {
  await withStores(3, db, async (...nodes) => {
    const [a, b] = await makeUsers(nodes[0]!, 2) as [number, number];
    const logins = await Promise.all(
      Array.from({ length: 60 }, async (_, i) => {
        const node = nodes[i % 3]!;
        const login = await node.claimAccount(i % 2 ? a : b);
        const session = { user: i % 2 ? a : b, loginEpoch: login };
        return { ...session, saved: await node.saveSession(session, new Uint8Array(32).fill(i), i), i };
      }),
    );
    for (const user of [a, b]) {
      const own = logins.filter((login) => login.user === user).toSorted((x, y) =>
        x.loginEpoch - y.loginEpoch
      );
      assertEquals(own.map(({ loginEpoch }) => loginEpoch), own.map((_, i) => i + 1));
      assert(own.at(-1)!.saved);
      assertEquals((await nodes[0]!.findSession(user))?.expires, own.at(-1)!.i);
    }
    await nodes[1]!.releaseAccounts([{ user: a, loginEpoch: 29 }, { user: b, loginEpoch: 30 }]);
    assertEquals(await nodes[2]!.onlineLogins(0, 10), [{ user: a, loginEpoch: 30 }]);
  });
});

mariadb.test("mysql: applies an operator's change of a group from the next message on", async (db) => {
  await withStores(1, db, async (store) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    const group = await makeGroup(store, "g", [a, b]);
    await send(store, b, -group, "1");
    await db.sql("DELETE FROM GroupUser WHERE groupid = ? AND userid = ?", [group, b]);
    assertEquals(await send(store, b, -group, "2"), { refused: "forbidden" });
    await db.sql("INSERT INTO GroupUser (groupid, userid) VALUES (?, ?)", [group, b]);
    assertEquals(granted(await send(store, b, -group, "3")).seq, 2);
    await db.sql("DELETE FROM GroupUser WHERE groupid = ? AND userid = ?", [group, b]);
    await send(store, a, -group, "4");
    granted(await store.joinGroup(b, group));
    assertEquals(await store.unread(b, 10), [], "a returning member has no unread messages");
  });
});

mariadb.test("mysql: creates the conversation of a group that an operator inserted", async (db) => {
  await withStores(1, db, async (store) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    await db.sql("INSERT INTO AllGroup (id, groupname) VALUES (7, 'theirs')");
    await db.sql("INSERT INTO GroupUser (groupid, userid) VALUES (7, ?), (7, ?)", [a, b]);
    assertEquals(granted(await send(store, a, -7, "1")).seq, 1);
    assertEquals(seqs(await store.read(b, -7, undefined, 10, 1_000)), [1]);
  });
});

mariadb.test("mysql: the highest cursor of a conversation in one call counts", async (db) => {
  await withStores(1, db, async (store) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    await Promise.all(["1", "2", "3"].map((cid) => send(store, a, b, cid)));
    await store.advanceCursors([1, 2, 1, 0].map((seq) => ({ user: b, peer: a, seq })));
    assertEquals(seqs(await store.read(b, a, undefined, 10, 1_000)), [3]);
  });
});

mariadb.test("mysql: restarts a conversation that an operator deleted", async (db) => {
  await withStores(1, db, async (store) => {
    const [a, b, c] = await makeUsers(store, 3) as [number, number, number];
    await Promise.all([send(store, a, b, "1"), send(store, a, c, "2")]);
    for (const table of ["Message", "MemberCursor", "Conversation"]) {
      await db.sql(`DELETE FROM ${table} WHERE high = ?`, [b]);
    }
    const sent = await Promise.all([send(store, a, b, "3"), send(store, a, c, "4")]);
    assertEquals(sent.map((answer) => granted(answer).seq), [1, 2]);
    assertEquals(seqs(await store.read(b, a, undefined, 10, 1_000)), [1]);
  });
});

mariadb.test("mysql: a message that the database rejects fails alone", async (db) => {
  await withStores(1, db, async (store) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    const sent = await Promise.allSettled(
      Array.from({ length: 50 }, (_, i) => send(store, a, b, i === 20 ? "too long".repeat(40) : `${i}`)),
    );
    assertEquals(sent.flatMap(({ status }, i) => status === "rejected" ? [i] : []), [20]);
    const cids = (await whole(store, a, b)).map(({ cid }) => cid);
    assertEquals(cids, Array.from({ length: 50 }, (_, i) => `${i}`).filter((_, i) => i !== 20));
  });
});

mariadb.test("mysql: stores the longest messages of many users, escaped or not", async (db) => {
  await withStores(1, db, async (store) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    const bodies = Array.from(
      { length: 12 },
      (_, i) => ["'", "\\", "\0", "€", "x", "\u001a"][i % 6]!.repeat(524_288),
    );
    await Promise.all(bodies.map((body, i) => send(store, a, b, `${i}`, { body }).then(granted)));
    const page = await store.read(b, a, 0, 100, 1e9);
    assertEquals(page.messages.map(({ body }) => body), bodies);
  });
});
