/** A test of a crash during compaction: each acknowledged message is stored once, in its place. */
import { assertEquals, assertGreaterOrEqual } from "@std/assert";
import { DatabaseSync } from "node:sqlite";
import { Errno, Msg } from "../harness/protocol_numbers.ts";
import { type FramedClient, login, newUser } from "../harness/framed_client.ts";
import { type Server, serverTest } from "../harness/server.ts";
import { until } from "../harness/wait.ts";

const WINDOW = 500; // messages in flight
const CRASH_AT = 20_000; // acknowledgements: compaction starts at 16,384, and ends 13,107 messages later

/**
 * Sends to the peers in turn until the server is killed. Returns the seqs of acknowledged messages by cid.
 */
async function sendUntilKilled(
  client: FramedClient,
  peers: readonly number[],
  acked: (count: number) => void,
): Promise<Map<string, number>> {
  const seqs = new Map<string, number>();
  let next = 0;
  const worker = async () => {
    for (;;) {
      const at = next++;
      const cid = `cid ${at}`;
      const message = { msgid: Msg.ONE_CHAT, toid: peers[at % peers.length]!, msg: "text", cid };
      const reply = await client.request(message).catch(() => undefined);
      if (reply === undefined) return;
      assertEquals(reply.errno, Errno.OK, reply.errmsg);
      seqs.set(cid, reply.seq!);
      acked(seqs.size);
    }
  };
  await Promise.all(Array.from({ length: WINDOW }, worker));
  return seqs;
}

function query<T>(server: Server, body: (db: DatabaseSync) => T): T {
  const db = new DatabaseSync(server.db);
  try {
    return body(db);
  } finally {
    db.close();
  }
}

serverTest(
  "kill -9: retains acknowledged messages once and in place during compaction",
  {},
  async (server) => {
    const [ann, bob, carol] = [await newUser(server), await newUser(server), await newUser(server)];
    const peers = [bob.id, carol.id];
    let count = 0;
    const sending = sendUntilKilled(ann, peers, (acked) => count = acked);
    await until(() => count >= CRASH_AT, `${CRASH_AT} acknowledgements`);
    server.kill("SIGKILL");
    const acked = await sending;
    for (const client of [ann, bob, carol]) await client.close();

    const [compacted, recent] = query(
      server,
      (db) =>
        ["Message", "RecentMessage"].map((table) =>
          db.prepare(`SELECT count(*) AS n FROM ${table}`).get()!.n as number
        ),
    );
    assertGreaterOrEqual(compacted!, 1, "the crash is during compaction");
    assertGreaterOrEqual(
      compacted! + recent!,
      acked.size + 1,
      "compacted messages are still in RecentMessage, too",
    );

    await server.restart();
    const rows = query(
      server,
      (db) =>
        db.prepare("SELECT low, high, seq, cid FROM AnyMessage ORDER BY low, high, seq").all() as {
          low: number;
          high: number;
          seq: number;
          cid: string;
        }[],
    );
    const stored = new Map(rows.map(({ cid, seq }) => [cid, seq]));
    assertEquals(stored.size, rows.length, "no message is stored twice");
    for (const [cid, seq] of acked) assertEquals(stored.get(cid), seq, cid);
    for (const peer of peers) {
      const seqs = rows.filter(({ low, high }) => low === peer || high === peer).map(({ seq }) => seq);
      assertEquals(seqs, seqs.map((_, at) => at + 1), "1, 2, 3, …");
    }

    await using again = await login(server, { token: ann.token });
    for (const at of [0, 1, acked.size - 1]) { // compacted messages, and one that is not
      const message = { msgid: Msg.ONE_CHAT, toid: peers[at % 2]!, msg: "text", cid: `cid ${at}` };
      assertEquals((await again.request(message)).seq, stored.get(`cid ${at}`));
    }
    const next = await again.request({ msgid: Msg.ONE_CHAT, toid: bob.id, msg: "text", cid: "new" });
    assertEquals(next.seq, rows.filter(({ low, high }) => low === bob.id || high === bob.id).length + 1);
    assertGreaterOrEqual(rows.length, acked.size);
  },
);
