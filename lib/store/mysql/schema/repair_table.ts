/** Making one of the tables that C++ servers of this family have into the server's own. */
import { ADD_ROW, columnIn, differences, hasKey, isLike, othersIn, ROW } from "./differences.ts";
import type { FoundTable } from "./current_schema.ts";
import { type Db, quoted, rowsInWords, rowsOf, type Step, step } from "./sql.ts";
import type { Key, WantedColumn, WantedTable } from "./target_schema.ts";

/** What there is to do, and what only the operator can do before it. */
export interface Mending {
  readonly steps: readonly Step[];
  readonly obstacles: readonly string[];
}

const INT_MIN = -(2 ** 31);
const INT_MAX = 2 ** 31 - 1;

/** Rounds of renaming before it is given up: a new name may be one that a later row has, which then is renamed, too. */
const ROUNDS = 10;

/**
 * How to mend the table `found`, which by then has the wanted one's name. Only looks at the table. Rejects with the
 * driver's error.
 */
export async function mend(db: Db, table: WantedTable, found: FoundTable): Promise<Mending> {
  const lacking = table.columns.filter(({ name, default: fallback }) =>
    fallback === undefined && !columnIn(found, name)
  );
  if (lacking.length > 0) {
    const names = lacking.map(({ name }) => name).join(", ");
    return {
      steps: [],
      obstacles: [`the table ${found.name} is not a chat server's: it has no column ${names}`],
    };
  }
  const obstacles = othersIn(found, table)
    .filter((column) =>
      !column.nullable && !column.autoIncrement && !column.generated && column.default === undefined
    )
    .map(({ name, written }) =>
      `${found.name}.${name} has no default, and the server gives it no value; allow it to have none: ` +
      `ALTER TABLE ${quoted(found.name)} MODIFY ${quoted(name)} ${written} NULL`
    );
  const values = await lookAtValues(db, table, found);
  const keys = await lookAtKeys(db, table, found);
  const clauses = differences(table, found);
  if (keys.numbered) clauses.push(`DROP COLUMN ${ROW}`);
  const whole = clauses.length === 0
    ? []
    : [step(`change the table ${table.name}: ${clauses.join(", ")}`, alter(table, clauses))];
  return {
    steps: [...values.steps, ...keys.steps, ...whole],
    obstacles: [...obstacles, ...values.obstacles, ...keys.obstacles],
  };
}

function alter(table: WantedTable, clauses: readonly string[]): string {
  return `ALTER TABLE ${quoted(table.name)} ${clauses.join(", ")}`;
}

/** One thing to be counted in a table's rows, and what a number of them means. */
interface Count {
  readonly condition: string;
  readonly obstacle: string;
  /** In place of the obstacle: the value to be put there. */
  readonly fill?: string;
}

async function lookAtValues(db: Db, table: WantedTable, found: FoundTable): Promise<Mending> {
  const counts = table.columns.flatMap((column) =>
    countsOf(column, found).map((count) => ({ column, ...count }))
  );
  const steps: Step[] = [];
  const obstacles: string[] = [];
  if (counts.length === 0) return { steps, obstacles };
  const sums = counts.map(({ condition }, i) => `COALESCE(SUM(${condition}), 0) AS n${i}`);
  const [numbers] = await rowsOf<Record<string, string>>(
    db,
    `SELECT ${sums.join(", ")} FROM ${quoted(found.name)}`,
  );
  for (const [i, { column, condition, obstacle, fill }] of counts.entries()) {
    const number = Number(numbers![`n${i}`]);
    if (number === 0) continue;
    const rows = `${rowsInWords(number)} of ${found.name}`;
    if (fill === undefined) {
      obstacles.push(
        `${rows}: ${column.name} ${obstacle}; they are found by: ` +
          `SELECT * FROM ${quoted(found.name)} WHERE ${condition}`,
      );
    } else {
      steps.push(step(
        `${rows}: ${column.name}, which is empty, becomes '${fill}'`,
        `UPDATE ${quoted(table.name)} SET ${quoted(column.name)} = '${fill}' WHERE ${condition}`,
      ));
    }
  }
  return { steps, obstacles };
}

/** What a column's values could be that the wanted column can't hold. */
function countsOf(column: WantedColumn, found: FoundTable): Count[] {
  const there = columnIn(found, column.name);
  if (!there) return [];
  const name = quoted(column.name);
  const counts: Count[] = [];
  const changes = !isLike(column, there);
  const fill = column.name === "password" ? "" : column.default;
  const filled = fill === undefined ? {} : { fill };
  if (there.nullable && !column.nullable) {
    counts.push({ condition: `${name} IS NULL`, obstacle: "is NULL", ...filled });
  }
  if (column.autoIncrement) {
    counts.push({
      condition: `${name} NOT BETWEEN 1 AND ${INT_MAX}`,
      obstacle: `is not from 1 to ${INT_MAX}`,
    });
  } else if (changes && column.type.startsWith("int")) {
    counts.push({
      condition: `${name} NOT BETWEEN ${INT_MIN} AND ${INT_MAX}`,
      obstacle: "is more than 32 bits can hold",
    });
  }
  const width = /^varchar\((\d+)\)/.exec(column.type)?.[1];
  if (changes && width !== undefined) {
    counts.push({
      condition: `CHAR_LENGTH(${name}) > ${width}`,
      obstacle: `is longer than ${width} characters`,
    });
  }
  const choices = /^enum(\(.*\))/.exec(column.type)?.[1];
  if (changes && choices !== undefined) {
    // Servers that aren't strict put an empty text where they were given something else.
    counts.push({ condition: `${name} = ''`, obstacle: "is empty", ...filled });
    counts.push({
      condition: `${name} <> '' AND ${name} NOT IN ${choices}`,
      obstacle: `is none of ${choices}`,
    });
  }
  return counts;
}

async function lookAtKeys(
  db: Db,
  table: WantedTable,
  found: FoundTable,
): Promise<Mending & { numbered: boolean }> {
  const steps: Step[] = [];
  const obstacles: string[] = [];
  let numbered = false;
  for (const key of table.keys.filter(({ unique }) => unique)) {
    if (hasKey(found, key) && key.columns.every((name) => staysUnique(table, found, name))) continue;
    const repeats = await countRepeats(db, found, key);
    if (repeats === 0) continue;
    if (key.name !== "PRIMARY") {
      steps.push(renameRepeats(table, found, key.columns[0]!, repeats));
    } else if (key.columns.length === 1) {
      obstacles.push(`${rowsInWords(repeats)} of ${found.name} with the ${key.columns[0]} of another one`);
    } else {
      const number = found.columns.find(({ autoIncrement }) => autoIncrement)?.name;
      numbered = number === undefined;
      if (numbered) {
        steps.push(
          step(`number the rows of ${table.name}, to tell equal ones apart`, alter(table, [ADD_ROW])),
        );
      }
      steps.push(mergeRepeats(table, found, key, number ?? ROW, repeats));
    }
  }
  return { steps, obstacles, numbered };
}

/** Whether values of a column that differ now still will when they are compared as code points. */
function staysUnique(table: WantedTable, found: FoundTable, name: string): boolean {
  const column = table.columns.find((column) => column.name === name)!;
  // Blanks at the end count in some collations, but not in the wanted one.
  return columnIn(found, name)!.collation === undefined || isLike(column, columnIn(found, name)!);
}

/** A column's value as it will be compared. */
function compared(found: FoundTable, name: string): string {
  return columnIn(found, name)!.collation === undefined
    ? quoted(name)
    : `CONVERT(${quoted(name)} USING utf8mb4) COLLATE utf8mb4_bin`;
}

async function countRepeats(db: Db, found: FoundTable, key: Key): Promise<number> {
  const columns = key.columns.map((name) => compared(found, name)).join(", ");
  const [row] = await rowsOf<{ repeats: string }>(
    db,
    `SELECT COALESCE(SUM(n - 1), 0) AS repeats
     FROM (SELECT COUNT(*) AS n FROM ${quoted(found.name)} GROUP BY ${columns}) AS counted`,
  );
  return Number(row!.repeats);
}

function renameRepeats(table: WantedTable, found: FoundTable, name: string, repeats: number): Step {
  const column = quoted(name);
  const width = (type: string) => Number(/^(?:var)?char\((\d+)\)/.exec(type)?.[1] ?? INT_MAX);
  const wantedType = table.columns.find((column) => column.name === name)!.type;
  const room = Math.min(width(wantedType), width(columnIn(found, name)!.type));
  const suffix = "CONCAT(' (', id, ')')";
  const statement = `
    UPDATE ${quoted(table.name)} JOIN (
      SELECT MIN(id) AS first, ${compared(found, name)} AS taken
      FROM ${quoted(table.name)} GROUP BY taken HAVING COUNT(*) > 1
    ) AS repeated ON ${compared(found, name)} = taken AND id > first
    SET ${column} = CONCAT(LEFT(${column}, ${room} - CHAR_LENGTH(${suffix})), ${suffix})`;
  return {
    words: `append " (id)" to the ${name} in ${
      rowsInWords(repeats)
    } of ${table.name}: lower ids have the same one`,
    async run(db) {
      for (let round = 0; round < ROUNDS; round++) {
        const [result] = await db.query(statement);
        if ((result as { affectedRows: number }).affectedRows === 0) return;
      }
    },
  };
}

function mergeRepeats(
  table: WantedTable,
  found: FoundTable,
  key: Key,
  number: string,
  repeats: number,
): Step {
  const role = columnIn(found, "grouprole") ? "grouprole = 'creator' DESC, " : "";
  const row = quoted(number);
  return step(
    `remove ${rowsInWords(repeats)} of ${table.name}, being there twice${
      role ? " (the creator's stays)" : ""
    }`,
    `DELETE repeated FROM ${quoted(table.name)} AS repeated JOIN (
       SELECT ${row} AS number, ROW_NUMBER() OVER (
         PARTITION BY ${key.columns.map(quoted).join(", ")} ORDER BY ${role}${row}
       ) AS nth
       FROM ${quoted(table.name)}
     ) AS counted ON counted.number = repeated.${row} WHERE nth > 1`,
  );
}
