/** The clock of the database compared with the clock of the node. */
import type { MysqlConnection } from "./mysql_connection.ts";
import type { MigrationLog } from "./schema/apply_plan.ts";
import { sql } from "./sql.ts";

/** Milliseconds that the two clocks may differ without a warning: far more than synchronized clocks do. */
const MAX_CLOCK_DIFFERENCE_MS = 60_000;

/**
 * Warns if the two clocks differ: the times of messages and the expiry of tokens come from the clocks of
 * nodes.
 */
export async function compareClocks(server: MysqlConnection, log: MigrationLog): Promise<void> {
  const [found] = await server.query(sql`SELECT CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED) AS now`);
  const differenceMs = Date.now() - (found!.rows[0]!.now as number);
  if (Math.abs(differenceMs) <= MAX_CLOCK_DIFFERENCE_MS) return;
  log.warn("the clock of this machine differs from the clock of the database", { differenceMs });
}
