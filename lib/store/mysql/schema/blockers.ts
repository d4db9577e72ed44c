/** What in a C++ server's database would give rights to the wrong users if it were taken over as it is. */
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

/** The name of a table without what differs between these servers: case, lines, a prefix, an ending, a plural. */
export function normalizeTableName(name: string): string {
  return name.toLowerCase()
    .replace(/^(t|tb|tbl)_/, "")
    .replace(/[^a-z0-9]/g, "")
    .replace(/(info|table|list)$/, "")
    .replace(/s$/, "");
}

/**
 * Tables that seem to be the family's under another name. Where the server would make an empty one beside them, users
 * would register the ids of old ones. Where there is one beside them already and they have rows, only the operator knows
 * which are the chat's. `old` has the tables that were found, by the names that schema.sql gives them.
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
      blockers.push(
        proper
          ? `${seems}, and there is ${proper.name} as well: if it is, rename ${proper.name} and RENAME TABLE ${
            quoteName(table.name)
          } TO ${quoteName(name)}; if not, rename it, or give the chat server another database`
          : `${seems}: if it is, RENAME TABLE ${quoteName(table.name)} TO ${
            quoteName(name)
          }; if not, give the chat server another database`,
      );
    }
  }
  return blockers;
}

/** Tables by their proper names, in whatever case: these are looked for elsewhere. */
function isOurs(name: string): boolean {
  return [...TABLES.map((table) => table.name), ...Object.keys(TABLE_ALIASES)].some((own) =>
    sameName(own, name)
  );
}

/** Rows that refer to users or groups which do not exist: the next ones that get their ids would inherit them. */
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
  what: string,
): Promise<string | undefined> {
  const table = old.get(name);
  if (!table) return undefined;
  const conditions = Object.entries(refersTo).map(([column, target]) => {
    const there = old.get(target);
    // Without the table there is none of them. A NULL in the list would hide all orphans.
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
  return `${rowCountText(count)} of ${table.name}: of ${what} that does not exist; ` +
    `DELETE FROM ${quoteName(table.name)} WHERE ${condition}`;
}

/**
 * Passwords among those that `condition` selects which look like hashes: taken for plain text, the hash itself would
 * be the password, and the user's own would be wrong.
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
  return [
    `${
      rowCountText(count)
    } of ${user.name}: password looks like a hash, which would log in by itself; give these ` +
    `users new passwords, or, where it is plain text all the same, ` +
    `UPDATE ${table} SET password = CONCAT('${PLAINTEXT_PREFIX}', password) WHERE id = …; they are found by: ` +
    `SELECT id, name FROM ${table} WHERE ${condition} AND ${isHash}`,
  ];
}
