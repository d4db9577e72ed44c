/** The embedded server dies while messages are being settled: each that was acknowledged is there, once, in its place. */
import { assertEquals, assertGreaterOrEqual } from "@std/assert";
import { DatabaseSync } from "node:sqlite";
import { Errno, Msg } from "../harness/protocol_numbers.ts";
import { type FramedClient, login, newUser } from "../harness/framed_client.ts";
import { type Server, serverTest } from "../harness/server.ts";
import { until } from "../harness/wait.ts";

const WINDOW = 500; // messages under way at once
const CRASH_AT = 20_000; // acknowledgements: settling begins at 16,384, and takes 13,107 more to be done

/** Sends to both peers in turn until the server is gone. Gives each acknowledged message's seq by its cid. */
async function sendUntilTheEnd(
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

function look<T>(server: Server, body: (db: DatabaseSync) => T): T {
  const db = new DatabaseSync(server.db);
  try {
    return body(db);
  } finally {
    db.close();
  }
}

serverTest("kill -9 while messages are being settled", {}, async (server) => {
  const [ann, bob, carol] = [await newUser(server), await newUser(server), await newUser(server)];
  const peers = [bob.id, carol.id];
  let count = 0;
  const sending = sendUntilTheEnd(ann, peers, (acked) => count = acked);
  await until(() => count >= CRASH_AT, `${CRASH_AT} acknowledgements`);
  server.kill("SIGKILL");
  const acked = await sending;
  for (const client of [ann, bob, carol]) await client.close();

  const [settled, recent] = look(
    server,
    (db) =>
      ["Message", "RecentMessage"].map((table) =>
        db.prepare(`SELECT count(*) AS n FROM ${table}`).get()!.n as number
      ),
  );
  assertGreaterOrEqual(settled!, 1, "it was in the middle");
  assertGreaterOrEqual(
    settled! + recent!,
    acked.size + 1,
    "those that are settled are still where they came, too",
  );

  await server.restart();
  const rows = look(
    server,
    (db) =>
      db.prepare("SELECT low, high, seq, cid FROM AnyMessage ORDER BY low, high, seq").all() as {
        low: number;
        high: number;
        seq: number;
        cid: string;
      }[],
  );
  const kept = new Map(rows.map(({ cid, seq }) => [cid, seq]));
  assertEquals(kept.size, rows.length, "none is there twice");
  for (const [cid, seq] of acked) assertEquals(kept.get(cid), seq, cid);
  for (const peer of peers) {
    const seqs = rows.filter(({ low, high }) => low === peer || high === peer).map(({ seq }) => seq);
    assertEquals(seqs, seqs.map((_, at) => at + 1), "1, 2, 3, …");
  }

  await using again = await login(server, { token: ann.token });
  for (const at of [0, 1, acked.size - 1]) { // settled ones, and one that isn't
    const message = { msgid: Msg.ONE_CHAT, toid: peers[at % 2]!, msg: "text", cid: `cid ${at}` };
    assertEquals((await again.request(message)).seq, kept.get(`cid ${at}`));
  }
  const next = await again.request({ msgid: Msg.ONE_CHAT, toid: bob.id, msg: "text", cid: "new" });
  assertEquals(next.seq, rows.filter(({ low, high }) => low === bob.id || high === bob.id).length + 1);
  assertGreaterOrEqual(rows.length, acked.size);
});
