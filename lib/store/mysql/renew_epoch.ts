/** `main.ts renew-epoch`: for operators who have restored or copied a database, or promoted a replica. */
import type { StoreIdentity } from "../store.ts";
import { type AccessOptions, parseAddress } from "./address.ts";
import { reasonOf } from "./errors.ts";
import { ensureIdentity, renewDeployment, renewEpoch } from "./identity.ts";
import { MysqlConnection } from "./mysql_connection.ts";

/**
 * Renews the epoch of the database that `url` names, and gives its identity. With `newDeployment` the deployment's id is
 * another one as well. Rejects with an Error of one line, without the password.
 */
export async function renewEpochAt(
  url: string,
  access: AccessOptions,
  newDeployment: boolean,
): Promise<StoreIdentity> {
  const address = parseAddress(url, { ...access, singleWriter: true }); // one write, on whichever member is asked
  try {
    const connection = await MysqlConnection.open(address);
    try {
      await ensureIdentity(connection); // a dump of an earlier release has none
      await (newDeployment ? renewDeployment(connection) : renewEpoch(connection));
      return await ensureIdentity(connection);
    } finally {
      await connection.close();
    }
  } catch (error) {
    throw new Error(`Cannot renew the epoch of ${address.name}: ${reasonOf(error)}`);
  }
}
