/** Several workers in one process: users on different workers, start and end. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { defaults } from "../../lib/config/config.ts";
import { Log } from "../../lib/log.ts";
import { WorkerNode } from "../../lib/workers/worker_node.ts";
import { Errno, Msg, type Received } from "../harness/protocol_numbers.ts";
import { FramedClient, login, newGroup, newUser, PASSWORD } from "../harness/framed_client.ts";
import { runProgram, writableFolder } from "../harness/program.ts";
import { serverTest, sharedServer, withServer } from "../harness/server.ts";
import { until, within } from "../harness/wait.ts";
import { entered, enterOn, events, MAX_TRIES, oneEach, WORKERS } from "../harness/workers.ts";

/** Returns 1, 2, 3, … */
function count(to: number): number[] {
  return Array.from({ length: to }, (_, at) => at + 1);
}

/** A short drain: clients are served for a tenth of this time after their reconnect time. */
const SHORT_DRAIN = ["--drain-timeout", "2s"];

const workersTest = sharedServer({ args: WORKERS });

workersTest("workers: listen on one port, which is logged once", async (server) => {
  const listening = events(server, "listening").map(({ host, port, workers }) => [host, port, workers]);
  assertEquals(listening, [[server.host, server.port, 2]]);
  for (const client of await oneEach(server)) await client.close(); // both workers get connections
});

workersTest("workers: exchange messages, group messages and presence", async (server) => {
  const [alice, bob] = await oneEach(server);
  await alice.succeed({ msgid: Msg.ADD_FRIEND, friendid: bob.id });
  const seqs = count(100);
  const acks = await Promise.all(seqs.map((seq) => alice.chat(bob.id, `m${seq}`)));
  assertEquals(acks.map(({ seq }) => seq), seqs);
  const got = await bob.take(seqs.length, Msg.ONE_CHAT);
  assertEquals(got.map(({ seq, msg }) => [seq, msg]), seqs.map((seq) => [seq, `m${seq}`]));

  const groupid = await newGroup(alice, [bob]);
  await alice.groupChat(groupid, "all");
  assertEquals((await bob.next(Msg.GROUP_CHAT)).msg, "all");
  await bob.groupChat(groupid, "back");
  assertEquals((await alice.next((m) => m.msg === "back")).seq, 2);

  await bob.close();
  await alice.next((m) => m.msgid === Msg.PRESENCE && m.state === "offline");
  const again = await enterOn(server, 2, () => login(server, { id: bob.id }));
  await alice.next((m) => m.msgid === Msg.PRESENCE && m.state === "online");
  await again.close();
  await alice.close();
});

workersTest("workers: an account has one session on any worker", async (server) => {
  const first = await entered(server, () => newUser(server));
  let { client: holder, worker: at } = first;
  const id = holder.id;
  const ways = new Set<string>();
  for (let round = 0; ways.size < 4 && round < MAX_TRIES; round++) {
    const byToken = round % 2 === 1;
    const { client, worker } = await entered(server, async () => {
      const client = await FramedClient.connect(server);
      const refused = await client.request({ msgid: Msg.LOGIN, id, password: PASSWORD });
      assertEquals(refused.errno, Errno.ALREADY_ONLINE);
      await client.login(byToken ? { token: holder.token } : { id }, byToken ? {} : { force: true });
      return client;
    });
    assertEquals((await holder.next(Msg.NOTICE)).kind, "kicked");
    await holder.serverCloses();
    await holder.close();
    if (worker !== at) ways.add(`from ${at}, ${byToken ? "token" : "force"}`);
    [holder, at] = [client, worker];
  }
  assertEquals(ways.size, 4, "from each to the other, both by force and by token");
  await holder.close();
});

workersTest("workers: one of several concurrent logins gets the account", async (server) => {
  const user = await newUser(server);
  await user.succeed({ msgid: Msg.LOGOUT });
  const clients = await Promise.all(Array.from({ length: 8 }, () => FramedClient.connect(server)));
  for (let round = 0; round < 20; round++) {
    const replies = await Promise.all(
      clients.map((client) => client.request({ msgid: Msg.LOGIN, id: user.id, password: PASSWORD })),
    );
    const winners = clients.filter((_, at) => replies[at]!.errno === Errno.OK);
    assertEquals(winners.length, 1);
    await winners[0]!.succeed({ msgid: Msg.LOGOUT });
  }
  for (const client of [user, ...clients]) await client.close();
});

serverTest(
  "workers: I1, I2 and I5 hold after kill -9 with messages in flight on both",
  { args: WORKERS },
  async (server) => {
    const each = 500; // messages of each sender
    const window = 50; // of them in flight
    const [alice, carol] = await oneEach(server);
    const bob = await newUser(server);
    const groupid = await newGroup(bob, [alice, carol]);
    const acks = new Map<string, Received>();
    const send = async (by: FramedClient, killAt: number) => {
      const left = count(each).map((n) => `${by.id} ${n}`).filter((cid) => !acks.has(cid)).values();
      const lane = async () => {
        for (const cid of left) {
          const ack = await by.groupChat(groupid, cid, cid).catch(() => undefined);
          if (!ack) return;
          acks.set(cid, ack);
          if (acks.size === killAt) server.kill("SIGKILL");
        }
      };
      await Promise.all(Array.from({ length: window }, lane));
    };
    await Promise.all([send(alice, each / 2), send(carol, each / 2)]);
    await server.wait();
    for (const client of [alice, carol, bob]) {
      await client.serverCloses();
      await client.close();
    }
    const kept = new Map(acks);
    assert(kept.size < 2 * each, "it stopped in the middle");
    await server.restart();

    await Promise.all([alice, carol].map(async ({ token }) => {
      await using again = await login(server, { token });
      await send(again, NaN);
    }));
    await using reader = await login(server, { token: bob.token });
    const got = await reader.take(2 * each, Msg.GROUP_CHAT);
    assertEquals(got.map(({ seq }) => seq), count(2 * each));
    assertEquals(new Set(got.map(({ cid }) => cid)).size, 2 * each);
    for (const [cid, { seq }] of kept) assertEquals(got[seq! - 1]!.cid, cid, "as it was acknowledged");
  },
);

serverTest("workers: all drain at SIGTERM, and the exit code is 0", {
  args: [...WORKERS, ...SHORT_DRAIN],
}, async (server) => {
  const clients = await oneEach(server);
  const [alice, bob] = clients;
  const ack = alice.chat(bob.id, "a last word");
  await bob.next(Msg.ONE_CHAT);
  server.kill("SIGTERM");
  assertEquals((await ack).errno, Errno.OK);
  for (const client of clients) {
    assertEquals((await client.next(Msg.NOTICE)).kind, "draining");
    await client.serverCloses();
    await client.close();
  }
  assertEquals(await server.wait(), 0);
  assertEquals(events(server, "draining").map(({ worker }) => worker).sort(), [1, 2]);
  assertEquals(events(server, "stopped").length, 1);
});

const KILLABLE_WORKERS = ["-A", "--preload", "tests/harness/killable_workers.ts"];

serverTest("workers: the process ends after the drain of the others when one dies", {
  args: [...WORKERS, ...SHORT_DRAIN],
  permissions: KILLABLE_WORKERS,
  env: { MORTAL: "worker 2" },
}, async (server) => {
  const [alice, bob] = await oneEach(server);
  Deno.kill(server.pid, "SIGUSR1");
  await bob.serverCloses();
  assertEquals((await alice.next(Msg.NOTICE)).kind, "draining");
  await alice.serverCloses();
  assertEquals(await server.wait(), 1);
  const [death] = events(server, "a worker died");
  assertEquals([death?.level, death?.worker], ["error", 2]);
  await alice.close();
  await bob.close();
});

serverTest("workers: the exit code is 1 when one dies during its drain", {
  args: [...WORKERS, "--argon2-passes", "16", "--drain-timeout", "3s"],
  permissions: KILLABLE_WORKERS,
  env: { MORTAL: "worker 2" },
}, async (server) => {
  const clients = await Promise.all(Array.from({ length: 20 }, () => FramedClient.connect(server)));
  // Work of a second or more, for which the drain waits.
  for (const [at, client] of clients.entries()) {
    await client.send({ msgid: Msg.REGISTER, name: `${at}`, password: "correct horse" });
  }
  server.kill("SIGTERM");
  await until(() => events(server, "draining").length === 2, "both to leave");
  Deno.kill(server.pid, "SIGUSR1");
  assertEquals(await server.wait(), 1);
  assertEquals(events(server, "a worker died").length, 1);
  for (const client of clients) await client.close();
});

serverTest("workers: the process ends at once when the database thread dies", {
  args: WORKERS,
  permissions: KILLABLE_WORKERS,
  env: { MORTAL: "database" },
}, async (server) => {
  const clients = await oneEach(server);
  Deno.kill(server.pid, "SIGUSR1");
  for (const client of clients) {
    await client.serverCloses();
    await client.close();
  }
  assertEquals(await server.wait(), 1);
  assertEquals(["the database failed", "draining"].map((event) => events(server, event).length), [1, 0]);
});

Deno.test("workers: one that does not drain is terminated", async () => {
  const lines: string[] = [];
  const log = new Log("info", "text", (line) => lines.push(line));
  const [store, bus] = [new MessageChannel(), new MessageChannel()]; // without a reply the node waits
  let isBack = false;
  const worker = new WorkerNode(7, { ...defaults(), host: "127.0.0.1", port: 0 }, log, {
    ports: { store: store.port1, bus: bus.port1 },
    release: () => {
      isBack = true;
      store.port2.close();
      bus.port2.close();
      return Promise.resolve();
    },
  });
  assertEquals(await worker.stop(100), false);
  assertEquals([await within(worker.listening, "to be told"), isBack], [undefined, true]);
  assertStringIncludes(lines.join(""), "error a worker did not stop in time worker=7");
});

serverTest("workers: each has its share of the limits of the process", {
  args: [...WORKERS, "--max-connections", "4"],
}, async (server) => {
  const clients = await Promise.all(Array.from({ length: 60 }, () => FramedClient.connect(server)));
  const answers = await Promise.all(
    clients.map((client) => client.request({ msgid: Msg.PING }).then(() => true, () => false)),
  );
  assertEquals(answers.filter((isAnswered) => isAnswered).length, 4);
  for (const client of clients) await client.close();
});

serverTest(
  "workers: the start fails when another server uses the port",
  { args: WORKERS },
  async (server) => {
    const args = [server.host, `${server.port}`, "--db", `${server.folder}/other.db`];
    for (const workers of ["1", "2"]) {
      const outcome = await runProgram("main.ts", [...args, "--workers", workers]);
      const [line, ...others] = outcome.stderr.trim().split("\n");
      assertEquals([outcome.code, others], [1, []]);
      assertStringIncludes(line!, `Cannot listen on ${server.host}:${server.port}`);
    }
  },
);

Deno.test("workers: the start fails for an unusable database and invalid numbers of workers", async () => {
  const folder = await Deno.makeTempDir({ prefix: "chat-test-" });
  try {
    for (const [code, workers] of [[1, "2"], [2, "0"], [2, "1000"], [2, "many"]] as const) {
      const { code: ended, stderr } = await runProgram("main.ts", [
        "127.0.0.1",
        "0",
        "--db",
        folder, // not a file
        "--workers",
        workers,
      ]);
      assertEquals([ended, stderr.trim().split("\n").length], [code, 1], stderr);
      assertStringIncludes(stderr, code === 1 ? folder : "--workers");
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("workers: the permissions in deno.json suffice", async () => {
  const folder = await writableFolder();
  try {
    const permissions = ["--no-prompt", "-P=server"];
    await withServer({ args: WORKERS, permissions, db: `${folder}/chat.db` }, async (server) => {
      const [alice, bob] = await oneEach(server);
      await alice.chat(bob.id, "hello");
      assertEquals((await bob.next(Msg.ONE_CHAT)).msg, "hello");
      await alice.close();
      await bob.close();
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
