/** Attacks of clients that are logged in. */
import { Msg } from "../harness/protocol_numbers.ts";
import { joined, objectFrame } from "../harness/frames.ts";
import { frames, repeatToFill, waitForever } from "./attack_steps.ts";
import type { AttackType } from "./attack_type.ts";
import type { Squad } from "./attack_plan.ts";

const LARGE_TEXT = "x".repeat(60_000); // the text of a message that nearly fills a frame
const REQUESTS_PER_WRITE = 100; // requests of one write, each with new fields
const FRIENDS_PER_WRITE = 200; // different friends that one user adds

let groups = 0;

/** Returns the id of the next user of the squad. */
function nextUser({ users }: Squad, at: number): number {
  return users[(at + 1) % users.length]!.id;
}

/** Attack types that log in first. */
export const authenticatedAttacks: readonly AttackType[] = [
  {
    name: "deaf-history",
    description: "requests HISTORY of large messages and never reads",
    isAuthenticated: true,
    neverReads: () => true,
    attack: (attacker, { group }) =>
      attacker.flood(repeatToFill(objectFrame({ msgid: Msg.HISTORY, groupid: group }))),
  },
  {
    name: "deaf-pings",
    description: "floods of PING by users that never read: many small replies wait",
    isAuthenticated: true,
    neverReads: () => true,
    attack: (attacker) => attacker.flood(repeatToFill(objectFrame({ msgid: Msg.PING }))),
  },
  {
    name: "history",
    description: "floods of HISTORY of large messages",
    isAuthenticated: true,
    attack: (attacker, { group }) =>
      attacker.flood(repeatToFill(objectFrame({ msgid: Msg.HISTORY, groupid: group }))),
  },
  {
    name: "members",
    description: "floods of MEMBERS",
    isAuthenticated: true,
    attack: (attacker, { group }) =>
      attacker.flood(repeatToFill(objectFrame({ msgid: Msg.MEMBERS, groupid: group }))),
  },
  {
    name: "contacts",
    description: "floods of CONTACTS",
    isAuthenticated: true,
    attack: (attacker) => attacker.flood(repeatToFill(objectFrame({ msgid: Msg.CONTACTS }))),
  },
  {
    name: "chats",
    description: "floods of chat messages",
    isAuthenticated: true,
    attack: (attacker, squad) =>
      attacker.flood(
        repeatToFill(objectFrame({ msgid: Msg.ONE_CHAT, toid: nextUser(squad, attacker.at), msg: "flood" })),
      ),
  },
  {
    name: "large-chats",
    description: "floods of the largest chat messages",
    isAuthenticated: true,
    attack: (attacker, squad) =>
      attacker.flood(
        objectFrame({ msgid: Msg.ONE_CHAT, toid: nextUser(squad, attacker.at), msg: LARGE_TEXT }),
      ),
  },
  {
    name: "group-chats",
    description: "floods of messages to a group of all attackers",
    isAuthenticated: true,
    attack: (attacker, { group }) =>
      attacker.flood(repeatToFill(objectFrame({ msgid: Msg.GROUP_CHAT, groupid: group, msg: "flood" }))),
  },
  {
    name: "victim",
    description: "floods of messages to one user that never reads",
    isAuthenticated: true,
    neverReads: (at) => at === 0,
    attack: (attacker, { users: [victim] }) =>
      attacker.at === 0 ? waitForever() : attacker.flood(
        repeatToFill(objectFrame({ msgid: Msg.ONE_CHAT, toid: victim!.id, msg: LARGE_TEXT.slice(0, 1_000) })),
      ),
  },
  {
    name: "delivered",
    description: "floods of DELIVERED",
    isAuthenticated: true,
    attack: (attacker, { group }) =>
      attacker.flood(repeatToFill(joined(
        objectFrame({ msgid: Msg.DELIVERED, groupid: group, seq: 1 }),
        objectFrame({ msgid: Msg.DELIVERED, groupid: group, seq: 2_000_000_000 }),
        objectFrame({ msgid: Msg.DELIVERED, id: 1, seq: 1 }),
      ))),
  },
  {
    name: "create-groups",
    description: "floods of CREATE_GROUP",
    isAuthenticated: true,
    async attack(attacker) {
      for (;;) {
        await attacker.write(frames(REQUESTS_PER_WRITE, () => ({
          msgid: Msg.CREATE_GROUP,
          groupname: `hostile ${attacker.at} ${++groups} ${Date.now()}`,
          groupdesc: LARGE_TEXT.slice(0, 200),
        })));
      }
    },
  },
  {
    name: "add-friends",
    description: "floods of ADD_FRIEND",
    isAuthenticated: true,
    attack(attacker) {
      let id = 0;
      return attacker.flood(frames(FRIENDS_PER_WRITE, () => ({ msgid: Msg.ADD_FRIEND, friendid: ++id })));
    },
  },
  {
    name: "come-and-go",
    description: "logs in by its token and closes, again and again",
    isAuthenticated: true,
    attack: () => Promise.resolve(),
  },
];
