/** What has to be done to a database that no version of the schema is noted in, whatever is in it. */
import { PLAIN } from "../../store.ts";
import { type Found, type FoundTable, same } from "./current_schema.ts";
import { mend } from "./repair_table.ts";
import { OLD, type OnLeft, planMove } from "./offline_move.ts";
import { lookForHashes, lookForOrphans, lookForOtherNames } from "./blockers.ts";
import { type Db, quoted, rowsInWords, rowsOf, type Step, step } from "./sql.ts";
import { TABLES, VERSION_STATEMENT, VIEW_STATEMENT, type WantedTable } from "./target_schema.ts";

/** How a database becomes the server's. */
export interface Plan {
  /** Each can be the last one for now: the next plan goes on from there. */
  readonly before: readonly Step[];
  /** In one transaction, so that nothing is done to data twice. */
  readonly together: readonly Step[];
  /** Tidying up: where it isn't come to, a table remains that is not needed. */
  readonly after: readonly Step[];
  /** What only the operator can change. While there is any, nothing is done. */
  readonly obstacles: readonly string[];
}

/** The tables that C++ servers of this family have, and that become the server's own. */
const FAMILY = ["User", "Friend", "AllGroup", "GroupUser"];

/** The view's name: that of a table in such databases. */
const VIEW = "OfflineMessage";

/** Characters of a password that can be marked: the column has 255. */
const MAX_PASSWORD = 255 - PLAIN.length;

/** Which passwords are not the server's: neither marked nor hashed. */
const FOREIGN_PASSWORD = `password NOT LIKE '${PLAIN}%' AND password NOT LIKE '$scrypt$ln=%,r=%,p=%$%$%'`;

/** Makes a plan by looking at the database. Rejects with the driver's error. */
export async function makePlan(db: Db, found: Found, onLeft: OnLeft): Promise<Plan> {
  const obstacles: string[] = [];
  const before: Step[] = [];
  const old = oldTables(found, obstacles);
  obstacles.push(...await lookForOtherNames(db, found, old));
  for (const [name, table] of old) before.push(...dropForeignKeys(name, table));
  for (const table of TABLES) {
    const there = old.get(table.name);
    if (!FAMILY.includes(table.name)) before.push(...makeOwn(table, found, obstacles));
    else if (!there) before.push(makeTable(table));
    else {
      if (needsRename(found, table.name)) {
        before.push(step(
          `rename the table ${there.name} to ${table.name}`,
          `RENAME TABLE ${quoted(there.name)} TO ${quoted(table.name)}`,
        ));
      }
      const mending = await mend(db, table, there);
      before.push(...mending.steps);
      obstacles.push(...mending.obstacles);
    }
  }
  const user = old.get("User");
  if (obstacles.length > 0) return { before, together: [], after: [], obstacles }; // looking on could fail
  obstacles.push(...await lookForOrphans(db, old));
  if (user) obstacles.push(...await lookForHashes(db, user, FOREIGN_PASSWORD));
  const together: Step[] = user ? await markPasswords(db, user, obstacles) : [];
  const after: Step[] = [];
  const offline = old.get(VIEW);
  if (offline) {
    const directory = {
      users: user?.name,
      groups: old.get("AllGroup")?.name,
      members: old.get("GroupUser")?.name,
    };
    const move = await planMove(db, offline, directory, found, onLeft);
    before.push(...move.before);
    together.push(...move.together);
    after.push(...move.after);
    obstacles.push(...move.obstacles);
  }
  if (!found.named(VIEW)?.view) before.push(step(`make the view ${VIEW}`, VIEW_STATEMENT));
  together.push(...setUpGroups(old.has("AllGroup")), noteVersion());
  return { before, together, after, obstacles };
}

/** The family's tables by the names that schema.sql gives them, OfflineMessage's whatever it is called by now. */
function oldTables(found: Found, obstacles: string[]): Map<string, FoundTable> {
  const tables = new Map<string, FoundTable>();
  for (const name of [...FAMILY, VIEW]) {
    const alike = found.alike(name).filter(({ view }) => !view);
    const renamed = name === VIEW ? found.named(OLD) : undefined;
    if (renamed) alike.push(renamed);
    if (alike.length > 1) {
      const names = alike.map(({ name }) => name).sort().join(" and ");
      obstacles.push(`there are tables ${names}: rename the one that is not the chat server's`);
    }
    if (alike[0]) tables.set(name, alike[0]);
    if (name !== VIEW && found.named(name)?.view) obstacles.push(`${name} is a view: it must be a table`);
  }
  return tables;
}

function needsRename(found: Found, name: string): boolean {
  return found.named(name) === undefined;
}

/** Users and groups are never deleted, and the server's own tables have no foreign keys. */
function dropForeignKeys(name: string, table: FoundTable): Step[] {
  const own = TABLES.find((table) => table.name === name)?.columns.map(({ name }) => name) ?? ["userid"];
  return table.foreignKeys
    .filter(({ columns }) => columns.some((column) => own.some((name) => same(name, column))))
    .map(({ name }) =>
      step(
        `drop the foreign key ${name} of ${table.name}`,
        `ALTER TABLE ${quoted(table.name)} DROP FOREIGN KEY ${quoted(name)}`,
      )
    );
}

/** A table that no other server has: one of its name is the server's, or in its way. */
function makeOwn(table: WantedTable, found: Found, obstacles: string[]): Step[] {
  const there = found.named(table.name);
  if (!there) return [makeTable(table)];
  const ours = !there.view && there.columns.length === table.columns.length &&
    table.columns.every(({ name, type }, i) => {
      const column = there.columns[i]!;
      return column.name === name && column.type === type;
    });
  if (!ours) obstacles.push(`there is a ${there.name} that is not the chat server's: rename it`);
  return [];
}

function makeTable(table: WantedTable): Step {
  return step(`make the table ${table.name}`, table.statement);
}

async function markPasswords(db: Db, user: FoundTable, obstacles: string[]): Promise<Step[]> {
  const [row] = await rowsOf<{ foreign: string; long: string }>(
    db,
    `SELECT COUNT(*) AS \`foreign\`, COALESCE(SUM(CHAR_LENGTH(password) > ${MAX_PASSWORD}), 0) AS \`long\`
     FROM ${quoted(user.name)} WHERE ${FOREIGN_PASSWORD} OR password IS NULL`,
  );
  if (Number(row!.long) > 0) {
    obstacles.push(
      `${rowsInWords(Number(row!.long))} of ${user.name}: password is longer than ${MAX_PASSWORD} characters`,
    );
  }
  if (Number(row!.foreign) === 0) return [];
  return [step(
    `mark ${row!.foreign} passwords as not hashed yet: the server will hash them`,
    `UPDATE User SET password = CONCAT('${PLAIN}', password) WHERE ${FOREIGN_PASSWORD}`,
  )];
}

function setUpGroups(old: boolean): Step[] {
  if (!old) return [];
  return [
    step(
      "count each group's members, and give each its conversation and each member a cursor",
      `UPDATE AllGroup SET members = (SELECT COUNT(*) FROM GroupUser WHERE groupid = AllGroup.id)`,
      `INSERT INTO Conversation (low, high, last_seq) SELECT 0, id, 0 FROM AllGroup
       ON DUPLICATE KEY UPDATE last_seq = Conversation.last_seq`,
      `INSERT INTO MemberCursor (userid, low, high, seq)
       SELECT userid, low, high, last_seq FROM GroupUser JOIN Conversation ON low = 0 AND high = groupid
       ON DUPLICATE KEY UPDATE seq = MemberCursor.seq`,
    ),
  ];
}

function noteVersion(): Step {
  return step("note the schema's version", VERSION_STATEMENT);
}
