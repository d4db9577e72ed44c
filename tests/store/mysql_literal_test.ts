/** Literals on a real server: text of users never becomes part of a statement, in any mode. */
import { assertEquals } from "@std/assert";
import { createConnection } from "mysql2/promise";
import { sql } from "../../lib/store/mysql/sql.ts";
import { sharedMariadb } from "../harness/mariadb.ts";

const mariadb = sharedMariadb();

const VALUES = [
  "'",
  "''",
  "\\",
  "\\'",
  "' OR '1'='1",
  "\\' OR 1=1 -- ",
  "'\\''",
  "a\n\u{1F600}\u00a5",
  '%_"`',
];
const MODES = ["", "NO_BACKSLASH_ESCAPES", "ANSI_QUOTES", "ANSI,NO_BACKSLASH_ESCAPES"];

mariadb.test("mysql literal: contains its value in every mode of the server", async (db) => {
  const connection = await createConnection(db.url);
  try {
    for (const mode of MODES) {
      await connection.query(`SET SESSION sql_mode = '${mode}'`);
      for (const value of VALUES) {
        const [found] = await connection.query(sql`SELECT ${value} AS value, 1 AS one`.text);
        // The store's own connections use a mode with backslash escapes.
        const expected = mode.includes("NO_BACKSLASH_ESCAPES") ? value.replaceAll("\\", "\\\\") : value;
        assertEquals(found as unknown, [{ value: expected, one: 1 }], mode);
      }
    }
  } finally {
    await connection.end();
  }
});
