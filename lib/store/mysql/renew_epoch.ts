/** `main.ts renew-epoch`: for operators who have restored a database, or promoted a replica. */
import { parseAddress } from "./address.ts";
import { reasonOf } from "./errors.ts";
import { renewEpoch, settleIdentity } from "./identity.ts";
import { Session } from "./session.ts";

/**
 * Renews the epoch of the database that `url` names, and gives the new one. Rejects with an Error of one line, without
 * the password.
 */
export async function renewEpochAt(url: string): Promise<string> {
  const address = parseAddress(url, { singleWriter: true }); // one write, on whichever member is asked
  try {
    const session = await Session.open(address);
    try {
      await settleIdentity(session); // a dump of an earlier release has none
      await renewEpoch(session);
      return (await settleIdentity(session)).epoch;
    } finally {
      await session.close();
    }
  } catch (error) {
    throw new Error(`Cannot renew the epoch of ${address.name}: ${reasonOf(error)}`);
  }
}
