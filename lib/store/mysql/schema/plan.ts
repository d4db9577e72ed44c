/** Plans the migration of a database without a recorded schema version, whatever its content. */
import { PLAINTEXT_PREFIX } from "../../store.ts";
import { type CurrentSchema, type CurrentTable, sameName } from "./current_schema.ts";
import { repairTable } from "./repair_table.ts";
import { LEFTOVER_TABLE, type OnSkipped, planMove } from "./offline_move.ts";
import { findAliasedTables, findForeignHashes, findOrphans } from "./blockers.ts";
import { type Db, queryRows, quoteName, rowCountText, type Step, step } from "./sql.ts";
import { TABLES, type TargetTable, VERSION_STATEMENT, VIEW_STATEMENT } from "./target_schema.ts";

/** The steps that migrate a database. */
export interface Plan {
  /** Each may be the last one of an interrupted migration: the next plan continues after it. */
  readonly before: readonly Step[];
  /** In one transaction, so that no change of data is made twice. */
  readonly transaction: readonly Step[];
  /** Cleanup. Without it, a table remains that is not needed. */
  readonly after: readonly Step[];
  /** Problems that only an operator can solve. While there are any, nothing is changed. */
  readonly blockers: readonly string[];
}

/** The tables of C++ servers of this family that become the server's own. */
const LEGACY_TABLES = ["User", "Friend", "AllGroup", "GroupUser"];

/** The name of the view, which is a table in such databases. */
const VIEW_NAME = "OfflineMessage";

/** Characters of a password that can be marked: the column has 255. */
const MAX_PASSWORD_LENGTH = 255 - PLAINTEXT_PREFIX.length;

/** The condition for passwords of another server: neither marked nor hashed. */
const FOREIGN_PASSWORD_CONDITION = [
  `${PLAINTEXT_PREFIX}%`,
  "$argon2id$v=19$m=%,t=%,p=%$%$%",
  "$scrypt$ln=%,r=%,p=%$%$%",
]
  .map((own) => `password NOT LIKE '${own}'`).join(" AND ");

/** Plans the migration by reading the database. Rejects with the driver's error. */
export async function makePlan(db: Db, found: CurrentSchema, onSkipped: OnSkipped): Promise<Plan> {
  const blockers: string[] = [];
  const before: Step[] = [];
  const legacy = legacyTables(found, blockers);
  blockers.push(...await findAliasedTables(db, found, legacy));
  for (const [name, table] of legacy) before.push(...dropForeignKeys(name, table));
  for (const table of TABLES) {
    const current = legacy.get(table.name);
    if (!LEGACY_TABLES.includes(table.name)) before.push(...createOwnTable(table, found, blockers));
    else if (!current) before.push(createTable(table));
    else {
      if (needsRename(found, table.name)) {
        before.push(step(
          `rename the table ${current.name} to ${table.name}`,
          `RENAME TABLE ${quoteName(current.name)} TO ${quoteName(table.name)}`,
        ));
      }
      const repair = await repairTable(db, table, current);
      before.push(...repair.steps);
      blockers.push(...repair.blockers);
    }
  }
  const user = legacy.get("User");
  // Later queries could fail.
  if (blockers.length > 0) return { before, transaction: [], after: [], blockers };
  blockers.push(...await findOrphans(db, legacy));
  if (user) blockers.push(...await findForeignHashes(db, user, FOREIGN_PASSWORD_CONDITION));
  const transaction: Step[] = user ? await markPasswords(db, user, blockers) : [];
  const after: Step[] = [];
  const offline = legacy.get(VIEW_NAME);
  if (offline) {
    const directory = {
      users: user?.name,
      groups: legacy.get("AllGroup")?.name,
      members: legacy.get("GroupUser")?.name,
    };
    const move = await planMove(db, offline, directory, found, onSkipped);
    before.push(...move.before);
    transaction.push(...move.transaction);
    after.push(...move.after);
    blockers.push(...move.blockers);
  }
  if (!found.table(VIEW_NAME)?.isView) before.push(step(`create the view ${VIEW_NAME}`, VIEW_STATEMENT));
  transaction.push(...setUpGroups(legacy.has("AllGroup")), recordVersion());
  return { before, transaction, after, blockers };
}

/** Returns the family's tables by their names in schema.sql. OfflineMessage may have been renamed before. */
function legacyTables(found: CurrentSchema, blockers: string[]): Map<string, CurrentTable> {
  const tables = new Map<string, CurrentTable>();
  for (const name of [...LEGACY_TABLES, VIEW_NAME]) {
    const alike = found.tablesIgnoringCase(name).filter(({ isView }) => !isView);
    const renamed = name === VIEW_NAME ? found.table(LEFTOVER_TABLE) : undefined;
    if (renamed) alike.push(renamed);
    if (alike.length > 1) {
      const names = alike.map(({ name }) => name).sort().join(" and ");
      blockers.push(`there are tables ${names}: rename the one that is not the chat server's`);
    }
    if (alike[0]) tables.set(name, alike[0]);
    if (name !== VIEW_NAME && found.table(name)?.isView) {
      blockers.push(`${name} is a view: it must be a table`);
    }
  }
  return tables;
}

function needsRename(found: CurrentSchema, name: string): boolean {
  return found.table(name) === undefined;
}

/**
 * Drops foreign keys on the server's columns: users and groups are never deleted, and the schema has no
 * foreign keys.
 */
function dropForeignKeys(name: string, table: CurrentTable): Step[] {
  const own = TABLES.find((table) => table.name === name)?.columns.map(({ name }) => name) ?? ["userid"];
  return table.foreignKeys
    .filter(({ columns }) => columns.some((column) => own.some((name) => sameName(name, column))))
    .map(({ name }) =>
      step(
        `drop the foreign key ${name} of ${table.name}`,
        `ALTER TABLE ${quoteName(table.name)} DROP FOREIGN KEY ${quoteName(name)}`,
      )
    );
}

/**
 * Creates a table that only this server has. An existing table of the same name is the server's, or a
 * blocker.
 */
function createOwnTable(table: TargetTable, found: CurrentSchema, blockers: string[]): Step[] {
  const current = found.table(table.name);
  if (!current) return [createTable(table)];
  const isOurs = !current.isView && current.columns.length === table.columns.length &&
    table.columns.every(({ name, type }, i) => {
      const column = current.columns[i]!;
      return column.name === name && column.type === type;
    });
  if (!isOurs) blockers.push(`there is a ${current.name} that is not the chat server's: rename it`);
  return [];
}

function createTable(table: TargetTable): Step {
  return step(`create the table ${table.name}`, table.statement);
}

async function markPasswords(db: Db, user: CurrentTable, blockers: string[]): Promise<Step[]> {
  const [row] = await queryRows<{ foreign: string; long: string }>(
    db,
    `SELECT COUNT(*) AS \`foreign\`,
       COALESCE(SUM(CHAR_LENGTH(password) > ${MAX_PASSWORD_LENGTH}), 0) AS \`long\`
     FROM ${quoteName(user.name)} WHERE ${FOREIGN_PASSWORD_CONDITION} OR password IS NULL`,
  );
  if (Number(row!.long) > 0) {
    blockers.push(
      `${
        rowCountText(Number(row!.long))
      } of ${user.name}: password is longer than ${MAX_PASSWORD_LENGTH} characters`,
    );
  }
  if (Number(row!.foreign) === 0) return [];
  return [step(
    `mark ${row!.foreign} passwords as not hashed yet: the server will hash them`,
    `UPDATE User SET password = CONCAT('${PLAINTEXT_PREFIX}', password) WHERE ${FOREIGN_PASSWORD_CONDITION}`,
  )];
}

function setUpGroups(hasGroups: boolean): Step[] {
  if (!hasGroups) return [];
  return [
    step(
      "count each group's members, and create its conversation and cursors",
      `UPDATE AllGroup SET members = (SELECT COUNT(*) FROM GroupUser WHERE groupid = AllGroup.id)`,
      `INSERT INTO Conversation (low, high, last_seq) SELECT 0, id, 0 FROM AllGroup
       ON DUPLICATE KEY UPDATE last_seq = Conversation.last_seq`,
      `INSERT INTO MemberCursor (userid, low, high, seq)
       SELECT userid, low, high, last_seq FROM GroupUser JOIN Conversation ON low = 0 AND high = groupid
       ON DUPLICATE KEY UPDATE seq = MemberCursor.seq`,
    ),
  ];
}

function recordVersion(): Step {
  return step("record the version of the schema", VERSION_STATEMENT);
}
