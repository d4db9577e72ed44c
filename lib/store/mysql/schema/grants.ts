/** Which rights the server's account needs; a test looks that each of them is needed, and no other. */

/** Rights on the database, for its upgrade and for all commands. No right on anything else is needed. */
export const GRANTS = "SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, CREATE VIEW";

/** Those that do once the schema is up to date. MySQL wants CREATE where a counter is lifted, by ALTER. */
export const RUNNING_GRANTS = "SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER";
