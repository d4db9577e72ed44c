/** Registers the accounts of a run: those of the baseline pairs and those of the attackers. */
import { Errno, Msg, type Sent } from "../harness/protocol_numbers.ts";
import { PASSWORD } from "../harness/framed_client.ts";
import type { Address } from "../harness/server.ts";
import { pause } from "../harness/wait.ts";
import { inParallel, Peer } from "../load/peer.ts";
import type { AttackType } from "./attack_type.ts";
import type { AttackingUser, Squad } from "./attack_plan.ts";

const CONCURRENCY = 20; // users that are registered and logged in at the same time
const LARGE_MESSAGES = 6; // large messages in a squad's group: more than one HISTORY gives
const LARGE_TEXT = "x".repeat(60_000); // of a message: nearly the largest frame

/** Returns pairs of new users that are logged in. `run` is a name that no other run has. */
export function baselinePairs(at: Address, run: string, count: number): Promise<[Peer, Peer][]> {
  return inParallel(count, CONCURRENCY, async (number) => {
    const make = async (role: string) => {
      const peer = await Peer.connect(at);
      await peer.login(await peer.register(`${run} ${role} ${number}`));
      return peer;
    };
    return [await make("sender"), await make("recipient")];
  });
}

/** Distributes the connections evenly over the attack types, with the users and groups that these need. */
export async function squads(
  at: Address,
  run: string,
  attackTypes: readonly AttackType[],
  connections: number,
): Promise<Squad[]> {
  const made: Squad[] = [];
  for (const [index, type] of attackTypes.entries()) {
    const count = Math.floor((connections + index) / attackTypes.length);
    const none = { attackType: type.name, connections: count, users: [], group: 0 };
    made.push(
      type.isAuthenticated && count > 0
        ? { ...none, ...await squadMembers(at, `${run} ${type.name}`, count) }
        : none,
    );
  }
  return made;
}

/** Registers users that share a group with large messages in it. None of the users stays logged in. */
async function squadMembers(
  at: Address,
  name: string,
  count: number,
): Promise<{ readonly users: readonly AttackingUser[]; readonly group: number }> {
  const founder = await Peer.connect(at);
  const first = await newUser(founder, `${name} 0`);
  const { groupid } = await founder.ask({ msgid: Msg.CREATE_GROUP, groupname: name });
  for (let sent = 0; sent < LARGE_MESSAGES; sent++) {
    await sendUntilAccepted(founder, { msgid: Msg.GROUP_CHAT, groupid, msg: LARGE_TEXT });
  }
  await founder.close();
  const others = await inParallel(count - 1, CONCURRENCY, async (number) => {
    const peer = await Peer.connect(at);
    const user = await newUser(peer, `${name} ${number + 1}`);
    await peer.ask({ msgid: Msg.ADD_GROUP, groupid });
    await peer.close();
    return user;
  });
  return { users: [first, ...others], group: groupid! };
}

async function newUser(peer: Peer, name: string): Promise<AttackingUser> {
  const id = await peer.register(name);
  const { token } = await peer.ask({ msgid: Msg.LOGIN, id, password: PASSWORD });
  return { id, token: token! };
}

/**
 * Sends a message until it is within the rate limit. Throws when the server refuses it for another reason.
 */
async function sendUntilAccepted(peer: Peer, message: Sent): Promise<void> {
  for (;;) {
    const { errno, errmsg, retry_after } = await peer.ask(message);
    if (errno === Errno.OK) return;
    if (errno !== Errno.RATE_LIMITED) throw new Error(`a message to a group: ${errmsg}`);
    await pause(retry_after!);
  }
}
