/** Unread messages of a C++ server's users: parsing, merging and ordering. */
import { assertEquals } from "@std/assert";
import {
  buildLog,
  type Directory,
  type OfflineLog,
  parseRows,
} from "../../lib/store/mysql/schema/offline_log.ts";
import { readOfflineText } from "../../lib/store/mysql/schema/offline_text.ts";
import { groupChat, oneChat } from "./mysql_databases.ts";

/** The present in these tests, in milliseconds since 1970. */
const NOW = new Date(2024, 5, 1).getTime();

const NOON = new Date(2024, 1, 29, 12).getTime();

/** Texts with their parsed form, or the reason for skipping them. */
const TEXTS: readonly (readonly [string, Partial<ReturnType<typeof readOfflineText>> | string])[] = [
  [oneChat(21, 22, "hello"), { sender: 21, group: undefined, body: "hello", time: NOON }],
  [groupChat(21, 3, "hello"), { sender: 21, group: 3, body: "hello", time: NOON }],
  [`{"msgid":9,"from":1,"to":2,"msg":"x"}`, { sender: 1, group: undefined, body: "x", time: undefined }],
  [`{"fromid":"1","msg":"x","groupid":"7"}`, { sender: 1, group: 7 }],
  [`{"id":1,"msg":"x","groupid":null}`, { sender: 1, group: undefined }],
  [`{"id":1,"msg":""}`, { sender: 1, body: "" }],
  [`{"id":1,"msg":"\\ud83d\\ude00 \\u4f60\\u0000 \\ud83d"}`, { body: "😀 你\0 \ufffd" }],
  [`{"id":1,"msg":"C:\\dir\\\\x \\u12 \\q"}`, { body: "C:\\dir\\x \\u12 \\q" }],
  [`{"id":1,"msg":"two\nlines\tand \u0001"}`, { body: "two\nlines\tand \u0001" }],
  [`{"id":1,"msg":"x","time":"2024-02-30 12:00:00"}`, { timeText: "2024-02-30 12:00:00", time: undefined }],
  [`{"id":1,"msg":"x","time":"2024-02-29 24:00:00"}`, { time: undefined }],
  [`{"id":1,"msg":"x","time":"2031-02-28 12:00:00"}`, { time: undefined }],
  [`{"id":1,"msg":"x","time":"2024-2-29 12:00"}`, { time: NOON }],
  [`{"id":1,"msg":"x","time":1709204400}`, { timeText: "1709204400", time: undefined }],
  ["", "not JSON"],
  ["null", "not JSON"],
  ["[1]", "not JSON"],
  [`{"id":1,"msg":"cut o`, "not JSON"],
  [`{"id":1,"msg":"said "so" twice"}`, "not JSON"],
  [`{"msg":"x"}`, "no sender"],
  [`{"id":0,"msg":"x"}`, "no sender"],
  [`{"id":2147483648,"msg":"x"}`, "no sender"],
  [`{"id":1.5,"msg":"x"}`, "no sender"],
  [`{"id":1}`, "no text"],
  [`{"id":1,"msg":5}`, "no text"],
  [`{"id":1,"groupid":"x","msg":"x"}`, "no group"],
  [`{"id":1,"msg":"${"x".repeat(600_000)}"}`, "text too long"],
];

Deno.test("mysql offline: parses the text of a row, or names the reason", () => {
  for (const [text, expected] of TEXTS) {
    const read = readOfflineText(text, NOW);
    if (typeof expected === "string" || typeof read === "string") {
      assertEquals(read as unknown, expected, text);
    } else assertEquals({ ...read, ...expected }, read, text);
  }
});

/** Users 1 to 4. All but 4 are in group 9. */
const DIRECTORY: Directory = { users: new Set([1, 2, 3, 4]), groups: new Map([[9, new Set([1, 2, 3])]]) };

/** A row in short form: its user and its text. */
type Given = readonly [userid: number, message: string];

function logOf(...rows: readonly Given[]): OfflineLog {
  const numbered = rows.map(([userid, message], i) => ({ number: i + 1, userid, message }));
  return buildLog(parseRows(numbered, NOW), DIRECTORY, NOW);
}

function at(second: number): string {
  return `2024-02-29 12:00:${String(second).padStart(2, "0")}`;
}

/** Returns the messages and cursors of the only conversation in short form. */
function only({ conversations }: OfflineLog): unknown {
  assertEquals(conversations.length, 1);
  const { low, high, messages, cursors } = conversations[0]!;
  return {
    key: [low, high],
    messages: messages.map(({ body }) => body),
    cursors: Object.fromEntries(cursors),
  };
}

Deno.test("mysql offline: merges both directions of a pair into one conversation, ordered by time", () => {
  const log = logOf(
    [2, oneChat(1, 2, "a", at(1))],
    [2, oneChat(1, 2, "b", at(3))],
    [1, oneChat(2, 1, "c", at(2))],
    [2, oneChat(1, 2, "d", at(3))],
  );
  assertEquals(only(log), { key: [1, 2], messages: ["a", "c", "b", "d"], cursors: { 1: 1, 2: 0 } });
  assertEquals(log.conversations[0]!.messages.map(({ sender }) => sender), [1, 2, 1, 1]);
  assertEquals(log.moved, [1, 2, 3, 4]);
});

Deno.test("mysql offline: sets the cursor of a user without rows to the end", () => {
  assertEquals(only(logOf([1, oneChat(2, 1, "a")])), { key: [1, 2], messages: ["a"], cursors: { 1: 0 } });
  assertEquals(only(logOf([3, oneChat(3, 3, "a")])), { key: [3, 3], messages: ["a"], cursors: { 3: 0 } });
});

Deno.test("mysql offline: moves the same text for one user twice as two messages", () => {
  const log = logOf([2, oneChat(1, 2, "ok")], [2, oneChat(1, 2, "ok")]);
  assertEquals(only(log), { key: [1, 2], messages: ["ok", "ok"], cursors: { 2: 0 } });
});

Deno.test("mysql offline: moves the copies of a group message as one message", () => {
  const a = groupChat(1, 9, "a", at(1));
  const b = groupChat(1, 9, "b", at(2));
  assertEquals(only(logOf([2, a], [2, b], [3, b])), {
    key: [0, 9],
    messages: ["a", "b"],
    cursors: { 2: 0, 3: 1 },
  });
});

Deno.test("mysql offline: moves equal texts of a group as often as one member has them", () => {
  const ok = groupChat(1, 9, "ok");
  const log = logOf([2, ok], [2, groupChat(1, 9, "between")], [2, ok], [3, ok], [2, groupChat(1, 9, "end")]);
  assertEquals(only(log), { key: [0, 9], messages: ["ok", "between", "ok", "end"], cursors: { 2: 0, 3: 2 } });
  const early = logOf([3, ok], [2, ok], [2, groupChat(1, 9, "between")], [2, ok]);
  assertEquals((only(early) as { cursors: unknown }).cursors, { 2: 0, 3: 1 }, "not the first of two");
});

Deno.test("mysql offline: repeats a message to a user with an earlier unread message", () => {
  const [a, b, c] = [1, 2, 3].map((second) => groupChat(1, 9, `m${second}`, at(second))) as [
    string,
    string,
    string,
  ];
  assertEquals(only(logOf([2, a], [3, a], [3, b], [2, c], [3, c])), {
    key: [0, 9],
    messages: ["m1", "m2", "m3"],
    cursors: { 2: 0, 3: 0 },
  });
});

Deno.test("mysql offline: gives a message without a time the time of a neighbour", () => {
  const log = logOf(
    [2, oneChat(1, 2, "a", "soon")],
    [2, oneChat(1, 2, "b", at(1))],
    [2, oneChat(1, 2, "c", "")],
    [2, oneChat(1, 2, "d", at(2))],
  );
  assertEquals(only(log), { key: [1, 2], messages: ["a", "b", "c", "d"], cursors: { 2: 0 } });
  assertEquals(log.conversations[0]!.messages.map(({ time }) => time - NOON), [1_000, 1_000, 1_000, 2_000]);
  assertEquals(logOf([2, oneChat(1, 2, "a", "")]).conversations[0]!.messages[0]!.time, NOW);
});

Deno.test("mysql offline: skips rows that cannot be moved, and counts the reasons", () => {
  const { moved, skipped } = logOf(
    [2, "?"],
    [2, oneChat(5, 2, "a")],
    [5, oneChat(2, 5, "a")],
    [2, oneChat(1, 2, "a")],
    [2, groupChat(1, 8, "a")],
    [4, groupChat(1, 9, "a")],
    [3, groupChat(4, 9, "a")], // of a user that has left the group since
  );
  assertEquals(moved, [4, 7]);
  assertEquals([...skipped], [
    ["not JSON", 1],
    ["sender unknown", 1],
    ["recipient unknown", 1],
    ["group unknown", 1],
    ["recipient not in the group", 1],
  ]);
});
