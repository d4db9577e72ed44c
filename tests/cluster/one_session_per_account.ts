/** An account has one session, also after concurrent logins on several nodes. */
import { assert, assertEquals, assertGreaterOrEqual } from "@std/assert";
import type { Cluster } from "../harness/cluster.ts";
import { Errno, Msg, type Received, type Sent } from "../harness/protocol_numbers.ts";
import { FramedClient, newUser, PASSWORD, register } from "../harness/framed_client.ts";
import { until } from "../harness/wait.ts";

/** Number of races for accounts without a session. */
export const LOGINS = 200;
/** Number of races for accounts with a session. */
export const TAKEOVERS = 100;

const ACCOUNTS = 4; // accounts with a race each at the same time
const CONCURRENT_LOGINS = 4; // logins of one race, spread over the nodes

/** Connects to the nodes in turn. */
async function connections(
  cluster: Cluster,
  open: AsyncDisposableStack,
  count: number,
): Promise<FramedClient[]> {
  const nodes = Array.from({ length: count }, (_, at) => cluster.node(at % cluster.nodes.length));
  return await Promise.all(nodes.map(async (node) => open.use(await FramedClient.connect(node))));
}

/** Logs all clients in at once, and waits until all but one are closed or refused. Returns that one. */
async function race(clients: readonly FramedClient[], request: Sent): Promise<FramedClient> {
  const gone = new Set<FramedClient>();
  const asked = clients.map((client) => client.request({ msgid: Msg.LOGIN, ...request }));
  for (const client of clients) void client.closed.then(() => gone.add(client));
  const replies = await Promise.all(asked);
  for (const { errno } of replies) {
    assert(errno === Errno.OK || errno === Errno.ALREADY_ONLINE, `errno ${errno}`);
  }
  const entered = clients.filter((_, at) => replies[at]!.errno === Errno.OK);
  assertGreaterOrEqual(entered.length, 1);
  await until(() => entered.filter((client) => !gone.has(client)).length <= 1, "all but one to be closed");
  const winner = entered.find((client) => !gone.has(client));
  assert(winner, "one session stays");
  winner.token = (replies[clients.indexOf(winner)] as Received).token!;
  return winner;
}

/** Repeats concurrent logins to a free account on all nodes. One gets the account, and logs out again. */
export async function raceForAccounts(
  cluster: Cluster,
  open: AsyncDisposableStack,
): Promise<void> {
  await Promise.all(Array.from({ length: ACCOUNTS }, async () => {
    const id = await register(cluster.nginx);
    const clients = await connections(cluster, open, cluster.nodes.length);
    const expected = clients.map((_, at) => at === 0 ? Errno.OK : Errno.ALREADY_ONLINE);
    for (let round = 0; round < LOGINS / ACCOUNTS; round++) {
      const asked = clients.map((client) => client.request({ msgid: Msg.LOGIN, id, password: PASSWORD }));
      const errnos = (await Promise.all(asked)).map(({ errno }) => errno);
      assertEquals(errnos.toSorted(), expected, `round ${round}`);
      await clients[errnos.indexOf(Errno.OK)]!.succeed({ msgid: Msg.LOGOUT });
    }
    await until(async () => await cluster.state(id) === "offline", "User.state offline");
  }));
}

/**
 * Repeats concurrent takeovers of an account, by force or with the same token. The last login gets the
 * account.
 */
export async function raceToTakeOver(
  cluster: Cluster,
  open: AsyncDisposableStack,
  by: "force" | "token",
): Promise<void> {
  await Promise.all(Array.from({ length: ACCOUNTS }, async () => {
    const friend = open.use(await newUser(cluster.nginx));
    const { id, token } = open.use(await newUser(cluster.nginx));
    for (let round = 1; round <= TAKEOVERS / ACCOUNTS; round++) {
      const clients = await connections(cluster, open, CONCURRENT_LOGINS);
      const winner = await race(
        clients,
        by === "token" ? { token } : { id, password: PASSWORD, force: true },
      );
      if (by === "token") assertEquals(winner.token, token);
      await assertUsable(winner, id, friend, round);
      assertEquals(await cluster.state(id), "online");
      for (const client of clients) if (client !== winner) await client.close();
    }
    await using other = await FramedClient.connect(cluster.nginx);
    const refused = await other.request({ msgid: Msg.LOGIN, id, password: PASSWORD });
    assertEquals(refused.errno, Errno.ALREADY_ONLINE);
  }));
}

/** Asserts that the winner can chat: it exchanges the messages with seqs `2 * round - 1` and `2 * round`. */
async function assertUsable(
  winner: FramedClient,
  id: number,
  friend: FramedClient,
  round: number,
): Promise<void> {
  assertEquals((await friend.chat(id, `round ${round}`)).seq, 2 * round - 1);
  await winner.next((m) => m.msgid === Msg.ONE_CHAT && m.msg === `round ${round}`);
  const { errno, seq } = await winner.chat(friend.id, "I am");
  assertEquals([errno, seq], [Errno.OK, 2 * round]);
  await winner.delivered({ id: friend.id }, 2 * round - 1);
}
