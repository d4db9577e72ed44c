/**
 * Decides whether a run kept every promise: from what the users saw, and from what the database has in the end,
 * without knowing what was broken when. Each rule holds under every fault that the suite makes; where the outside
 * can't tell which of two outcomes is right, both are.
 */
import { checkEnd } from "./check/end.ts";
import { type Finding, Findings } from "./check/finding.ts";
import { checkLog } from "./check/log.ts";
import { Evidence } from "./check/evidence.ts";
import { checkUser } from "./check/user.ts";
import type { History } from "./history.ts";

export { type Finding, type Kind, lineOf } from "./check/finding.ts";

/** All that is wrong with a run; nothing, if every promise was kept. Takes time in proportion to what was delivered. */
export function check(history: History): Finding[] {
  const evidence = new Evidence(history);
  const found = new Findings();
  checkLog(evidence, found);
  for (const [user, events] of history.users) checkUser(evidence, user, events, found);
  checkEnd(evidence, found);
  return found.list;
}
