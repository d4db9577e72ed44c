/** The database's identity, and its counters of ids. */
import { newClusterKey, newId } from "../new_id.ts";
import type { StoreIdentity } from "../store.ts";
import { DatabaseError } from "./errors.ts";
import type { Pool } from "./pool.ts";
import type { MysqlConnection } from "./mysql_connection.ts";
import { inList, Sql, sql } from "./sql.ts";

/** Tables that the schema of the same version did not always have, by their names in schema.sql. */
const LATER_TABLES = ["StoreIdentity", "ClusterKey"];

/** Gives the database its identity and key if it has none, and lifts its counters of ids above every id in use. */
export async function ensureIdentity(connection: MysqlConnection): Promise<StoreIdentity> {
  const [found] = await connection.query(
    sql`SELECT table_name AS name FROM information_schema.tables
        WHERE table_schema = DATABASE() AND ${inList("table_name", LATER_TABLES)}`,
  );
  for (const name of LATER_TABLES) {
    if (found!.rows.some((row) => row.name === name)) continue;
    // Made by a release before this table, whose nodes may still be running.
    const { targetTable } = await import("./schema/target_schema.ts");
    const { statement } = targetTable(name);
    await connection.query(new Sql(statement.replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS")));
  }
  await connection.query(
    sql`INSERT IGNORE INTO StoreIdentity (id, deployment, epoch) VALUES (1, ${newId()}, ${newId()})`,
    sql`INSERT IGNORE INTO ClusterKey (id, secret) VALUES (1, ${newClusterKey()})`,
  );
  await raiseIdCounters(connection);
  return identityOf((await connection.query(SELECT_IDENTITY))[0]!.rows);
}

/**
 * Whether rows refer to the id that this connection has just given out. An operator can have deleted the user or group,
 * or loaded a part of a dump. Part of the transaction that gives it out.
 */
export const IS_USER_ID_USED: Sql = sql`SELECT
    EXISTS (SELECT 1 FROM Friend WHERE userid = LAST_INSERT_ID())
    OR EXISTS (SELECT 1 FROM Friend WHERE friendid = LAST_INSERT_ID())
    OR EXISTS (SELECT 1 FROM GroupUser WHERE userid = LAST_INSERT_ID())
    OR EXISTS (SELECT 1 FROM MemberCursor WHERE userid = LAST_INSERT_ID())
    OR EXISTS (SELECT 1 FROM Message WHERE sender = LAST_INSERT_ID())
    OR EXISTS (SELECT 1 FROM Session WHERE userid = LAST_INSERT_ID()) AS used`;
/** As {@link IS_USER_ID_USED}, of a group's id. */
export const IS_GROUP_ID_USED: Sql = sql`SELECT
    EXISTS (SELECT 1 FROM GroupUser WHERE groupid = LAST_INSERT_ID())
    OR EXISTS (SELECT 1 FROM Conversation WHERE low = 0 AND high = LAST_INSERT_ID()) AS used`;

/** Takes an id back that rows refer to, and lifts the counters. Throws a {@link DatabaseError}: try again. */
export async function skipUsedIds(connection: MysqlConnection): Promise<never> {
  await connection.rollback();
  await raiseIdCounters(connection);
  throw new DatabaseError("conflict", "rows refer to the id that was given out");
}

/** The identity as it is now. */
export async function readIdentity(pool: Pool): Promise<StoreIdentity> {
  return identityOf((await pool.read(SELECT_IDENTITY))[0]!.rows);
}

/** The key as it was made. */
export async function readClusterKey(pool: Pool): Promise<string> {
  const [row] = (await pool.read(sql`SELECT secret FROM ClusterKey WHERE id = 1`))[0]!.rows;
  if (!row) throw new Error("the table ClusterKey is empty: start a node anew, which fills it");
  return row.secret as string;
}

/** Renews the epoch if it still is `was`, or, without it, whatever it is. */
export async function renewEpoch(connection: MysqlConnection, expectedEpoch?: string): Promise<void> {
  await connection.query(
    sql`UPDATE StoreIdentity SET epoch = ${newId()}
        WHERE id = 1 AND ${expectedEpoch === undefined ? sql`TRUE` : sql`epoch = ${expectedEpoch}`}`,
  );
}

/** Makes the database another deployment's, with another key and epoch: what it was copied from keeps the old ones. */
export async function renewDeployment(connection: MysqlConnection): Promise<void> {
  await connection.query(
    sql`UPDATE ClusterKey SET secret = ${newClusterKey()} WHERE id = 1`,
    sql`UPDATE StoreIdentity SET deployment = ${newId()}, epoch = ${newId()} WHERE id = 1`,
  );
}

const SELECT_IDENTITY = sql`SELECT deployment, epoch FROM StoreIdentity WHERE id = 1`;

function identityOf(rows: readonly Readonly<Record<string, unknown>>[]): StoreIdentity {
  const [row] = rows;
  if (!row) throw new Error("the table StoreIdentity is empty: start a node anew, which fills it");
  return { deployment: row.deployment as string, epoch: row.epoch as string };
}

/**
 * An operator may have deleted the row with the highest id, or loaded a part of a dump: ids that rows refer to are
 * never given out again. Each maximum is read from the end of an index.
 */
async function raiseIdCounters(connection: MysqlConnection): Promise<void> {
  const [users, groups] = await connection.query(
    sql`SELECT GREATEST(
          (SELECT COALESCE(MAX(userid), 0) FROM Friend), (SELECT COALESCE(MAX(friendid), 0) FROM Friend),
          (SELECT COALESCE(MAX(userid), 0) FROM GroupUser), (SELECT COALESCE(MAX(userid), 0) FROM MemberCursor),
          (SELECT COALESCE(MAX(sender), 0) FROM Message), (SELECT COALESCE(MAX(userid), 0) FROM Session)
        ) AS used, (SELECT COALESCE(MAX(id), 0) FROM User) AS last`,
    sql`SELECT GREATEST(
          (SELECT COALESCE(MAX(groupid), 0) FROM GroupUser),
          (SELECT COALESCE(MAX(high), 0) FROM Conversation WHERE low = 0)
        ) AS used, (SELECT COALESCE(MAX(id), 0) FROM AllGroup) AS last`,
  );
  for (const [table, found] of [["User", users], ["AllGroup", groups]] as const) {
    const { used, last } = found!.rows[0] as { used: number; last: number };
    if (used > last) {
      await connection.query(
        new Sql(`ALTER TABLE ${table} AUTO_INCREMENT = ${Number(used) + 1}`),
      );
    }
  }
}
