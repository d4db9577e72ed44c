/** Tests of an embedded store that several threads, or several parts of a thread, share. */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { DatabaseSync } from "node:sqlite";
import { SqliteStore } from "../../lib/store/sqlite/sqlite_store.ts";
import { type Appended, type Store, StoreUnavailableError } from "../../lib/store/store.ts";
import { within } from "../harness/wait.ts";
import { granted, makeGroup, makeUsers, NOON, PLENTY, ROOMY, send, seqs, whole } from "./store_fixture.ts";

/** Registers a test with an open store, which is closed after the test. The test closes its shares. */
function shareTest(name: string, body: (store: SqliteStore, file: string) => Promise<void>): void {
  Deno.test(`sqlite share: ${name}`, async () => {
    const directory = await Deno.makeTempDir();
    const file = `${directory}/chat.db`;
    const store = await SqliteStore.open(file, ROOMY);
    try {
      await body(store, file);
    } finally {
      await store.close();
      await Deno.remove(directory, { recursive: true });
    }
  });
}

/** Sends messages to the group in waves of ten concurrent calls; returns their results in call order. */
async function sendWaves(store: Store, sender: number, group: number, waves: number): Promise<Appended[]> {
  const appended: Appended[] = [];
  for (let wave = 0; wave < waves; wave++) {
    const calls = Array.from({ length: 10 }, (_, i) => send(store, sender, -group, `${wave}.${i}`));
    for (const result of await Promise.all(calls)) appended.push(granted(result));
  }
  return appended;
}

shareTest(
  "shows committed changes to all stores that share the database",
  async (store) => {
    const one = SqliteStore.fromPort(store.share());
    const two = SqliteStore.fromPort(one.share()); // a share of a share
    const [a, b] = await makeUsers(one, 2) as [number, number];
    const login = await two.claimAccount(a);
    assertEquals(await store.onlineLogins(0, 10), [{ user: a, loginEpoch: login }]);
    assertEquals(await one.createUser("u1", "hash"), { refused: "name_in_use" });
    const seq = [];
    for (const each of [store, two, one, store]) {
      seq.push(
        granted(await send(each, a, b, `${seq.length}`)).seq,
      );
    }
    assertEquals(seq, [1, 2, 3, 4]);
    for (const each of [one, two, store]) assertEquals(seqs(await each.read(b, a, 0, 10, PLENTY)), seq);
    await one.close();
    await two.close();
  },
);

shareTest(
  "I2 I5 assigns gapless seqs, once per message, when several stores append",
  async (store) => {
    const shares = [store, SqliteStore.fromPort(store.share()), SqliteStore.fromPort(store.share())];
    const users = await makeUsers(store, 3);
    const group = await makeGroup(store, "g", users);
    const sent = await Promise.all([
      ...users.map((user, i) => sendWaves(shares[i]!, user, group, 20)),
      sendWaves(shares[1]!, users[0]!, group, 20), // the messages of the first store, through another one
    ]);
    const fresh = sent.flat().filter(({ duplicate }) => !duplicate).map(({ seq }) => seq);
    assertEquals(fresh.toSorted((x, y) => x - y), Array.from({ length: 600 }, (_, i) => i + 1));
    assertEquals(sent[0]!.map(({ seq }) => seq), sent[3]!.map(({ seq }) => seq));
    const stored = await whole(shares[2]!, users[0]!, -group);
    for (const user of users) {
      const cids = stored.filter(({ sender }) => sender === user).map(({ cid }) => cid);
      assertEquals(cids, Array.from({ length: 200 }, (_, i) => `${Math.floor(i / 10)}.${i % 10}`));
    }
    await Promise.all(shares.map((share) => share.close()));
  },
);

shareTest("closes a share after its calls, and not the others", async (store) => {
  const [one, two] = [SqliteStore.fromPort(store.share()), SqliteStore.fromPort(store.share())];
  const made = one.createUser("ann", "hash");
  const closed = one.close();
  await assertRejects(() => one.createUser("bob", "hash"), StoreUnavailableError, "closed");
  const { id } = granted(await made);
  await closed;
  await one.close();
  assertThrows(() => one.share(), StoreUnavailableError, "closed");
  for (const each of [two, store]) assertEquals((await each.findUser({ name: "ann" }))?.id, id);
  await two.close();
  assertEquals(await store.findUser({ name: "bob" }), undefined);
});

shareTest("rejects a failing change for its own store only, with the error", async (store) => {
  const share = SqliteStore.fromPort(store.share());
  const [a, b] = await makeUsers(store, 2) as [number, number];
  const [good, bad, other] = await Promise.allSettled([
    send(share, a, b, "1"),
    send(share, a, b, "2", { time: NaN }),
    send(store, b, a, "1"),
  ]);
  assertEquals([good.status, other.status], ["fulfilled", "fulfilled"]);
  assert(bad.status === "rejected" && bad.reason instanceof StoreUnavailableError);
  assert(bad.reason.cause instanceof Error);
  assertEquals(seqs(await share.read(a, b, 0, 10, PLENTY)), [1, 2]);
  await share.close();
});

shareTest("locks the file until the store that opened it is closed", async (store, file) => {
  const share = SqliteStore.fromPort(store.share());
  await makeUsers(share, 1);
  await share.close();
  await assertRejects(() => SqliteStore.open(file, ROOMY), Error, "another server is using it");
  await store.close();
  assertThrows(() => store.share(), StoreUnavailableError, "closed");
  const db = new DatabaseSync(file);
  assertEquals(db.prepare("SELECT name FROM User").all().map(({ name }) => name), ["u1"]);
  db.close();
});

shareTest("works in a worker as in the thread that opened the database", async (store) => {
  const module = new URL("../../lib/store/sqlite/sqlite_store.ts", import.meta.url).href;
  const source = `import { SqliteStore } from "${module}";
    onmessage = async ({ data: { port, sender, group } }) => {
      const store = SqliteStore.fromPort(port);
      const appended = [];
      for (let i = 0; i < 100; i++) {
        const message = { sender, peer: -group, cid: \`\${i}\`, body: "from the worker", time: ${NOON} };
        appended.push(await store.append(message));
      }
      const account = await store.findUser({ id: sender });
      await store.close();
      postMessage({ appended, account });
    };`;
  const [a, b] = await makeUsers(store, 2) as [number, number];
  const group = await makeGroup(store, "g", [a, b]);
  const worker = new Worker(`data:text/javascript,${encodeURIComponent(source)}`, { type: "module" });
  try {
    const answer = new Promise<MessageEvent>((resolve, reject) => {
      worker.onmessage = resolve;
      worker.onerror = reject;
    });
    const port = store.share();
    worker.postMessage({ port, sender: b, group }, [port]);
    const [here, { data }] = await Promise.all([
      sendWaves(store, a, group, 10),
      within(answer, "the worker"),
    ]);
    const there = data.appended as Appended[];
    assertEquals(data.account, { id: b, name: "u2", password: "hash 2", online: false });
    const all = [...here, ...there].map(({ seq }) => seq).toSorted((x, y) => x - y);
    assertEquals(all, Array.from({ length: 200 }, (_, i) => i + 1));
    assertEquals((await whole(store, a, -group)).filter(({ sender }) => sender === b).length, 100);
  } finally {
    worker.terminate();
  }
});
