/** Fills a database like that of a server that has run for years. */

/** The size of the preload. */
export interface Preload {
  /** An even number of users, who chat in pairs. */
  readonly users: number;
  /** A multiple of the number of pairs. */
  readonly messages: number;
}

const PAIRS_PER_STATEMENT = 1_000; // more do not make the statements cheaper
const TEXT = "x".repeat(100);

/**
 * Fills an empty database that has the schema. `run` executes a statement that is valid for SQLite and
 * MariaDB.
 */
export async function preloadDatabase(preload: Preload, run: (sql: string) => unknown): Promise<void> {
  const pairs = preload.users / 2;
  const each = preload.messages / pairs;
  await run(
    `INSERT INTO User (name, password)
     WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${preload.users})
     SELECT concat('past user ', i), 'no hash' FROM n`,
  );
  for (let from = 1; from <= pairs; from += PAIRS_PER_STATEMENT) {
    const to = Math.min(pairs, from + PAIRS_PER_STATEMENT - 1);
    const ofPairs = `WITH RECURSIVE n (i) AS (SELECT ${from} UNION ALL SELECT i + 1 FROM n WHERE i < ${to})`;
    await run(
      `INSERT INTO Conversation (low, high, last_seq) ${ofPairs} SELECT 2 * i - 1, 2 * i, ${each} FROM n`,
    );
    for (const user of ["2 * i - 1", "2 * i"]) {
      await run(
        `INSERT INTO MemberCursor (userid, low, high, seq) ${ofPairs} SELECT ${user}, 2 * i - 1, 2 * i, ${each} FROM n`,
      );
    }
    await run(
      `INSERT INTO Message (low, high, seq, sender, cid, time, body)
       ${ofPairs}, m (seq) AS (SELECT 1 UNION ALL SELECT seq + 1 FROM m WHERE seq < ${each})
       SELECT 2 * i - 1, 2 * i, seq, 2 * i - 1, concat('past ', seq), 1700000000000 + seq, '${TEXT}'
       FROM n CROSS JOIN m ORDER BY i, seq`,
    );
  }
}
