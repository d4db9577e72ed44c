/** The rights that the server's account needs. A test checks that each is needed, and no other. */

/** Rights on the database, for migration and for all commands. No right on anything else is needed. */
export const GRANTS = "SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, CREATE VIEW";

/** Rights that suffice once the schema is current. MySQL requires CREATE for raising a counter by ALTER. */
export const RUNNING_GRANTS = "SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER";
