/** Servers that interpret text in another character set by default: no value becomes part of a statement. */
import { assertEquals } from "@std/assert";
import { MysqlStore } from "../../lib/store/mysql/mysql_store.ts";
import { database } from "../harness/database_program.ts";
import { startMariadb } from "../harness/mariadb.ts";
import { idOf, PLENTY, ROOMY, send } from "./store_fixture.ts";

const SETUPS: Readonly<Record<string, readonly string[]>> = {
  // MySQL 9 has no such option.
  ...(database.name === "mysqld" ? {} : {
    "its own character set, whatever clients say": [
      "--skip-character-set-client-handshake",
      "--character-set-server=gbk",
    ],
  }),
  "latin1 for every new connection": ["--init-connect=SET NAMES latin1"],
};

/** In gbk a backslash can be the second half of a letter. In latin1 the last byte of \u4e27 is a quote. */
const TRICKS = ["\u4f60' OR 1=1 -- ", "\u4e27' OR 1=1 -- ", "\u4e27\\' \" \u{1F600}"];

const quiet = { info() {}, warn() {} };

for (const [words, args] of Object.entries(SETUPS)) {
  Deno.test(`mysql charset: ${words}`, async () => {
    await using server = await startMariadb({ args });
    await using db = await server.fresh();
    const name = new URL(db.url).pathname.slice(1);
    // The settings of new connections do not apply to accounts with all rights.
    await server.sql("CREATE USER ordinary");
    await server.sql(`GRANT ALL ON ${name}.* TO ordinary`);
    await db.sql(
      "CREATE TABLE user (id INT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(50), password VARCHAR(50)) CHARSET utf8mb4",
    );
    await db.sql("CREATE TABLE offlinemessage (userid INT, message VARCHAR(500)) CHARSET utf8mb4");
    await db.sql("INSERT INTO user VALUES (1, 'ann', 'old'), (2, 'bob', 'old')");
    for (const msg of TRICKS) {
      // This connection has the same defaults.
      const hex = new TextEncoder().encode(JSON.stringify({ id: 1, msg })).toHex();
      await db.sql(`INSERT INTO offlinemessage VALUES (2, CONVERT(x'${hex}' USING utf8mb4))`);
    }
    const store = await MysqlStore.open(server.url(name, "ordinary"), ROOMY, {
      log: quiet,
      maxConnections: 3,
    });
    try {
      const moved = await store.read(2, 1, 0, 10, PLENTY);
      assertEquals(moved.messages.map(({ body }) => body), TRICKS);
      for (const trick of TRICKS) {
        assertEquals(await store.findUser({ name: trick }), undefined);
        const id = idOf(await store.createUser(trick, "hash"));
        assertEquals((await store.findUser({ name: trick }))?.id, id);
        await send(store, 1, id, trick, { body: trick });
        const { messages: messages } = await store.read(id, 1, 0, 10, PLENTY);
        assertEquals(messages.map(({ body, cid }) => [body, cid]), [[trick, trick]]);
      }
    } finally {
      await store.close();
    }
  });
}
