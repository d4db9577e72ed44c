/** What a user can do who has logged in. */
import { Msg } from "../harness/protocol_numbers.ts";
import { joined, objectFrame } from "../harness/frames.ts";
import { frames, repeated, waitForever } from "./attack_steps.ts";
import type { AttackType } from "./attack_type.ts";
import type { Squad } from "./attack_plan.ts";

const LARGE = "x".repeat(60_000); // of a message: nearly the largest frame
const BATCH = 100; // requests that are made anew in one write
const MOST_FRIENDS = 200; // different friends that one user asks for

let groups = 0;

/** Another user of the squad: the next one. */
function neighbour({ users }: Squad, at: number): number {
  return users[(at + 1) % users.length]!.id;
}

/** Those kinds. */
export const authenticatedAttacks: readonly AttackType[] = [
  {
    name: "deaf-history",
    what: "asks for HISTORY of large messages and never reads",
    isAuthenticated: true,
    neverReads: () => true,
    attack: (attacker, { group }) =>
      attacker.flood(repeated(objectFrame({ msgid: Msg.HISTORY, groupid: group }))),
  },
  {
    name: "deaf-pings",
    what: "floods of PING by users who never read: many small answers wait",
    isAuthenticated: true,
    neverReads: () => true,
    attack: (attacker) => attacker.flood(repeated(objectFrame({ msgid: Msg.PING }))),
  },
  {
    name: "history",
    what: "floods of HISTORY of large messages",
    isAuthenticated: true,
    attack: (attacker, { group }) =>
      attacker.flood(repeated(objectFrame({ msgid: Msg.HISTORY, groupid: group }))),
  },
  {
    name: "members",
    what: "floods of MEMBERS",
    isAuthenticated: true,
    attack: (attacker, { group }) =>
      attacker.flood(repeated(objectFrame({ msgid: Msg.MEMBERS, groupid: group }))),
  },
  {
    name: "contacts",
    what: "floods of CONTACTS",
    isAuthenticated: true,
    attack: (attacker) => attacker.flood(repeated(objectFrame({ msgid: Msg.CONTACTS }))),
  },
  {
    name: "chats",
    what: "floods of chat messages",
    isAuthenticated: true,
    attack: (attacker, squad) =>
      attacker.flood(
        repeated(objectFrame({ msgid: Msg.ONE_CHAT, toid: neighbour(squad, attacker.at), msg: "flood" })),
      ),
  },
  {
    name: "large-chats",
    what: "floods of the largest chat messages",
    isAuthenticated: true,
    attack: (attacker, squad) =>
      attacker.flood(objectFrame({ msgid: Msg.ONE_CHAT, toid: neighbour(squad, attacker.at), msg: LARGE })),
  },
  {
    name: "group-chats",
    what: "floods of messages to a group of all of them",
    isAuthenticated: true,
    attack: (attacker, { group }) =>
      attacker.flood(repeated(objectFrame({ msgid: Msg.GROUP_CHAT, groupid: group, msg: "flood" }))),
  },
  {
    name: "victim",
    what: "floods of messages to one user, who never reads",
    isAuthenticated: true,
    neverReads: (at) => at === 0,
    attack: (attacker, { users: [victim] }) =>
      attacker.at === 0 ? waitForever() : attacker.flood(
        repeated(objectFrame({ msgid: Msg.ONE_CHAT, toid: victim!.id, msg: LARGE.slice(0, 1_000) })),
      ),
  },
  {
    name: "delivered",
    what: "floods of DELIVERED",
    isAuthenticated: true,
    attack: (attacker, { group }) =>
      attacker.flood(repeated(joined(
        objectFrame({ msgid: Msg.DELIVERED, groupid: group, seq: 1 }),
        objectFrame({ msgid: Msg.DELIVERED, groupid: group, seq: 2_000_000_000 }),
        objectFrame({ msgid: Msg.DELIVERED, id: 1, seq: 1 }),
      ))),
  },
  {
    name: "create-groups",
    what: "floods of CREATE_GROUP",
    isAuthenticated: true,
    async attack(attacker) {
      for (;;) {
        await attacker.write(frames(BATCH, () => ({
          msgid: Msg.CREATE_GROUP,
          groupname: `hostile ${attacker.at} ${++groups} ${Date.now()}`,
          groupdesc: LARGE.slice(0, 200),
        })));
      }
    },
  },
  {
    name: "add-friends",
    what: "floods of ADD_FRIEND",
    isAuthenticated: true,
    attack(attacker) {
      let id = 0;
      return attacker.flood(frames(MOST_FRIENDS, () => ({ msgid: Msg.ADD_FRIEND, friendid: ++id })));
    },
  },
  {
    name: "come-and-go",
    what: "logs in by its token and closes, again and again",
    isAuthenticated: true,
    attack: () => Promise.resolve(),
  },
];
