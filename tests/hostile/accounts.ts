/** Makes the users, honest and hostile, that a run needs. */
import { Errno, Msg, type Sent } from "../harness/protocol_numbers.ts";
import { PASSWORD } from "../harness/framed_client.ts";
import type { Address } from "../harness/server.ts";
import { pause } from "../harness/wait.ts";
import { inParallel, Peer } from "../load/peer.ts";
import type { AttackType } from "./attack_type.ts";
import type { HostileUser, Squad } from "./attack_plan.ts";

const WIDTH = 20; // users that are registered and logged in at the same time
const SHELF = 6; // large messages in a squad's group: more than one HISTORY gives
const LARGE = "x".repeat(60_000); // of a message: nearly the largest frame

/** Pairs of new users who are logged in. `run` is a name that no other run has. */
export function baselinePairs(at: Address, run: string, count: number): Promise<[Peer, Peer][]> {
  return inParallel(count, WIDTH, async (number) => {
    const make = async (role: string) => {
      const peer = await Peer.connect(at);
      await peer.login(await peer.register(`${run} ${role} ${number}`));
      return peer;
    };
    return [await make("sender"), await make("recipient")];
  });
}

/** The connections dealt out evenly over the kinds, with the users and groups that these need. */
export async function squads(
  at: Address,
  run: string,
  kinds: readonly AttackType[],
  connections: number,
): Promise<Squad[]> {
  const made: Squad[] = [];
  for (const [index, kind] of kinds.entries()) {
    const count = Math.floor((connections + index) / kinds.length);
    const none = { kind: kind.name, connections: count, users: [], group: 0 };
    made.push(
      kind.isAuthenticated && count > 0
        ? { ...none, ...await company(at, `${run} ${kind.name}`, count) }
        : none,
    );
  }
  return made;
}

/** New users who share a group, in which large messages were said before they came. None of them stays logged in. */
async function company(
  at: Address,
  name: string,
  count: number,
): Promise<{ readonly users: readonly HostileUser[]; readonly group: number }> {
  const founder = await Peer.connect(at);
  const first = await newUser(founder, `${name} 0`);
  const { groupid } = await founder.ask({ msgid: Msg.CREATE_GROUP, groupname: name });
  for (let said = 0; said < SHELF; said++) {
    await insist(founder, { msgid: Msg.GROUP_CHAT, groupid, msg: LARGE });
  }
  await founder.close();
  const others = await inParallel(count - 1, WIDTH, async (number) => {
    const peer = await Peer.connect(at);
    const user = await newUser(peer, `${name} ${number + 1}`);
    await peer.ask({ msgid: Msg.ADD_GROUP, groupid });
    await peer.close();
    return user;
  });
  return { users: [first, ...others], group: groupid! };
}

async function newUser(peer: Peer, name: string): Promise<HostileUser> {
  const id = await peer.register(name);
  const { token } = await peer.ask({ msgid: Msg.LOGIN, id, password: PASSWORD });
  return { id, token: token! };
}

/** Asks until it isn't too much any more. Throws when it is refused for another reason. */
async function insist(peer: Peer, message: Sent): Promise<void> {
  for (;;) {
    const { errno, errmsg, retry_after } = await peer.ask(message);
    if (errno === Errno.OK) return;
    if (errno !== Errno.RATE_LIMITED) throw new Error(`a message to a group: ${errmsg}`);
    await pause(retry_after!);
  }
}
