/** Doing what was planned for a database. */
import { GRANTS } from "./grants.ts";
import type { Plan } from "./plan.ts";
import { type Db, errnoOf, type Step } from "./sql.ts";

/** Who is told what goes on; the server's log is one. */
export interface MigrationLog {
  info(event: string, fields: Record<string, string | number>): void;
  warn(event: string, fields: Record<string, string | number>): void;
}

/** The database's error for a statement that the account may not use. */
const COMMAND_DENIED = 1142;

/** Carries a plan out. Rejects with an Error that says at which step; what was done until then stays done. */
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
        // Without its cause, which has the statement, and that may have what users wrote.
        throw new Error(`could not ${description}: ${stepErrorText(error)}`);
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
    ? `${message}; the account needs ${GRANTS} on the database`
    : message;
}
