/** What users and groups may newly be called. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { normalName, problemOf } from "../lib/server/names.ts";

function problem(text: string, named: "user" | "group" = "user", confusable = false): string | undefined {
  return problemOf(normalName(text), named, confusable);
}

Deno.test("names: those of people in many languages are accepted", () => {
  const names =
    "alice|bob smith|O'Neill|zhang san 张三|阿布·艾山|ジョン・スミス|한국이|Иван|Νίκος|tiếng Việt|ß|〇|" +
    "אבג|محمد|नमस्ते|ไทย|བོད|ꆈꌠ|Łódź|Əli|😀|🦊fox|张三-Bob_1|١٢٣|ー";
  for (const name of names.split("|")) {
    for (const form of ["NFC", "NFD"] as const) {
      assertEquals(problem(name.normalize(form)), undefined, name);
      assertEquals(problem(name.normalize(form), "group"), undefined, name);
    }
  }
});

Deno.test("names: one form of those that are canonically the same, or of another width", () => {
  for (
    const [given, kept] of [["e\u0301", "\u00e9"], ["\uff41\uff11", "a1"], ["\uff76\uff9e", "ガ"], [
      "a\u3000b",
      "a b",
    ]]
  ) {
    assertEquals(normalName(given!), kept);
  }
});

Deno.test("names: what cannot be seen is refused, wherever it is, also where look-alikes are allowed", () => {
  const points = [
    0x00ad,
    0x034f,
    0x061c,
    0x115f,
    0x180e,
    0x200b,
    0x200d,
    0x200e,
    0x202a,
    0x202e,
    0x2060,
    0x2066,
    0x2800,
  ];
  points.push(0x3164, 0xfe0f, 0xfeff, 0xffa0, 0xfff9, 0xfffc, 0xe0041, 0xe0100, 0x2028, 0xe000, 0x378);
  for (const point of points) {
    const character = String.fromCodePoint(point);
    for (const name of [character, `al${character}ice`, `alice${character}`]) {
      for (const named of ["user", "group"] as const) {
        assertStringIncludes(problem(name, named, true) ?? "", "cannot be seen", `U+${point.toString(16)}`);
      }
    }
  }
});

Deno.test("names: blanks stand alone between other characters", () => {
  for (const name of [" a", "a ", "\u3000a"]) assertStringIncludes(problem(name)!, "beginning or end");
  assertStringIncludes(problem("a  b")!, "two spaces");
  assertStringIncludes(problem("a\u00a0b")!, "U+00A0");
  assertStringIncludes(problem("\u0301a")!, "begins with a combining mark");
});

Deno.test("names: ornamental letters are refused, and marks of all scripts are for groups", () => {
  for (const name of ["𝐚lice", "ﬁona", "①", "Ⅳ", "ⓐlice", "x²", "ـabc"]) {
    assertStringIncludes(problem(name, "user", true) ?? "", "names cannot have", name);
  }
  for (const name of ["O’Neill", "周末《徒步》", "a•b"]) {
    assertStringIncludes(problem(name) ?? "", "names cannot have", name);
    assertEquals(problem(name, "group"), undefined, name);
  }
});

Deno.test("names: mixed scripts and digits, and hidden marks, are refused unless that is allowed", () => {
  const names = [
    "\u0430lice",
    "ali\u03f2e",
    "Ivan Иван",
    "l\u0307",
    "i\u0307",
    "a\u0301\u0301",
    "1١",
    "ɑlice",
    "ᴀlice",
  ];
  for (const name of names) {
    for (const named of ["user", "group"] as const) {
      assertEquals(typeof problem(name, named), "string", name);
    }
    if (!name.includes("\u03f2")) assertEquals(problem(name, "user", true), undefined, name);
  }
});

Deno.test("names: their length is that of the form that is kept", () => {
  assertEquals(problem("e\u0301".repeat(50)), undefined);
  assertStringIncludes(problem("\u0958".repeat(26))!, "more than 50 characters"); // each becomes two
});
