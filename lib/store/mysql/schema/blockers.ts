/** What in a C++ server's database would give rights to the wrong users if it were taken over as it is. */
import { FOREIGN_HASH, PLAIN } from "../../store.ts";
import { type Found, type FoundTable, same } from "./current_schema.ts";
import { type Db, quoted, rowsInWords, rowsOf } from "./sql.ts";
import { TABLES } from "./target_schema.ts";

/** Other names of the family's tables, in the form of {@link bareName}. */
const OTHER_NAMES: Readonly<Record<string, readonly string[]>> = {
  User: ["user", "account", "chatuser"],
  Friend: ["friend", "friendship", "userfriend", "chatfriend"],
  AllGroup: ["allgroup", "group", "chatgroup"],
  GroupUser: ["groupuser", "groupmember", "usergroup", "allgroupuser", "chatgroupuser"],
  OfflineMessage: ["offlinemessage", "offlinemsg", "offline", "offlinechat"],
};

/** The name of a table without what differs between these servers: case, lines, a prefix, an ending, a plural. */
export function bareName(name: string): string {
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
export async function lookForOtherNames(
  db: Db,
  found: Found,
  old: ReadonlyMap<string, FoundTable>,
): Promise<string[]> {
  const obstacles: string[] = [];
  for (const [name, others] of Object.entries(OTHER_NAMES)) {
    const proper = old.get(name) ?? found.named(name);
    for (const table of found.all) {
      if (table.view || !others.includes(bareName(table.name)) || isOurs(table.name)) continue;
      const [row] = await rowsOf<{ count: string }>(
        db,
        `SELECT COUNT(*) AS count FROM ${quoted(table.name)}`,
      );
      const count = Number(row!.count);
      if (proper && count === 0) continue;
      const seems = `the table ${table.name} (${rowsInWords(count)}) seems to be ${name} under another name`;
      obstacles.push(
        proper
          ? `${seems}, and there is ${proper.name} as well: if it is, rename ${proper.name} and RENAME TABLE ${
            quoted(table.name)
          } TO ${quoted(name)}; if not, rename it, or give the chat server another database`
          : `${seems}: if it is, RENAME TABLE ${quoted(table.name)} TO ${
            quoted(name)
          }; if not, give the chat server another database`,
      );
    }
  }
  return obstacles;
}

/** Tables by their proper names, in whatever case: these are looked for elsewhere. */
function isOurs(name: string): boolean {
  return [...TABLES.map((table) => table.name), ...Object.keys(OTHER_NAMES)].some((own) => same(own, name));
}

/** Rows that refer to users or groups which do not exist: the next ones that get their ids would inherit them. */
export async function lookForOrphans(db: Db, old: ReadonlyMap<string, FoundTable>): Promise<string[]> {
  const orphans = [
    await countOrphans(db, old, "GroupUser", { groupid: "AllGroup", userid: "User" }, "a group or user"),
    await countOrphans(db, old, "Friend", { userid: "User", friendid: "User" }, "a user"),
  ];
  return orphans.filter((obstacle) => obstacle !== undefined);
}

async function countOrphans(
  db: Db,
  old: ReadonlyMap<string, FoundTable>,
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
      ? `${quoted(column)} NOT IN (SELECT id FROM ${quoted(there.name)} WHERE id IS NOT NULL)`
      : "TRUE";
  });
  const condition = conditions.includes("TRUE") ? "TRUE" : conditions.join(" OR ");
  const [row] = await rowsOf<{ count: string }>(
    db,
    `SELECT COUNT(*) AS count FROM ${quoted(table.name)} WHERE ${condition}`,
  );
  const count = Number(row!.count);
  if (count === 0) return undefined;
  return `${rowsInWords(count)} of ${table.name}: of ${what} that does not exist; ` +
    `DELETE FROM ${quoted(table.name)} WHERE ${condition}`;
}

/**
 * Passwords among those that `condition` selects which look like hashes: taken for plain text, the hash itself would
 * be the password, and the user's own would be wrong.
 */
export async function lookForHashes(db: Db, user: FoundTable, condition: string): Promise<string[]> {
  const isHash = `CONVERT(password USING utf8mb4) REGEXP '${FOREIGN_HASH}'`;
  const [row] = await rowsOf<{ count: string }>(
    db,
    `SELECT COUNT(*) AS count FROM ${quoted(user.name)} WHERE ${condition} AND ${isHash}`,
  );
  const count = Number(row!.count);
  if (count === 0) return [];
  const table = quoted(user.name);
  return [
    `${
      rowsInWords(count)
    } of ${user.name}: password looks like a hash, which would log in by itself; give these ` +
    `users new passwords, or, where it is plain text all the same, ` +
    `UPDATE ${table} SET password = CONCAT('${PLAIN}', password) WHERE id = …; they are found by: ` +
    `SELECT id, name FROM ${table} WHERE ${condition} AND ${isHash}`,
  ];
}
