/** Changes a table of a C++ server into the server's own. */
import {
  ADD_ROW_NUMBERS,
  alterClauses,
  columnMatches,
  extraColumns,
  findColumn,
  hasIndex,
  ROW_NUMBER_COLUMN,
} from "./differences.ts";
import type { CurrentTable } from "./current_schema.ts";
import { type Db, queryRows, quoteName, rowCountText, type Step, step } from "./sql.ts";
import type { TableIndex, TargetColumn, TargetTable } from "./target_schema.ts";

/** The steps of a repair, and the problems that only an operator can solve. */
export interface TableRepair {
  readonly steps: readonly Step[];
  readonly blockers: readonly string[];
}

const INT_MIN = -(2 ** 31);
const INT_MAX = 2 ** 31 - 1;

/** Rounds of renaming. A new name may equal the name of a later row, which is then renamed too. */
const MAX_RENAME_ROUNDS = 10;

/**
 * Plans the changes of the table `found`, which the steps before have renamed to the target's name. Changes
 * nothing. Rejects with the driver's error.
 */
export async function repairTable(db: Db, table: TargetTable, found: CurrentTable): Promise<TableRepair> {
  const missing = table.columns.filter(({ name, default: fallback }) =>
    fallback === undefined && !findColumn(found, name)
  );
  if (missing.length > 0) {
    const names = missing.map(({ name }) => name).join(", ");
    return {
      steps: [],
      blockers: [`the table ${found.name} is not a chat server's: it has no column ${names}`],
    };
  }
  const blockers = extraColumns(found, table)
    .filter((column) =>
      !column.nullable && !column.autoIncrement && !column.generated && column.default === undefined
    )
    .map(({ name, declaredType }) =>
      `${found.name}.${name} has no default, and the server sets no value; make it nullable: ` +
      `ALTER TABLE ${quoteName(found.name)} MODIFY ${quoteName(name)} ${declaredType} NULL`
    );
  const values = await checkValues(db, table, found);
  const keys = await checkIndexes(db, table, found);
  const clauses = alterClauses(table, found);
  if (keys.needsRowNumbers) clauses.push(`DROP COLUMN ${ROW_NUMBER_COLUMN}`);
  const alterSteps = clauses.length === 0
    ? []
    : [step(`change the table ${table.name}: ${clauses.join(", ")}`, alterStatement(table, clauses))];
  return {
    steps: [...values.steps, ...keys.steps, ...alterSteps],
    blockers: [...blockers, ...values.blockers, ...keys.blockers],
  };
}

function alterStatement(table: TargetTable, clauses: readonly string[]): string {
  return `ALTER TABLE ${quoteName(table.name)} ${clauses.join(", ")}`;
}

/** A condition to count in a table's rows, and the problem that such rows have. */
interface ValueCheck {
  readonly condition: string;
  readonly problem: string;
  /** The value to write in place of a blocker. */
  readonly fill?: string;
}

async function checkValues(db: Db, table: TargetTable, found: CurrentTable): Promise<TableRepair> {
  const checks = table.columns.flatMap((column) =>
    valueChecks(column, found).map((check) => ({ column, ...check }))
  );
  const steps: Step[] = [];
  const blockers: string[] = [];
  if (checks.length === 0) return { steps, blockers };
  const sums = checks.map(({ condition }, i) => `COALESCE(SUM(${condition}), 0) AS n${i}`);
  const [numbers] = await queryRows<Record<string, string>>(
    db,
    `SELECT ${sums.join(", ")} FROM ${quoteName(found.name)}`,
  );
  for (const [i, { column, condition, problem, fill }] of checks.entries()) {
    const number = Number(numbers![`n${i}`]);
    if (number === 0) continue;
    const rows = `${rowCountText(number)} of ${found.name}`;
    if (fill === undefined) {
      blockers.push(
        `${rows}: ${column.name} ${problem}; find them by: ` +
          `SELECT * FROM ${quoteName(found.name)} WHERE ${condition}`,
      );
    } else {
      steps.push(step(
        `${rows}: ${column.name}, which is empty, becomes '${fill}'`,
        `UPDATE ${quoteName(table.name)} SET ${quoteName(column.name)} = '${fill}' WHERE ${condition}`,
      ));
    }
  }
  return { steps, blockers };
}

/** Returns checks for values that the target column cannot hold. */
function valueChecks(column: TargetColumn, found: CurrentTable): ValueCheck[] {
  const current = findColumn(found, column.name);
  if (!current) return [];
  const name = quoteName(column.name);
  const checks: ValueCheck[] = [];
  const isChanged = !columnMatches(column, current);
  const fill = column.name === "password" ? "" : column.default;
  const filled = fill === undefined ? {} : { fill };
  if (current.nullable && !column.nullable) {
    checks.push({ condition: `${name} IS NULL`, problem: "is NULL", ...filled });
  }
  if (column.autoIncrement) {
    checks.push({
      condition: `${name} NOT BETWEEN 1 AND ${INT_MAX}`,
      problem: `is not from 1 to ${INT_MAX}`,
    });
  } else if (isChanged && column.type.startsWith("int")) {
    checks.push({
      condition: `${name} NOT BETWEEN ${INT_MIN} AND ${INT_MAX}`,
      problem: "does not fit into 32 bits",
    });
  }
  const width = /^varchar\((\d+)\)/.exec(column.type)?.[1];
  if (isChanged && width !== undefined) {
    checks.push({
      condition: `CHAR_LENGTH(${name}) > ${width}`,
      problem: `is longer than ${width} characters`,
    });
  }
  const choices = /^enum(\(.*\))/.exec(column.type)?.[1];
  if (isChanged && choices !== undefined) {
    // Servers without strict mode store an empty text in place of an invalid value.
    checks.push({ condition: `${name} = ''`, problem: "is empty", ...filled });
    checks.push({
      condition: `${name} <> '' AND ${name} NOT IN ${choices}`,
      problem: `is none of ${choices}`,
    });
  }
  return checks;
}

async function checkIndexes(
  db: Db,
  table: TargetTable,
  found: CurrentTable,
): Promise<TableRepair & { needsRowNumbers: boolean }> {
  const steps: Step[] = [];
  const blockers: string[] = [];
  let needsRowNumbers = false;
  for (const key of table.keys.filter(({ unique }) => unique)) {
    if (hasIndex(found, key) && key.columns.every((name) => staysUnique(table, found, name))) continue;
    const duplicates = await countDuplicates(db, found, key);
    if (duplicates === 0) continue;
    if (key.name !== "PRIMARY") {
      steps.push(renameDuplicates(table, found, key.columns[0]!, duplicates));
    } else if (key.columns.length === 1) {
      blockers.push(`${rowCountText(duplicates)} of ${found.name} with the ${key.columns[0]} of another row`);
    } else {
      const number = found.columns.find(({ autoIncrement }) => autoIncrement)?.name;
      needsRowNumbers = number === undefined;
      if (needsRowNumbers) {
        steps.push(
          step(
            `number the rows of ${table.name}, to distinguish equal rows`,
            alterStatement(table, [ADD_ROW_NUMBERS]),
          ),
        );
      }
      steps.push(deleteDuplicates(table, found, key, number ?? ROW_NUMBER_COLUMN, duplicates));
    }
  }
  return { steps, blockers, needsRowNumbers };
}

/** Returns whether distinct values of a column stay distinct in the binary collation. */
function staysUnique(table: TargetTable, found: CurrentTable, name: string): boolean {
  const column = table.columns.find((column) => column.name === name)!;
  // Trailing spaces are significant in some collations, but not in the target's.
  return findColumn(found, name)!.collation === undefined || columnMatches(column, findColumn(found, name)!);
}

/** Returns a column as an expression in the target's collation. */
function comparableColumn(found: CurrentTable, name: string): string {
  return findColumn(found, name)!.collation === undefined
    ? quoteName(name)
    : `CONVERT(${quoteName(name)} USING utf8mb4) COLLATE utf8mb4_bin`;
}

async function countDuplicates(db: Db, found: CurrentTable, key: TableIndex): Promise<number> {
  const columns = key.columns.map((name) => comparableColumn(found, name)).join(", ");
  const [row] = await queryRows<{ repeats: string }>(
    db,
    `SELECT COALESCE(SUM(n - 1), 0) AS repeats
     FROM (SELECT COUNT(*) AS n FROM ${quoteName(found.name)} GROUP BY ${columns}) AS counted`,
  );
  return Number(row!.repeats);
}

function renameDuplicates(table: TargetTable, found: CurrentTable, name: string, repeats: number): Step {
  const column = quoteName(name);
  const width = (type: string) => Number(/^(?:var)?char\((\d+)\)/.exec(type)?.[1] ?? INT_MAX);
  const wantedType = table.columns.find((column) => column.name === name)!.type;
  const maxLength = Math.min(width(wantedType), width(findColumn(found, name)!.type));
  const suffix = "CONCAT(' (', id, ')')";
  const statement = `
    UPDATE ${quoteName(table.name)} JOIN (
      SELECT MIN(id) AS first, ${comparableColumn(found, name)} AS taken
      FROM ${quoteName(table.name)} GROUP BY taken HAVING COUNT(*) > 1
    ) AS repeated ON ${comparableColumn(found, name)} = taken AND id > first
    SET ${column} = CONCAT(LEFT(${column}, ${maxLength} - CHAR_LENGTH(${suffix})), ${suffix})`;
  return {
    description: `append " (id)" to the ${name} in ${
      rowCountText(repeats)
    } of ${table.name}: lower ids have the same value`,
    async run(db) {
      for (let round = 0; round < MAX_RENAME_ROUNDS; round++) {
        const [result] = await db.query(statement);
        if ((result as { affectedRows: number }).affectedRows === 0) return;
      }
    },
  };
}

function deleteDuplicates(
  table: TargetTable,
  found: CurrentTable,
  key: TableIndex,
  number: string,
  repeats: number,
): Step {
  const role = findColumn(found, "grouprole") ? "grouprole = 'creator' DESC, " : "";
  const row = quoteName(number);
  return step(
    `remove ${rowCountText(repeats)} of ${table.name}, which are duplicates${
      role ? " (the creator's stays)" : ""
    }`,
    `DELETE repeated FROM ${quoteName(table.name)} AS repeated JOIN (
       SELECT ${row} AS number, ROW_NUMBER() OVER (
         PARTITION BY ${key.columns.map(quoteName).join(", ")} ORDER BY ${role}${row}
       ) AS nth
       FROM ${quoteName(table.name)}
     ) AS counted ON counted.number = repeated.${row} WHERE nth > 1`,
  );
}
