/**
 * Malicious requests. They are made as text, as some JSON is the encoding of no value. `<alice>` and other
 * placeholders stand for values of a running server, see {@link filled}.
 */
import { requestTable } from "../../lib/server/handlers/request_table.ts";
import { Msg } from "../harness/protocol_numbers.ts";
import type { Random } from "../harness/random.ts";

/** Texts with characters that have a meaning to some program on the way of a message. */
export const TEXTS: readonly string[] = [
  "hello",
  "",
  " ",
  "\u3000",
  "\0",
  "a\0b",
  "line\r\nbreak",
  "\ud800",
  "b\udc00",
  "\udc00\ud800",
  "😀",
  "e\u0301",
  "\ufeff",
  "\u202e",
  "\u2028",
  "\uffff",
  "\u{10ffff}",
  "'; DROP TABLE User; --",
  "' OR '1'='1",
  "\\",
  "\\'",
  "\\0",
  '"',
  "`",
  "%",
  "_",
  "?",
  "??",
  ":a",
  "$1",
  "${1}",
  "#",
  "/*!50000 */",
  "*1\r\n$8\r\nFLUSHALL\r\n",
  "KEYS[1]",
  "user:1",
  '{"msgid":6}',
  '"}]}\0{"msgid":2,"errno":0}',
  "__proto__",
  "constructor",
  "toString",
  "null",
  "undefined",
  "NaN",
  "<me>",
  "<alice's name>",
  "<unique>",
];

/** JSON numbers at the limits of types and fields. */
const NUMBERS = [
  "0",
  "-0",
  "1",
  "2",
  "7",
  "50",
  "-1",
  "1.0",
  "1e0",
  "1.5",
  "200",
  "201",
  "2147483647",
  "2147483648",
  "-2147483648",
  "4294967297",
  "9007199254740991",
  "9007199254740993",
  "18446744073709551616",
  "1e308",
  "1e309",
  "-1e309",
  "1e-400",
];

const EXTRAS = [
  "__proto__",
  "constructor",
  "toString",
  "hasOwnProperty",
  "id",
  "name",
  "time",
  "seq",
  "of",
  "errno",
  "x",
  "",
];
const LENGTHS = [1, 49, 50, 51, 64, 65, 128, 129, 200, 201, 1_000, 20_000];

/** Returns a valid value of a field. */
const RIGHT: Readonly<Record<string, readonly string[]>> = {
  id: ["<alice>", "<bob>", "<my id>"],
  toid: ["<alice>", "<bob>", "<alice>", "<my id>"],
  friendid: ["<alice>", "<bob>", "<my id>"],
  groupid: ["<group>", "<group>", "1", "2"],
  name: ['"<me>"', '"<unique>"'],
  groupname: ['"<unique>"', '"<unique> 2"'],
  password: ['"<password>"'],
  token: ['"<token>"'],
  force: ["true", "false"],
  seq: ["1", "2", "1000"],
  before: ["1", "2", "2147483647"],
  after: ["0", "<alice>"],
  limit: ["1", "2", "200"],
};

const encoder = new TextEncoder();

/** Returns a body: usually a request, and sometimes arbitrary bytes. */
export function hostileBody(random: Random): Uint8Array {
  return encoder.encode(random.below(25) > 0 ? hostileRequest(random) : value(random, 3));
}

/** Returns a login as the user of the script. */
export const LOGIN = '{"msgid":1,"name":"<me>","password":"<password>","rid":"in"}';

/** Returns a request to join the observers' group. */
export const JOIN = '{"msgid":9,"groupid":<group>}';

/** Returns a request with valid, invalid, missing, additional and repeated fields in any order. */
function hostileRequest(random: Random): string {
  const isChat = random.below(3) === 0; // the most important request, which most often succeeds
  const spec = requestTable.get(
    random.pick(isChat ? [Msg.ONE_CHAT, Msg.GROUP_CHAT] : [...requestTable.keys()]),
  )!;
  const fields: string[] = [];
  const put = (name: string, value: string) =>
    fields.splice(random.below(fields.length + 1), 0, pair(name, value));
  const damage = random.pick([0, 0, 0, 4, 2]); // one of this many fields is invalid
  for (const name of Object.keys(spec.fields)) {
    const is = damage > 0 && random.below(damage) === 0 ? "wrong" : "right";
    if (is === "right" && (!spec.fields[name]!.optional || random.below(3) > 0)) {
      put(name, right(random, name));
    } else if (is === "wrong" && random.below(4) > 0) put(name, value(random, 2));
  }
  if (random.below(4) > 0) put("rid", random.below(3) > 0 ? `${random.below(1_000)}` : value(random, 1));
  for (let extra = random.below(3); extra > 1; extra--) put(random.pick(EXTRAS), value(random, 3));
  put("msgid", random.below(30) > 0 ? `${spec.msgid}` : random.pick([...NUMBERS, '"6"', "null", "[]"]));
  return `{${fields.join(random.pick([",", ",", " ,\t"]))}}`;
}

/** Replaces the placeholders of a text by their values. Other bytes stay unchanged. */
export function filled(text: string, values: Readonly<Record<string, string | number>>): string {
  return text.replace(/<([a-z' ]+)>/g, (whole, name: string) => `${values[name] ?? whole}`);
}

function right(random: Random, name: string): string {
  const known = RIGHT[name];
  if (known) return random.pick(known);
  if (name === "cid" && random.below(3) > 0) return `"${random.below(20)}"`; // some repeat
  return quoted(random, random.below(4) > 0 ? random.pick(TEXTS) : random.text(30));
}

/** Returns any JSON value. */
function value(random: Random, depth: number): string {
  switch (random.below(depth > 0 ? 9 : 6)) {
    case 0:
    case 1:
      return random.pick(NUMBERS);
    case 2:
      return random.pick(["true", "false", "null", "<alice>", "<bob>", "<group>", "<my id>"]);
    case 3:
    case 4:
      return quoted(random, random.pick(TEXTS));
    case 5:
      return quoted(random, random.pick(["x", "é", "😀", "\0", "'", "\ud800"]).repeat(random.pick(LENGTHS)));
    case 6:
      return `[${Array.from({ length: random.below(4) }, () => value(random, depth - 1))}]`;
    case 7:
      return `{${
        Array.from({ length: random.below(4) }, () => pair(random.pick(EXTRAS), value(random, depth - 1)))
      }}`;
    default:
      return nested(random, random.pick([3, 29, 30, 31, 32, 100]));
  }
}

function nested(random: Random, levels: number): string {
  const [open, close] = random.pick([["[", "]"], ['{"x":', "}"]] as const);
  return open.repeat(levels) + "1" + close.repeat(random.below(8) > 0 ? levels : 0);
}

function pair(name: string, value: string): string {
  return `${JSON.stringify(name)}:${value}`;
}

/** Encodes a text as JSON, in the shortest form or with every character escaped. */
function quoted(random: Random, text: string): string {
  if (random.below(6) > 0 || text.includes("<")) return JSON.stringify(text);
  const units = Array.from(
    { length: text.length },
    (_, at) => text.charCodeAt(at).toString(16).padStart(4, "0"),
  );
  return `"${units.map((unit) => `\\u${unit}`).join("")}"`;
}
