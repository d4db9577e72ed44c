import { assertEquals, assertStringIncludes } from "@std/assert";
import {
  boolean,
  existingName,
  type Field,
  id,
  integer,
  newName,
  optional,
  text,
  validate,
} from "../../lib/server/protocol/validators.ts";
import { FieldLimit } from "../../lib/wire/protocol.ts";

function accepts(field: Field<unknown>, yes: unknown[], no: unknown[]): void {
  for (const value of yes) {
    assertEquals(field.accepts(value), true, `${JSON.stringify(value)} should be accepted`);
  }
  for (const value of no) {
    assertEquals(field.accepts(value), false, `${JSON.stringify(value)} should be refused`);
  }
}

Deno.test("validators: accept positive 32-bit integers as ids", () => {
  accepts(id, [1, 2 ** 31 - 1], [0, -1, 2 ** 31, 1.5, "1", null, true, NaN, Infinity]);
  accepts(integer(0, 3), [0, 3], [-1, 4]);
});

Deno.test("validators: accept new names of 1 to 50 code points that are not blank", () => {
  const most = FieldLimit.NAME;
  accepts(
    newName,
    ["a", "李雷", "x".repeat(most), "😀".repeat(most), " a "],
    [
      "",
      "x".repeat(most + 1),
      "😀".repeat(most + 1),
      " ",
      "\u3000",
      "a\nb",
      "a\u0000",
      "a\u007f",
      "\ud800",
      1,
    ],
  );
});

Deno.test("validators: accept any existing name of 1 to 50 characters", () => {
  const yes = [
    "a",
    " ",
    "\tq",
    "a\nb",
    "a\u007f",
    "\u200b",
    "\u0000",
    "x".repeat(50),
    "é".repeat(50).normalize("NFD"),
  ];
  accepts(existingName, yes, ["", "x".repeat(51), "\ud800", 1, null]);
});

Deno.test("validators: bound text at both ends, and refuse half of a surrogate pair", () => {
  accepts(text(1, 3), ["a", "abc", "😀😀😀", "a\u0000\n"], ["", "abcd", "😀😀😀😀", "\udc00", 7]);
  accepts(text(1), ["x".repeat(100_000)], [""]);
  accepts(text(0, 2), ["", "ab"], ["abc"]);
});

Deno.test("validators: name the field in the problem", () => {
  const fields = { toid: id, msg: text(1), force: optional(boolean) };
  assertEquals(validate(fields, { toid: 1, msg: "x" }), undefined);
  assertEquals(validate(fields, { toid: 1, msg: "x", force: true }), undefined);
  assertStringIncludes(validate(fields, { msg: "x" })!, "toid is missing");
  assertStringIncludes(
    validate(fields, { toid: "1", msg: "x" })!,
    "toid must be a whole number from 1 to 2147483647",
  );
  assertStringIncludes(validate(fields, { toid: 1, msg: "x", force: 1 })!, "force must be true or false");
  assertStringIncludes(validate(fields, { toid: 1, msg: null })!, "msg must be a string");
});
