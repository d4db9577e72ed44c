/**
 * The command `main.ts renew-epoch`, for operators who restored or copied a database, or promoted a replica.
 */
import type { StoreIdentity } from "../store.ts";
import { type AccessOptions, parseAddress } from "./address.ts";
import { reasonOf } from "./errors.ts";
import { ensureIdentity, renewDeployment, renewEpoch } from "./identity.ts";
import { MysqlConnection } from "./mysql_connection.ts";

/**
 * Renews the epoch of the database at `url`, and returns its identity. With `newDeployment` the database also
 * gets a new deployment id. Rejects with an Error of one line, without the password.
 */
export async function renewEpochAt(
  url: string,
  access: AccessOptions,
  newDeployment: boolean,
): Promise<StoreIdentity> {
  // A single write, which is safe on any member.
  const address = parseAddress(url, { ...access, singleWriter: true });
  try {
    const connection = await MysqlConnection.open(address);
    try {
      await ensureIdentity(connection); // the dump of an older release has no identity
      await (newDeployment ? renewDeployment(connection) : renewEpoch(connection));
      return await ensureIdentity(connection);
    } finally {
      await connection.close();
    }
  } catch (error) {
    throw new Error(`Cannot renew the epoch of ${address.name}: ${reasonOf(error)}`);
  }
}
