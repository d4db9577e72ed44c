/** What `--upgrade-check` says: what would change in a database, without changing it. */
import { type AccessOptions, driverOptions, parseAddress } from "./address.ts";
import { reasonOf } from "./errors.ts";
import { checkUpgrade } from "./schema/migrate.ts";
import { MysqlConnection } from "./mysql_connection.ts";

/** The words for it, a line each, and whether the server would start on the database. Rejects with an Error of one line. */
export async function describeUpgrade(
  url: string,
  options: AccessOptions = {},
): Promise<{ lines: readonly string[]; isPossible: boolean }> {
  const address = parseAddress(url, options);
  const { name } = address;
  try {
    await MysqlConnection.probe({ ...address, database: "" }); // it knows the reasons, and the database need not be there yet
    const { changes, blockers } = await checkUpgrade(driverOptions(address));
    const isUpToDate = changes.length + blockers.length === 0;
    return {
      lines: [
        isUpToDate ? `${name} is up to date: nothing would change` : `in ${name} the server would`,
        ...changes.map((change) => `  ${change}`),
        ...(blockers.length > 0 ? ["but it would not start, because"] : []),
        ...blockers.map((blocker) => `  ${blocker}`),
      ],
      isPossible: blockers.length === 0,
    };
  } catch (error) {
    throw new Error(`cannot open the database ${name}: ${reasonOf(error)}`);
  }
}
