/** Finds data in a C++ server's database that would give rights to the wrong users. */
import { FOREIGN_HASH_PATTERN, PLAINTEXT_PREFIX } from "../../store.ts";
import { type CurrentSchema, type CurrentTable, sameName } from "./current_schema.ts";
import { type Db, queryRows, quoteName, rowCountText } from "./sql.ts";
import { TABLES } from "./target_schema.ts";

/** Other names of the family's tables, in the form of {@link normalizeTableName}. */
const TABLE_ALIASES: Readonly<Record<string, readonly string[]>> = {
  User: ["user", "account", "chatuser"],
  Friend: ["friend", "friendship", "userfriend", "chatfriend"],
  AllGroup: ["allgroup", "group", "chatgroup"],
  GroupUser: ["groupuser", "groupmember", "usergroup", "allgroupuser", "chatgroupuser"],
  OfflineMessage: ["offlinemessage", "offlinemsg", "offline", "offlinechat"],
};

/**
 * Returns the name of a table without the parts that differ between these servers: case, underscores, a
 * prefix, a suffix, a plural.
 */
export function normalizeTableName(name: string): string {
  return name.toLowerCase()
    .replace(/^(t|tb|tbl)_/, "")
    .replace(/[^a-z0-9]/g, "")
    .replace(/(info|table|list)$/, "")
    .replace(/s$/, "");
}

/**
 * Returns blockers for tables that seem to be the family's under another name. If the server created an empty
 * table beside such a table, new users would get the ids of old ones. If both exist and have rows, only an
 * operator knows which is the chat server's. `old` has the tables that were found, by their names in
 * schema.sql.
 */
export async function findAliasedTables(
  db: Db,
  found: CurrentSchema,
  old: ReadonlyMap<string, CurrentTable>,
): Promise<string[]> {
  const blockers: string[] = [];
  for (const [name, others] of Object.entries(TABLE_ALIASES)) {
    const proper = old.get(name) ?? found.table(name);
    for (const table of found.tables) {
      if (table.isView || !others.includes(normalizeTableName(table.name)) || isOurs(table.name)) continue;
      const [row] = await queryRows<{ count: string }>(
        db,
        `SELECT COUNT(*) AS count FROM ${quoteName(table.name)}`,
      );
      const count = Number(row!.count);
      if (proper && count === 0) continue;
      const seems = `the table ${table.name} (${rowCountText(count)}) seems to be ${name} under another name`;
      const rename = `RENAME TABLE ${quoteName(table.name)} TO ${quoteName(name)}`;
      blockers.push(
        proper
          ? `${seems}, and there is ${proper.name} as well: if it is, rename ${proper.name} and ${rename}; ` +
            "if not, rename it, or give the chat server another database"
          : `${seems}: if it is, ${rename}; if not, give the chat server another database`,
      );
    }
  }
  return blockers;
}

/** Returns whether a table has one of the proper names, in any case. Other code handles these. */
function isOurs(name: string): boolean {
  return [...TABLES.map((table) => table.name), ...Object.keys(TABLE_ALIASES)].some((own) =>
    sameName(own, name)
  );
}

/**
 * Returns blockers for rows that refer to users or groups that do not exist. A later user or group with that
 * id would get the rights in these rows.
 */
export async function findOrphans(db: Db, old: ReadonlyMap<string, CurrentTable>): Promise<string[]> {
  const orphans = [
    await describeOrphans(db, old, "GroupUser", { groupid: "AllGroup", userid: "User" }, "a group or user"),
    await describeOrphans(db, old, "Friend", { userid: "User", friendid: "User" }, "a user"),
  ];
  return orphans.filter((blocker) => blocker !== undefined);
}

async function describeOrphans(
  db: Db,
  old: ReadonlyMap<string, CurrentTable>,
  name: string,
  refersTo: Readonly<Record<string, string>>,
  targetNames: string,
): Promise<string | undefined> {
  const table = old.get(name);
  if (!table) return undefined;
  const conditions = Object.entries(refersTo).map(([column, target]) => {
    const there = old.get(target);
    // A missing table has no ids. A NULL in the list would hide all orphans.
    return there
      ? `${quoteName(column)} NOT IN (SELECT id FROM ${quoteName(there.name)} WHERE id IS NOT NULL)`
      : "TRUE";
  });
  const condition = conditions.includes("TRUE") ? "TRUE" : conditions.join(" OR ");
  const [row] = await queryRows<{ count: string }>(
    db,
    `SELECT COUNT(*) AS count FROM ${quoteName(table.name)} WHERE ${condition}`,
  );
  const count = Number(row!.count);
  if (count === 0) return undefined;
  return `${rowCountText(count)} of ${table.name}: of ${targetNames} that does not exist; ` +
    `DELETE FROM ${quoteName(table.name)} WHERE ${condition}`;
}

/**
 * Returns blockers for passwords that meet `condition` and look like hashes. Taken as plain text, the hash
 * itself would be the password, and the user's own password would be wrong.
 */
export async function findForeignHashes(db: Db, user: CurrentTable, condition: string): Promise<string[]> {
  const isHash = `CONVERT(password USING utf8mb4) REGEXP '${FOREIGN_HASH_PATTERN}'`;
  const [row] = await queryRows<{ count: string }>(
    db,
    `SELECT COUNT(*) AS count FROM ${quoteName(user.name)} WHERE ${condition} AND ${isHash}`,
  );
  const count = Number(row!.count);
  if (count === 0) return [];
  const table = quoteName(user.name);
  const rows = `${rowCountText(count)} of ${user.name}`;
  return [
    `${rows}: password looks like a hash, which would log in by itself; give these users new passwords, ` +
    `or, if it is plain text, ` +
    `UPDATE ${table} SET password = CONCAT('${PLAINTEXT_PREFIX}', password) WHERE id = …; ` +
    `find them by: SELECT id, name FROM ${table} WHERE ${condition} AND ${isHash}`,
  ];
}
