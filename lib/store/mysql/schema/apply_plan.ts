/** Applies a plan to a database. */
import { GRANTS } from "./grants.ts";
import type { Plan } from "./plan.ts";
import { type Db, errnoOf, type Step } from "./sql.ts";

/** Receives the steps. The server's log is one implementation. */
export interface MigrationLog {
  info(event: string, fields: Record<string, string | number>): void;
  warn(event: string, fields: Record<string, string | number>): void;
}

/** The error number for a statement that the account may not use. */
const COMMAND_DENIED = 1142;

/** Applies a plan. Rejects with an Error that names the failed step. Earlier steps stay applied. */
export async function applyPlan(
  db: Db,
  { before, transaction, after }: Plan,
  log: MigrationLog,
): Promise<void> {
  const run = async (steps: readonly Step[]) => {
    for (const { description, run } of steps) {
      log.info("schema", { step: description });
      try {
        await run(db);
      } catch (error) {
        // Without the cause: it has the statement, which may contain data of users.
        throw new Error(`Cannot ${description}: ${stepErrorText(error)}`);
      }
    }
  };
  await run(before);
  await db.query("START TRANSACTION");
  await run(transaction);
  await db.query("COMMIT");
  await run(after);
}

function stepErrorText(error: unknown): string {
  const { message } = error as Error;
  return errnoOf(error) === COMMAND_DENIED
    ? `${message}; the account needs the rights ${GRANTS} on the database`
    : message;
}
