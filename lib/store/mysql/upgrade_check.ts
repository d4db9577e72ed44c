/** The command `--upgrade-check`, which shows the changes to a database without making them. */
import { type AccessOptions, driverOptions, parseAddress } from "./address.ts";
import { reasonOf } from "./errors.ts";
import { checkUpgrade } from "./schema/migrate.ts";
import { MysqlConnection } from "./mysql_connection.ts";

/**
 * Returns the lines to print, and whether the server would start on the database. Rejects with an Error of
 * one line.
 */
export async function describeUpgrade(
  url: string,
  options: AccessOptions = {},
): Promise<{ lines: readonly string[]; isPossible: boolean }> {
  const address = parseAddress(url, options);
  const { name } = address;
  try {
    // Its errors name the reason, and the database may not exist yet.
    await MysqlConnection.probe({ ...address, database: "" });
    const { changes, blockers } = await checkUpgrade(driverOptions(address));
    const isUpToDate = changes.length + blockers.length === 0;
    return {
      lines: [
        isUpToDate ? `${name} is up to date: no change is needed` : `in ${name} the server would`,
        ...changes.map((change) => `  ${change}`),
        ...(blockers.length > 0 ? ["but it would not start:"] : []),
        ...blockers.map((blocker) => `  ${blocker}`),
      ],
      isPossible: blockers.length === 0,
    };
  } catch (error) {
    throw new Error(`Cannot open the database ${name}: ${reasonOf(error)}`);
  }
}
