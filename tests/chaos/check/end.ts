/** Checks of the final state: shown presence, members, cursors and sessions. */
import type { Event } from "../history.ts";
import type { Findings } from "./finding.ts";
import type { Evidence, Of } from "./evidence.ts";

/** Checks the final state. */
export function checkEnd(evidence: Evidence, found: Findings): void {
  const { users, online, states } = evidence.history;
  for (const [user, events] of users) {
    if (online.has(user)) checkFriends(evidence, user, events, found);
    if (states.has(user) === online.has(user)) continue;
    found.add(
      "presence",
      { user },
      `User.state is ${word(states.has(user))}, but the user is ${word(online.has(user))}`,
    );
  }
  for (const conversation of evidence.conversations.keys()) {
    for (const user of evidence.partiesOf(conversation)) checkCursor(evidence, user, conversation, found);
  }
}

/** Checks that the last shown state of each friend is right. */
function checkFriends({ history }: Evidence, user: number, events: readonly Event[], found: Findings): void {
  const told = events.findLast((event): event is Of<"friends"> => event.kind === "friends");
  if (!told) return found.add("presence", { user }, "online, and has not said whom it sees");
  for (const [friends, seen] of [[told.online, true], [told.offline, false]] as const) {
    for (const friend of friends) {
      if (history.online.has(friend) === seen) continue;
      found.add("presence", { user }, `sees user ${friend} as ${word(seen)}, who is ${word(!seen)}`);
    }
  }
}

/**
 * Checks that each cursor is at the last message of others, as all users have sent DELIVERED for everything.
 */
function checkCursor(evidence: Evidence, user: number, conversation: string, found: Findings): void {
  const cursor = evidence.history.cursors.get(user)?.get(conversation) ?? 0;
  const last = evidence.lastOf(conversation);
  const place = { user, in: conversation };
  if (cursor > last) found.add("cursor", place, `at ${cursor}, and the last seq is ${last}`);
  for (let seq = cursor + 1; seq <= last; seq++) {
    const sender = evidence.in(conversation).get(seq)?.sender;
    if (sender === undefined || sender === user) continue;
    return found.add("cursor", place, `still at ${cursor}, below seq ${seq} of user ${sender}`);
  }
}

function word(online: boolean): string {
  return online ? "online" : "offline";
}
