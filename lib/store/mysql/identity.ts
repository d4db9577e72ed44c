/** The identity of the database, and its counters of ids. */
import { newClusterKey, newId } from "../../new_id.ts";
import type { StoreIdentity } from "../store.ts";
import { DatabaseError } from "./errors.ts";
import type { Pool } from "./pool.ts";
import type { MysqlConnection } from "./mysql_connection.ts";
import { inList, Sql, sql } from "./sql.ts";

/** Tables that older databases of the same schema version lack, by their names in schema.sql. */
const LATER_TABLES = ["StoreIdentity", "ClusterKey"];

/**
 * Creates the identity and the key of the database if they are missing, and raises the id counters above all
 * ids in use.
 */
export async function ensureIdentity(connection: MysqlConnection): Promise<StoreIdentity> {
  const [found] = await connection.query(
    sql`SELECT table_name AS name FROM information_schema.tables
        WHERE table_schema = DATABASE() AND ${inList("table_name", LATER_TABLES)}`,
  );
  for (const name of LATER_TABLES) {
    if (found!.rows.some((row) => row.name === name)) continue;
    // An older release created the database, and nodes of it may still run.
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
 * Returns the query for `id` and `name` of new users, and whether rows refer to the id (`used`). An operator
 * may have deleted the user, or loaded a part of a dump. Must run in the transaction that allocates the ids.
 */
export function usedUserIds(condition: Sql): Sql {
  return sql`SELECT id, name,
    EXISTS (SELECT 1 FROM Friend WHERE userid = User.id)
    OR EXISTS (SELECT 1 FROM Friend WHERE friendid = User.id)
    OR EXISTS (SELECT 1 FROM GroupUser WHERE userid = User.id)
    OR EXISTS (SELECT 1 FROM MemberCursor WHERE userid = User.id)
    OR EXISTS (SELECT 1 FROM Message WHERE sender = User.id)
    OR EXISTS (SELECT 1 FROM Session WHERE userid = User.id) AS used
    FROM User WHERE ${condition}`;
}

/** Returns whether rows refer to the id of a group that this connection has just allocated. */
export const IS_GROUP_ID_USED: Sql = sql`SELECT
    EXISTS (SELECT 1 FROM GroupUser WHERE groupid = LAST_INSERT_ID())
    OR EXISTS (SELECT 1 FROM Conversation WHERE low = 0 AND high = LAST_INSERT_ID()) AS used`;

/**
 * Rolls back the allocation of an id that rows refer to, and raises the counters. Throws a
 * {@link DatabaseError} that makes the caller retry.
 */
export async function skipUsedIds(connection: MysqlConnection): Promise<never> {
  await connection.rollback();
  await raiseIdCounters(connection);
  throw new DatabaseError("conflict", "rows refer to the id that was allocated");
}

/** Reads the identity. */
export async function readIdentity(pool: Pool): Promise<StoreIdentity> {
  return identityOf((await pool.read(SELECT_IDENTITY))[0]!.rows);
}

/** Reads the key of the deployment. */
export async function readClusterKey(pool: Pool): Promise<string> {
  const [row] = (await pool.read(sql`SELECT secret FROM ClusterKey WHERE id = 1`))[0]!.rows;
  if (!row) throw new Error("the table ClusterKey is empty: restart a node, which fills it");
  return row.secret as string;
}

/** Renews the epoch if it still is `expectedEpoch`, or in any case if that is undefined. */
export async function renewEpoch(connection: MysqlConnection, expectedEpoch?: string): Promise<void> {
  await connection.query(
    sql`UPDATE StoreIdentity SET epoch = ${newId()}
        WHERE id = 1 AND ${expectedEpoch === undefined ? sql`TRUE` : sql`epoch = ${expectedEpoch}`}`,
  );
}

/**
 * Gives the database a new deployment id, key and epoch. The database that it was copied from retains the old
 * ones.
 */
export async function renewDeployment(connection: MysqlConnection): Promise<void> {
  await connection.query(
    sql`UPDATE ClusterKey SET secret = ${newClusterKey()} WHERE id = 1`,
    sql`UPDATE StoreIdentity SET deployment = ${newId()}, epoch = ${newId()} WHERE id = 1`,
  );
}

const SELECT_IDENTITY = sql`SELECT deployment, epoch FROM StoreIdentity WHERE id = 1`;

function identityOf(rows: readonly Readonly<Record<string, unknown>>[]): StoreIdentity {
  const [row] = rows;
  if (!row) throw new Error("the table StoreIdentity is empty: restart a node, which fills it");
  return { deployment: row.deployment as string, epoch: row.epoch as string };
}

/**
 * Raises the id counters above all ids that rows refer to, so that no id is used twice. An operator may have
 * deleted the row with the highest id, or loaded a part of a dump. Each maximum is one read at the end of an
 * index.
 */
async function raiseIdCounters(connection: MysqlConnection): Promise<void> {
  const [users, groups] = await connection.query(
    sql`SELECT GREATEST(
          (SELECT COALESCE(MAX(userid), 0) FROM Friend), (SELECT COALESCE(MAX(friendid), 0) FROM Friend),
          (SELECT COALESCE(MAX(userid), 0) FROM GroupUser),
          (SELECT COALESCE(MAX(userid), 0) FROM MemberCursor),
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
