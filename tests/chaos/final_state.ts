/** The end of a run: all users log in and receive their backlogs, and the final state is recorded. */
import type { Cluster } from "../harness/cluster.ts";
import type { Random } from "../harness/random.ts";
import { pause } from "../harness/wait.ts";
import type { Conversation, History, Logged } from "./history.ts";
import { groupOf, type Memory, pairOf } from "./memory.ts";
import type { User } from "./user.ts";

/**
 * ms until all users have all messages. Usually it takes one or two seconds. At most a message waits for the
 * reconciliation of its node every 30 s.
 */
const DRAIN_TIMEOUT_MS = 45_000;
const DELIVERY_TIMEOUT_MS = 12_000; // ms without lost hints: a user takes up to 3 s to find a connection dead
// ms until friends are shown: a node refreshes presence 2 s after Redis has recovered
const PRESENCE_TIMEOUT_MS = 20_000;
// ms until User.state is right, which a node corrects in its reconciliation every 30 s
const STATE_TIMEOUT_MS = 45_000;
const POLL_INTERVAL_MS = 200; // ms between two checks
const LEAVERS = 4; // users that are offline in the end, half of them after a LOGOUT

/**
 * Waits until all messages are acknowledged, and all users have received all messages and sent DELIVERED.
 * Reports missing messages, and messages that took longer than hints take.
 */
export async function drained(
  cluster: Cluster,
  users: readonly User[],
): Promise<{ readonly missing: readonly string[]; readonly slow: readonly string[] }> {
  for (const user of users) user.calmDown();
  const look = async () => {
    const missing = users.filter((user) => !user.settled).map((user) =>
      `${user.memory.name} (user ${user.id}) is ${user.online ? "online" : "not online"}, with ` +
      `${user.memory.unanswered.size} messages not acked, ${user.memory.undelivered().length} conversations not confirmed`
    );
    if (missing.length > 0) return missing;
    const rows = await cluster.database.sql(
      "SELECT userid, COUNT(*) AS messages FROM OfflineMessage GROUP BY userid",
    );
    return rows.map(({ userid, messages }) =>
      `${messages} messages are undelivered for user ${userid}, which has sent DELIVERED for all`
    );
  };
  const slow = await settled(DELIVERY_TIMEOUT_MS, look);
  return {
    missing: slow.length === 0 ? [] : await settled(DRAIN_TIMEOUT_MS - DELIVERY_TIMEOUT_MS, look),
    slow,
  };
}

/** Disconnects some users, and waits until the others and the store show it. Returns the remaining users. */
export async function parted(cluster: Cluster, users: readonly User[], random: Random): Promise<{
  readonly online: ReadonlySet<number>;
  readonly wrong: readonly string[];
}> {
  const leavers = new Set(Array.from({ length: LEAVERS }, () => random.pick(users)));
  for (const [at, user] of [...leavers].entries()) await user.leave(at % 2 ? "gone" : "logout");
  const stayers = users.filter((user) => !leavers.has(user));
  const online = new Set(stayers.map(({ id }) => id));
  // This checks the states from PRESENCE alone, as CONTACTS would correct them.
  const told = await settled(
    PRESENCE_TIMEOUT_MS,
    () => Promise.resolve(stayers.flatMap(({ id, memory }) => wronglyTold(id, memory, online))),
  );
  const stored = await settled(STATE_TIMEOUT_MS, async () => {
    const states = await statesOf(cluster);
    return [...states.symmetricDifference(online)].map((user) => `user ${user} is wrong in User.state`);
  });
  // This checks CONTACTS, which may show a friend as offline while the friend's session is being replaced.
  const seen = await settled(PRESENCE_TIMEOUT_MS, async () => {
    const wrong: string[] = [];
    for (const user of stayers) {
      if (await user.lookAround()) wrong.push(...wronglyTold(user.id, user.memory, online));
      else wrong.push(`user ${user.id} lost its connection in the end, when nothing was broken`);
    }
    return wrong;
  });
  return { online, wrong: [...told, ...stored, ...seen] };
}

function wronglyTold(id: number, { friends }: Memory, online: ReadonlySet<number>): string[] {
  return [...friends].filter(([friend, there]) => online.has(friend) !== there).map(([friend, there]) =>
    `user ${id} was told that user ${friend} is ${there ? "online" : "offline"}`
  );
}

/** Returns the history for the checker. */
export async function historyOf(
  cluster: Cluster,
  users: readonly User[],
  online: ReadonlySet<number>,
  healed: number,
): Promise<History> {
  const cursors = new Map<number, Map<Conversation, number>>();
  for (const { userid, low, high, seq } of await cluster.database.sql("SELECT * FROM MemberCursor")) {
    const id = Number(userid);
    const own = cursors.get(id) ?? new Map<Conversation, number>();
    cursors.set(id, own.set(nameOf(Number(low), Number(high)), Number(seq)));
  }
  const log = await cluster.database.sql(
    "SELECT low, high, seq, sender, CONVERT(cid USING utf8mb4) AS cid, body FROM Message ORDER BY low, high, seq",
  );
  return {
    healed,
    users: new Map(users.map(({ id, memory }) => [id, memory.events])),
    log: log.map((row): Logged => ({
      in: nameOf(Number(row.low), Number(row.high)),
      ...{ seq: Number(row.seq), sender: Number(row.sender), cid: String(row.cid), body: String(row.body) },
    })),
    online,
    members: await membersOf(cluster),
    states: await statesOf(cluster),
    cursors,
  };
}

/** Polls until nothing is missing. Returns the missing parts after `ms` milliseconds. */
async function settled(ms: number, missing: () => Promise<string[]>): Promise<string[]> {
  for (const end = performance.now() + ms;;) {
    const list = await missing();
    if (list.length === 0) return [];
    if (performance.now() > end) return list.map((what) => `${ms / 1_000} s were not enough: ${what}`);
    await pause(POLL_INTERVAL_MS);
  }
}

async function membersOf({ database }: Cluster): Promise<Map<Conversation, number[]>> {
  const members = new Map<Conversation, number[]>();
  for (const { groupid, userid } of await database.sql("SELECT groupid, userid FROM GroupUser")) {
    const group = groupOf(Number(groupid));
    members.set(group, [...members.get(group) ?? [], Number(userid)]);
  }
  return members;
}

async function statesOf({ database }: Cluster): Promise<Set<number>> {
  const rows = await database.sql("SELECT id FROM User WHERE state = 'online'");
  return new Set(rows.map(({ id }) => Number(id)));
}

function nameOf(low: number, high: number): Conversation {
  return low === 0 ? groupOf(high) : pairOf(low, high);
}
