/**
 * Decides whether a run satisfied all invariants, from the observations of the users and the final database,
 * without knowledge of the faults. Each rule holds under every fault of the suite. Where two outcomes are
 * indistinguishable from outside, both are accepted.
 */
import { checkEnd } from "./check/end.ts";
import { type Finding, Findings } from "./check/finding.ts";
import { checkLog } from "./check/log.ts";
import { Evidence } from "./check/evidence.ts";
import { checkUser } from "./check/user.ts";
import type { History } from "./history.ts";

export { type Finding, type Kind, lineOf } from "./check/finding.ts";

/** Returns all violations of a run. Its time is proportional to the number of deliveries. */
export function check(history: History): Finding[] {
  const evidence = new Evidence(history);
  const found = new Findings();
  checkLog(evidence, found);
  for (const [user, events] of history.users) checkUser(evidence, user, events, found);
  checkEnd(evidence, found);
  return found.list;
}
