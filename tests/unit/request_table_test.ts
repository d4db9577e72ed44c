/** The properties of requests on which order, prices and classes depend. */
import { assertEquals } from "@std/assert";
import { requestTable } from "../../lib/server/handlers/request_table.ts";

const rows = [...requestTable.values()];
const names = (having: (row: typeof rows[number]) => boolean) => rows.filter(having).map(({ name }) => name);

Deno.test("request table: which requests are concurrent, need no login, or are unknown to classic clients", () => {
  assertEquals(names(({ concurrent }) => concurrent), [
    ...["ONE_CHAT_MSG", "GROUP_CHAT_MSG", "DELIVERED", "PING", "PONG"],
  ]);
  assertEquals(names(({ needsLogin }) => !needsLogin), ["LOGIN_MSG", "REG_MSG", "PING", "PONG"]);
  assertEquals(names(({ classic }) => !classic), [
    ...["DELIVERED", "HISTORY", "PING", "PONG", "CONTACTS", "MEMBERS"],
  ]);
});

Deno.test("request table: the prices of requests, and those of pages", () => {
  const prices = Map.groupBy(rows.filter(({ cost }) => cost !== 1), ({ cost }) => cost);
  const priced = [...prices].map(([cost, of]) => [cost, of.map(({ name }) => name)]);
  assertEquals(priced, [
    [2, ["ADD_FRIEND_MSG", "CREATE_GROUP_MSG", "ADD_GROUP_MSG"]],
    [0.1, ["DELIVERED", "PONG"]],
    [5, ["HISTORY", "CONTACTS", "MEMBERS"]],
  ]);
  assertEquals(names(({ isPage }) => isPage), ["HISTORY", "CONTACTS", "MEMBERS"]);
});
